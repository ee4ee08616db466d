// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package site runs a whole mail site on real parts: BIND, an API server, the
// operator and the milter as they are shipped, kubelet's part between the two,
// Postfix, and smtp-sink as the rest of the world.
//
//	person ──► API server ◄──► manager ──► BIND ◄── receivers
//	                │ signing Secret
//	                ▼ mirrored
//	client ──► Postfix ◄──► milter        Postfix ──► smtp-sink
//
// It needs root and a network of its own (package netns).
package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/postfix"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// Where things are in the cluster.
const (
	Namespace         = "mail" // of the objects of the story
	OperatorNamespace = "maildomain-system"
	SigningSecret     = "mail-signing" // what the milter mounts
)

// Where the two programs answer over HTTP.
const (
	ManagerHealth  = "http://127.0.0.1:8081/readyz"
	ManagerMetrics = "http://127.0.0.1:8080/metrics"
	MilterURL      = "http://127.0.0.1:8085"
)

// Where mail goes in, and where it leaves for.
var (
	SMTPD = netip.MustParseAddrPort("127.0.53.25:25")
	Sink  = netip.MustParseAddrPort("127.0.53.26:25")
)

// Addresses are those that the loopback interface must have.
func Addresses() []netip.Addr { return append(bind.Addresses(), SMTPD.Addr(), Sink.Addr()) }

// Options say what differs from story to story.
type Options struct {
	Dir        string // for all files; the user postfix may pass
	Zones      []bind.Zone
	Origin     string        // domain of the mail that Postfix itself writes
	Namespaces []string      // beside Namespace
	Lag        time.Duration // how long kubelet takes at most to show a change of the signing Secret
}

// Site is everything that runs.
type Site struct {
	client.Client // of an administrator

	DNS     *bind.World
	Manager *process.Process
	Milter  *process.Process
	MTA     *postfix.Instance
	Sink    *postfix.Sink
	Keys    string // where the signing Secret is mounted
	Socket  string // of the milter
	// StopMirror ends kubelet's work; StartMirror begins it again.
	StopMirror func() error

	options    Options
	api        *apiserver.Server
	kubeconfig string // of the operator's ServiceAccount
	group      uint32 // Postfix'
	stops      []func() error
}

// Start runs a site and returns when it takes mail. What was started until an error is ended by Stop.
func Start(ctx context.Context, options Options) (*Site, error) {
	s := &Site{options: options}
	steps := []func(context.Context) error{s.copyPrograms, s.startDNS, s.startAPI, s.StartManager, s.makeMilter, s.startMail}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Stop ends what runs, last started first.
func (s *Site) Stop() error {
	var errs []error
	for _, stop := range slices.Backward(s.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// Clean leaves the logs of a site that has stopped, but neither programs nor keys.
func (s *Site) Clean() error {
	var errs []error
	for _, name := range []string{"bin", "named", "milter", "kubeconfig", "named-world", "named-primary", "named-secondary", "postfix/queue", "postfix/data"} {
		errs = append(errs, os.RemoveAll(filepath.Join(s.options.Dir, name)))
	}
	return errors.Join(errs...)
}

// copyPrograms takes the two programs that `make build` made to where the milter's user can run them.
func (s *Site) copyPrograms(context.Context) error {
	bin := filepath.Join(s.options.Dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"manager", "milter"} {
		program, err := os.ReadFile(filepath.Join(root, "bin", name))
		if err != nil {
			return fmt.Errorf("%w: run make build", err)
		}
		if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// root is the repository, seen from the folder of a test below test/.
const root = "../.."

func (s *Site) startDNS(ctx context.Context) (err error) {
	if s.DNS, err = bind.Start(ctx, s.options.Dir, s.options.Zones); err == nil {
		s.stops = append(s.stops, s.DNS.Stop)
	}
	return err
}

func (s *Site) startMail(ctx context.Context) (err error) {
	if s.Sink, err = postfix.StartSink(ctx, s.options.Dir, Sink); err != nil {
		return err
	}
	s.stops = append(s.stops, s.Sink.Stop)
	s.MTA, err = postfix.Start(ctx, s.options.Dir, postfix.Options{
		Listen: SMTPD, Sink: Sink, Milter: "unix:" + s.Socket, Origin: s.options.Origin, Undeliverable: "nowhere.example",
	})
	if err == nil {
		s.stops = append(s.stops, s.MTA.Stop)
	}
	return err
}

// Healthy asks a health endpoint of one of the programs.
func Healthy(ctx context.Context, url string) error {
	_, err := Get(ctx, url)
	return err
}

// Get is what one of the programs answers over HTTP; an answer other than 200 is an error.
func Get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", url, response.Status, text)
	}
	return string(text), nil
}
