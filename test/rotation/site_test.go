// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package rotation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/site"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

const (
	lag      = time.Second     // of kubelet: old keys sign on for as long
	settle   = 2 * time.Second // that mail flows between two events
	patience = 90 * time.Second
)

// story is one domain whose keys change while mail flows.
type story struct {
	*site.Site
	begin time.Time
	load  *load
	world *world
	used  []string // selectors that have signed
}

// tell adds a line to the story.
func (s *story) tell(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("%6.1fs  %s", time.Since(s.begin).Seconds(), fmt.Sprintf(format, args...))
}

// start runs a site and returns when the milter signs with the domain's first keys.
func start(t *testing.T) *story {
	t.Helper()
	s := &story{begin: time.Now(), load: &load{taken: map[int]attempt{}}}
	dir, err := publicDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s.Site, err = site.Start(ctx, site.Options{
		Dir: dir, Zones: []bind.Zone{{Name: domain}}, Origin: domain, Lag: lag,
	})
	t.Cleanup(func() {
		if err := errors.Join(s.Stop(), s.Clean()); err != nil {
			t.Error(err)
		}
		t.Log("logs:", dir)
	})
	if err != nil {
		t.Fatalf("the site does not start: %v", err)
	}
	python, err := verifiers.StartPython()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := python.Close(); err != nil {
			t.Error(err)
		}
	})
	s.world = &world{sink: s.Sink, python: python, arrived: map[int]bool{}, revoked: map[string]bool{}, failed: map[int]string{}}
	result = &s.world.outcome

	s.tell(t, "$ kubectl apply --server-side -f - <<EOF\n%sEOF", manifest)
	if err := s.ApplyManifest(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
	first := s.signersChange(t, func([]string) bool { return true })
	s.tell(t, "%s sign", strings.Join(first, " and "))
	return s
}

// publicDir makes a folder that the user postfix may pass, which one of t.TempDir is not. The logs in it stay.
func publicDir() (string, error) {
	dir, err := os.MkdirTemp("", "maildomain-rotation-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// activity is what runs beside the story.
type activity struct {
	cancel context.CancelFunc
	done   chan error
}

func begin(t *testing.T, run func(context.Context) error) activity {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a := activity{cancel, make(chan error, 1)}
	go func() { a.done <- run(ctx) }()
	return a
}

// end returns when the activity has ended.
func (a activity) end(t *testing.T) {
	t.Helper()
	a.cancel()
	if err := <-a.done; err != nil {
		t.Error(err)
	}
}

func acme() *v1alpha1.MailDomain {
	return &v1alpha1.MailDomain{ObjectMeta: metav1.ObjectMeta{Name: "acme", Namespace: site.Namespace}}
}

// selectors are those of the keys in a phase, one of each algorithm, RSA first; nil if one is missing.
func selectors(d *v1alpha1.MailDomain, phase v1alpha1.KeyPhase) []string {
	var found []string
	for _, a := range []v1alpha1.Algorithm{v1alpha1.AlgorithmRSA, v1alpha1.AlgorithmEd25519} {
		i := slices.IndexFunc(d.Status.Keys, func(k v1alpha1.KeyStatus) bool { return k.Algorithm == a && k.Phase == phase })
		if i < 0 {
			return nil
		}
		found = append(found, d.Status.Keys[i].Selector)
	}
	return found
}

// readyToRotate waits until both spares stand by, and returns who signs now, RSA first.
func (s *story) readyToRotate(t *testing.T) (signers []string) {
	t.Helper()
	s.await(t, "both spares stand by", func(ctx context.Context) error {
		d := acme()
		if err := s.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
			return err
		}
		if signers = selectors(d, v1alpha1.PhaseSigning); signers == nil || selectors(d, v1alpha1.PhaseStandby) == nil {
			return fmt.Errorf("keys %+v", d.Status.Keys)
		}
		return nil
	})
	return signers
}

// signersChange waits until keys of both algorithms sign that are as wanted, in the eyes of the operator and of the
// milter, and returns their selectors, RSA first.
func (s *story) signersChange(t *testing.T, wanted func([]string) bool) (signers []string) {
	t.Helper()
	s.await(t, "other keys sign", func(ctx context.Context) error {
		d := acme()
		if err := s.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
			return err
		}
		if signers = selectors(d, v1alpha1.PhaseSigning); signers == nil || !wanted(signers) {
			return fmt.Errorf("keys %+v", d.Status.Keys)
		}
		held, err := milterHolds(ctx)
		if err == nil && !slices.Equal(slices.Sorted(slices.Values(signers)), held) {
			err = fmt.Errorf("the milter holds %v, not %v", held, signers)
		}
		return err
	})
	return signers
}

// milterHolds are the selectors that the milter says it signs with, sorted.
func milterHolds(ctx context.Context) ([]string, error) {
	text, err := site.Get(ctx, site.MilterURL+"/keys")
	if err != nil {
		return nil, err
	}
	var report keydir.Report
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		return nil, err
	}
	var held []string
	for _, d := range report.Domains {
		for _, k := range d.Keys {
			held = append(held, k.Selector)
		}
	}
	slices.Sort(held)
	return held, nil
}
