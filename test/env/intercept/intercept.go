// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package intercept answers for the hosts of vendors, in the process: modules that let nobody choose their transport ask the
// proxy of HTTPS_PROXY, and believe the certificates of SSL_CERT_FILE. A host that nobody answers for is not reached.
package intercept

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Proxy is an HTTPS proxy that ends every connection in itself.
type Proxy struct {
	ca       *x509.Certificate
	key      *ecdsa.PrivateKey
	listener net.Listener
	tunnels  chan net.Conn
	ended    chan struct{}

	mu    sync.Mutex
	hosts map[string]http.Handler
}

// Start listens on loopback and has this process use it: before it asks anybody by HTTPS, for the environment is read once.
func Start(dir string) (*Proxy, error) {
	p := &Proxy{hosts: map[string]http.Handler{}, tunnels: make(chan net.Conn), ended: make(chan struct{})}
	if err := p.makeCA(); err != nil {
		return nil, err
	}
	var err error
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil { //nolint:noctx // there is nobody to wait for
		return nil, err
	}
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.ca.Raw}), 0o600); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"HTTPS_PROXY": "http://" + p.listener.Addr().String(), "SSL_CERT_FILE": file, "SSL_CERT_DIR": dir, "NO_PROXY": ""} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	outer := &http.Server{Handler: http.HandlerFunc(p.connect), ReadHeaderTimeout: time.Minute}
	inner := &http.Server{Handler: http.HandlerFunc(p.answer), ReadHeaderTimeout: time.Minute, ErrorLog: nil}
	go func() { _ = outer.Serve(p.listener) }()
	go func() { _ = inner.Serve(tunnels{p}) }()
	return p, nil
}

// Serve has a handler answer for a host.
func (p *Proxy) Serve(host string, h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts[host] = h
}

func (p *Proxy) handler(host string) http.Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hosts[host]
}

// connect opens a tunnel, which ends here.
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || p.handler(host) == nil {
		http.Error(w, "nobody answers for "+r.Host, http.StatusBadGateway)
		return
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = conn.Close()
		return
	}
	p.tunnels <- tls.Server(conn, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.certificate})
}

func (p *Proxy) answer(w http.ResponseWriter, r *http.Request) {
	if h := p.handler(r.Host); h != nil {
		r.URL.Scheme, r.URL.Host = "https", r.Host
		h.ServeHTTP(w, r)
		return
	}
	http.Error(w, "nobody answers for "+r.Host, http.StatusMisdirectedRequest)
}

func (p *Proxy) makeCA() (err error) {
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	raw, err := p.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "tests"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	if err != nil {
		return err
	}
	p.ca, err = x509.ParseCertificate(raw)
	return err
}

// sign makes a certificate; that of the CA is its own.
func (p *Proxy) sign(c *x509.Certificate) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	now := time.Now() //nolint:forbidigo // certificates are judged by the process's own clock
	c.SerialNumber, c.NotBefore, c.NotAfter = serial, now.Add(-time.Hour), now.Add(time.Hour)
	parent := p.ca
	if parent == nil {
		parent = c
	}
	return x509.CreateCertificate(rand.Reader, c, parent, &p.key.PublicKey, p.key)
}

func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	raw, err := p.sign(&x509.Certificate{Subject: pkix.Name{CommonName: hello.ServerName}, DNSNames: []string{hello.ServerName}})
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", hello.ServerName, err)
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: p.key}, nil
}

// tunnels are the connections in the proxy, as a listener.
type tunnels struct{ *Proxy }

func (t tunnels) Accept() (net.Conn, error) {
	select {
	case conn := <-t.tunnels:
		return conn, nil
	case <-t.ended:
		return nil, net.ErrClosed
	}
}

func (t tunnels) Close() error   { return nil }
func (t tunnels) Addr() net.Addr { return t.listener.Addr() }
