// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/site"
)

const (
	domain    = "acme.example"
	rotations = 10
)

// incident is what else happens in a rotation: before a person asks for it, after that, and when it is over.
type incident struct {
	what                string
	before, amid, after func(*story) error
}

var incidents = map[int]incident{
	3: {what: "the manager is killed", amid: func(s *story) error { s.Manager.Kill(); return s.StartManager(context.Background()) }},
	5: { // what the old keys signed arrives when they sign no more
		what:   "nobody out there takes mail",
		before: func(s *story) error { s.Sink.Pause(); <-time.After(settle); return nil },
		after:  func(s *story) error { <-time.After(3 * settle); s.Sink.Resume(); return nil },
	},
	7: { // Postfix answers 451, and the client tries again
		what: "the milter is killed",
		amid: func(s *story) error {
			s.Milter.Kill()
			<-time.After(settle)
			return s.StartMilter(context.Background())
		},
	},
}

// happen has a part of an incident take place, if there is one.
func (s *story) happen(t *testing.T, part func(*story) error) {
	t.Helper()
	if part == nil {
		return
	}
	if err := part(s); err != nil {
		t.Fatal(err)
	}
}

// manifest has everything shortened that a rotation waits for; the SOA minimum of BIND's zones is 2 seconds.
const manifest = `apiVersion: maildomain.dev/v1alpha1
kind: MailDomain
metadata: {name: acme, namespace: ` + site.Namespace + `}
spec:
  domain: ` + domain + `
  providerRef: {name: bind}
  dkim:
    signingSecretName: ` + site.SigningSecret + `
    keys: [{algorithm: RSA}, {algorithm: Ed25519}]
    rotation: {overlap: 30s, tombstone: 5s, allowShortOverlap: true}
`

// TestTenRotationsAndARevocationLoseNoMessage: RSA and Ed25519 keys change ten
// times while a client sends without a pause, whatever else happens. Then a key
// is revoked with mail in the queue: that mail alone may fail.
func TestTenRotationsAndARevocationLoseNoMessage(t *testing.T) {
	s := start(t)
	sending, receiving := begin(t, s.load.run), begin(t, s.world.run)

	for n := 1; n <= rotations; n++ {
		s.rotate(t, n)
		s.world.outcome.rotations++
	}
	victim, dropped := s.revoke(t)

	sending.end(t)
	s.world.outcome.lost = len(s.allArrived(t))
	receiving.end(t)
	s.onlyInFlight(t, victim, dropped)
	s.oldKeysGo(t)
	s.scrape(t)
	for _, fault := range s.world.faults {
		t.Error(fault)
	}
	if s.load.refused == 0 {
		t.Error("nothing was answered 4xx though the milter was killed: nothing was ever sent a second time")
	}
	s.tell(t, "%d messages were taken, after %d attempts that were answered 4xx", len(s.load.taken), s.load.refused)
}

// rotate has a person ask for a rotation, and returns when the milter signs with the spares.
func (s *story) rotate(t *testing.T, n int) {
	t.Helper()
	before := s.readyToRotate(t)
	i := incidents[n]
	s.happen(t, i.before)
	s.patch(t, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationRotate, time.Now().UTC().Format(time.RFC3339Nano)))
	s.happen(t, i.amid)
	after := s.signersChange(t, func(after []string) bool {
		return !slices.ContainsFunc(after, func(selector string) bool { return slices.Contains(before, selector) })
	})
	s.tell(t, "rotation %d: %s sign instead of %s  %s", n, strings.Join(after, " and "), strings.Join(before, " and "), i.what)
	for _, selector := range after {
		if slices.Contains(s.used, selector) {
			t.Errorf("selector %s signs a second time", selector)
		}
	}
	s.used = append(s.used, before...)
	<-time.After(settle)
	s.happen(t, i.after)
}

