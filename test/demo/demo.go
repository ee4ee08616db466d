// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/resolver"

	_ "embed"
)

// What a person would write and have.
var (
	//go:embed provider.yaml
	providerYAML string
	//go:embed maildomain.yaml
	mailDomainYAML string
	//go:embed zone.txt
	zoneText string
	//go:embed message.eml
	message []byte
)

const (
	zone              = "example.org"
	namespace         = "mail"
	operatorNamespace = "maildomain-system"
	// minimumWait and the zone's negative TTL are what one waits for before a key may sign: 15 minutes and more in real life.
	minimumWait = 2 * time.Second
)

// demo is everything that runs, and what was seen.
type demo struct {
	screen                  *screen
	managerPath, milterPath string
	keep                    bool
	cancel                  context.CancelCauseFunc

	folder     string // of all files; removed in the end
	kubeconfig string
	tsig       string
	server     *apiserver.Server
	client     client.Client
	world      *nameserver.Running
	resolver   resolver.Resolver
	manager    *program
	milter     *program
	milterHTTP string
	unmount    context.CancelFunc
	mounted    chan error // the mirror's end

	culprit string // the log to show if the current step fails
	sent    []byte // the signed message
}

// play goes through all steps.
func (d *demo) play(ctx context.Context) error {
	s := d.screen
	s.line(s.paint(bold, "maildomain-operator") + ": from nothing to a mail domain that the world can trust, on this machine alone")
	for _, step := range []struct {
		heading string
		do      func(context.Context) error
	}{
		{"Start a Kubernetes API server and a DNS, both for this demo alone", d.startWorld},
		{"Start the operator", d.startManager},
		{"Ask for a mail domain", d.ask},
		{"Watch it become Ready", d.watch},
		{"Look at it from outside, as dig does", d.dig},
		{"Send a message through the milter", d.send},
		{"Let a verifier that is not ours (go-msgauth) judge it by the DNS", d.judge},
		{"Flip one bit of the message", d.tamper},
		{"See that nobody else's record was touched", d.compare},
	} {
		s.begin(step.heading)
		err := step.do(ctx)
		if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", cause, err) // what ended it says more than where it was
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// startWorld starts what the operator works on.
func (d *demo) startWorld(ctx context.Context) error {
	for _, path := range []string{d.managerPath, d.milterPath} {
		if _, err := exec.LookPath(path); err != nil {
			return fmt.Errorf("%s cannot run: make build makes it: %w", path, err)
		}
	}
	var err error
	if d.folder, err = os.MkdirTemp("", "maildomain-demo-"); err != nil {
		return err
	}
	// What the API server and others write goes there, too, so that one removal is enough.
	if err := os.Setenv("TMPDIR", d.folder); err != nil {
		return err
	}
	if err := d.startDNS(ctx); err != nil {
		return err
	}
	d.screen.wait("starting etcd and kube-apiserver")
	d.culprit = filepath.Join(d.folder, "apiserver.log")
	log, err := os.Create(d.culprit)
	if err != nil {
		return err
	}
	// Not ctx: it is stopped after those who speak to it.
	if d.server, err = apiserver.Start(context.WithoutCancel(ctx), apiserver.Options{Log: log}); err != nil {
		return err
	}
	return d.connect(ctx)
}

func (d *demo) startDNS(ctx context.Context) error {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	d.tsig = base64.StdEncoding.EncodeToString(secret)
	world, err := nameserver.StartWorld(context.WithoutCancel(ctx), nameserver.World{
		Keys: []nameserver.Key{{Name: "demo", Secret: d.tsig}},
		Sites: []nameserver.Site{{
			Zone: zone, Addrs: []string{"127.0.0.3", "127.0.0.4"}, Records: zoneText, Minimum: uint32(minimumWait.Seconds()),
		}},
	})
	if err != nil {
		return fmt.Errorf("start name servers on 127.0.0.1 to 127.0.0.4 (a Linux machine has them all): %w", err)
	}
	d.world = world
	d.resolver = resolver.Resolver{Roots: world.Roots(), Port: world.Port()}
	d.screen.ok("DNS on 127.0.0.1 to 127.0.0.4, port %d: root, org, example.org (two servers)", world.Port())
	d.screen.note("example.org is in use: where SPF belongs, there are TXT records of others.")
	for l := range strings.Lines(zoneText) {
		if strings.Contains(l, "TXT") {
			d.screen.quote(plain, l)
		}
	}
	return nil
}

func (d *demo) connect(ctx context.Context) error {
	d.kubeconfig = filepath.Join(d.folder, "kubeconfig")
	if err := os.WriteFile(d.kubeconfig, d.server.Kubeconfig, 0o600); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, eventsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	var err error
	if d.client, err = client.New(d.server.Config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	kubernetes, err := discovery.NewDiscoveryClientForConfig(d.server.Config)
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	version, err := kubernetes.ServerVersionWithContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	d.screen.ok("Kubernetes %s at %s, with the operator's CRDs", version.GitVersion, strings.TrimSuffix(d.server.Config.Host, "/"))
	return nil
}

// startManager runs the operator.
func (d *demo) startManager(ctx context.Context) error {
	health, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	arguments := []string{
		"--owner-id", "demo", "--operator-namespace", operatorNamespace,
		"--dns-root", d.world.Roots()[0].String(), "--dns-port", fmt.Sprint(d.world.Port()), "--minimum-wait", minimumWait.String(),
	}
	d.screen.command(d.managerPath+" "+strings.Join(arguments, " "), "")
	quiet := []string{"--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", health, "--log-format", "console"}
	d.manager, err = start(ctx, d.folder, d.managerPath, []string{"KUBECONFIG=" + d.kubeconfig}, d.cancel, append(arguments, quiet...)...)
	if err != nil {
		return err
	}
	d.culprit = d.manager.log
	d.screen.wait("waiting until it is healthy")
	if err := answers(ctx, "http://"+health+"/readyz"); err != nil {
		return fmt.Errorf("wait for the operator: %w", err)
	}
	d.screen.ok("healthy; only its DNS root and its short wait set it apart from a real one")
	return nil
}

// ask applies the objects as kubectl would.
func (d *demo) ask(ctx context.Context) error {
	filled := os.Expand(providerYAML, func(name string) string {
		return map[string]string{"TSIG_SECRET": d.tsig, "DNS_SERVER": d.world.Server("127.0.0.3").AddrPort().String()}[name]
	})
	d.screen.command("kubectl apply --server-side -f test/demo/provider.yaml", "namespaces, TSIG key, DNS server")
	if err := d.apply(ctx, filled); err != nil {
		return err
	}
	d.screen.command("kubectl apply --server-side -f test/demo/maildomain.yaml", "all that a person writes")
	_, essence, _ := strings.Cut(mailDomainYAML, "apiVersion: maildomain.dev/v1alpha1\n")
	d.screen.quote(plain, essence)
	return d.apply(ctx, mailDomainYAML)
}

func (d *demo) apply(ctx context.Context, manifests string) error {
	for text := range strings.SplitSeq(manifests, "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(text), &object.Object); err != nil {
			return fmt.Errorf("read a manifest: %w", err)
		}
		err := d.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("demo"))
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// cleanUp ends everything in its order and removes the files.
func (d *demo) cleanUp() error {
	d.screen.wait("stopping and removing everything")
	d.cancel(nil)
	var errs []error
	for _, p := range []*program{d.milter, d.manager} {
		if p != nil {
			errs = append(errs, p.stop())
		}
	}
	if d.mounted != nil {
		d.unmount()
		errs = append(errs, <-d.mounted)
	}
	if d.server != nil {
		errs = append(errs, d.server.Stop())
	}
	if d.world != nil {
		d.world.Close()
	}
	if d.folder != "" {
		errs = append(errs, os.RemoveAll(d.folder))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// stay leaves everything running until Ctrl-C.
func (d *demo) stay(ctx context.Context) error {
	s := d.screen
	s.line("")
	s.line(s.paint(bold, "KEEP=1: all goes on until Ctrl-C. To play, in another terminal:"))
	s.line(indent + "export KUBECONFIG=" + d.kubeconfig)
	if _, err := exec.LookPath("kubectl"); err != nil {
		s.line(indent + "hack/apiserver.sh kubectl && export PATH=$PATH:${XDG_CACHE_HOME:-~/.cache}/maildomain-operator/bin")
	}
	s.line(indent + "kubectl -n mail get maildomains,dkimkeys")
	s.line(indent + "kubectl -n mail describe maildomain example-org")
	s.line(indent + `kubectl -n mail patch maildomain example-org --type merge -p '{"spec":{"dmarc":{"policy":"Reject"}}}'`)
	s.line(indent + fmt.Sprintf("dig @127.0.0.3 -p %d example.org TXT", d.world.Port()))
	if d.milter != nil {
		s.line(indent + "curl http://" + d.milterHTTP + "/keys")
	}
	s.line(indent + "tail -f " + filepath.Join(d.folder, "*.log"))
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, errInterrupted) {
		return cause
	}
	return nil
}

func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