// revoke has a person revoke the RSA key that signs. Messages that it signed wait in the queue until its record is
// empty. It returns the selector, and when the milter had dropped it.
func (s *story) revoke(t *testing.T) (victim string, dropped time.Time) {
	t.Helper()
	victim = s.readyToRotate(t)[0]
	s.Sink.Pause()
	<-time.After(settle)
	s.world.revoke(victim)
	s.patch(t, fmt.Sprintf(`{"spec":{"dkim":{"revokedSelectors":[%q]}}}`, victim))
	after := s.signersChange(t, func(after []string) bool { return !slices.Contains(after, victim) })
	dropped = time.Now()
	s.tell(t, "%s is revoked: %s sign", victim, strings.Join(after, " and "))

	s.await(t, "its record is empty", func(context.Context) error {
		text, err := lookUp(bind.Primary, victim+"._domainkey."+domain)
		if err == nil && !strings.HasSuffix(text, "p=") {
			err = fmt.Errorf("BIND answers %q", text)
		}
		return err
	})
	s.tell(t, "the record of %s is empty; the world takes mail again", victim)
	s.Sink.Resume()
	s.readyToRotate(t) // there is a spare again
	<-time.After(settle)
	return victim, dropped
}

// onlyInFlight: what failed for the revocation was being signed before the milter had dropped the key.
func (s *story) onlyInFlight(t *testing.T, victim string, dropped time.Time) {
	t.Helper()
	for number := range s.world.failed {
		if late := s.load.taken[number].begin.Sub(dropped); late > 0 {
			t.Errorf("message %d was signed with %s %s after the milter had dropped it", number, victim, late)
		}
	}
	if len(s.world.failed) == 0 {
		t.Errorf("no message failed though %s was revoked with mail in the queue: the receivers prove nothing", victim)
	}
}

// oldKeysGo: the keys that signed first are through with overlap and tombstone, and nothing of them is left.
func (s *story) oldKeysGo(t *testing.T) {
	t.Helper()
	for _, selector := range s.used[:2] {
		s.await(t, "the record of "+selector+" is gone", func(context.Context) error {
			text, err := lookUp(bind.Primary, selector+"._domainkey."+domain)
			if err == nil && text != "" {
				err = fmt.Errorf("BIND answers %q", text)
			}
			return err
		})
	}
}

// scrape: the operator tells Prometheus what just happened.
func (s *story) scrape(t *testing.T) {
	t.Helper()
	text, err := site.Get(t.Context(), site.ManagerMetrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`maildomain_rotation_last_success_timestamp_seconds{domain="` + domain + `"`, `phase="Signing"`, `phase="Standby"`,
		`maildomain_mail_held{domain="` + domain + `",name="acme",namespace="` + site.Namespace + `"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s:\n%s", site.ManagerMetrics, want, text)
		}
	}
}

// allArrived waits for every message that was taken and returns the numbers of those that never came.
func (s *story) allArrived(t *testing.T) (missing []int) {
	t.Helper()
	err := eventually(t.Context(), func(context.Context) error {
		if missing = s.world.missing(s.load.taken); len(missing) > 0 {
			return fmt.Errorf("these were taken by Postfix and never arrived: %v\n%s", missing, s.MTA.Log())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return missing
}

// patch changes the MailDomain as `kubectl patch --type merge` does.
func (s *story) patch(t *testing.T, change string) {
	t.Helper()
	if err := s.Patch(t.Context(), acme(), client.RawPatch("application/merge-patch+json", []byte(change))); err != nil {
		t.Fatal(err)
	}
}

// await asks until check returns nil, and fails the test when patience ends.
func (s *story) await(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	if err := eventually(t.Context(), check); err != nil {
		t.Fatalf("not so within %s: %s: %v\nthe manager's last lines:\n%s", patience, what, err, s.Manager.Tail(20))
	}
}

// eventually asks until check returns nil; when patience ends, it returns why that never was.
func eventually(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // what the end of the wait makes of a call says nothing
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}
