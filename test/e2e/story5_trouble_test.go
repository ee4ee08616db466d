// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

const troubleNamespace = "trouble"

// nobodyListens is an address without a DNS server.
var nobodyListens = netip.MustParseAddr("127.0.53.99")

// trouble is what a live domain meets at run time.
type trouble struct {
	zone     string
	sections string // of the MailDomain's spec, beside dkim, while all is well
	// prepare changes the zone as a person does, before the picture of it is taken.
	prepare []string
	// begin is what happens then: it must lead to no write.
	begin func(e *environment, s *scene)
	// Conditions of the domain that become False, with one of the reasons; and the object that an event tells of.
	condition string
	reasons   []string
	provider  bool // the DNSProvider says it, too
	// mend ends it.
	mend func(e *environment, s *scene)
}

// scene is a trouble at work.
type scene struct {
	trouble
	t      *testing.T // that is running
	name   string
	before picture
}

const (
	dmarcNone       = "  dmarc: {policy: None}\n"
	dmarcQuarantine = "  dmarc: {policy: Quarantine}\n"
	spfMX           = "  spf: {mechanisms: [mx]}\n"
)

var troubles = map[string]trouble{
	"the TSIG key is wrong": {
		zone: "wrongkey.example", sections: dmarcNone,
		begin: func(e *environment, s *scene) {
			s.provide(e, bind.Primary, "d3Jvbmcga2V5LCB3cm9uZyBrZXksIHdyb25nIGtleSE=")
			s.lookAgain(e)
			s.ask(e, dmarcQuarantine)
		},
		condition: v1alpha1.ConditionProviderReady, reasons: []string{v1alpha1.ReasonInvalidCredentials}, provider: true,
		mend: func(e *environment, s *scene) { s.provide(e, bind.Primary, e.DNS.Secret) },
	},
	"the server does not have the zone": {
		zone: "moved.example", sections: dmarcNone,
		begin: func(e *environment, s *scene) {
			s.provide(e, bind.TLDServer, e.DNS.Secret)
			s.ask(e, dmarcQuarantine)
		},
		condition: v1alpha1.ConditionProviderReady, reasons: []string{v1alpha1.ReasonZoneNotFound}, provider: true,
		mend: func(e *environment, s *scene) { s.provide(e, bind.Primary, e.DNS.Secret) },
	},
	"the server cannot be reached": {
		zone: "unreachable.example", sections: dmarcNone,
		begin: func(e *environment, s *scene) {
			s.provide(e, nobodyListens, e.DNS.Secret)
			s.ask(e, dmarcQuarantine)
		},
		condition: v1alpha1.ConditionProviderReady, reasons: []string{v1alpha1.ReasonServerUnreachable}, provider: true,
		mend: func(e *environment, s *scene) { s.provide(e, bind.Primary, e.DNS.Secret) },
	},
	"somebody's DMARC record stands at our name": {
		zone:    "dmarc.example",
		prepare: []string{`add _dmarc.dmarc.example 60 TXT "v=DMARC1; p=reject; rua=mailto:them@elsewhere.example"`},
		begin:   func(e *environment, s *scene) { s.ask(e, dmarcNone) },

		condition: v1alpha1.ConditionRecordsPublished, reasons: []string{v1alpha1.ReasonRecordConflict},
		mend: func(e *environment, s *scene) { s.edit(e, "delete _dmarc.dmarc.example TXT") },
	},
	"somebody's SPF record stands at our name": {
		zone:    "spf.example",
		prepare: []string{`add spf.example 60 TXT "v=spf1 include:elsewhere.example -all"`},
		begin:   func(e *environment, s *scene) { s.ask(e, spfMX) },

		condition: v1alpha1.ConditionRecordsPublished, reasons: []string{v1alpha1.ReasonRecordConflict},
		mend: func(e *environment, s *scene) {
			s.edit(e, `delete spf.example TXT "v=spf1 include:elsewhere.example -all"`)
		},
	},
	"somebody adds a second SPF record beside ours": {
		zone: "spf2.example", sections: spfMX,
		prepare: []string{`add spf2.example 60 TXT "v=spf1 include:elsewhere.example -all"`},
		begin:   func(*environment, *scene) {},

		condition: v1alpha1.ConditionRecordsPublished, reasons: []string{v1alpha1.ReasonRecordConflict},
		mend: func(e *environment, s *scene) {
			s.edit(e, `delete spf2.example TXT "v=spf1 include:elsewhere.example -all"`)
		},
	},
	"somebody's key stands under our selector": {
		zone: "selector.example",
		prepare: []string{
			`add taken._domainkey.selector.example 60 TXT "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="`,
		},
		begin: func(e *environment, s *scene) {
			e.kubectlApply(s.t, fmt.Sprintf(`apiVersion: maildomain.dev/v1alpha1
kind: DKIMKey
metadata: {name: taken, namespace: %s}
spec: {domain: selector.example, selector: taken, algorithm: RSA, bits: 2048, providerRef: {name: %s}}
`, troubleNamespace, s.name))
		},
		condition: "", // the key says it: see met
		reasons:   []string{v1alpha1.ReasonRecordConflict},
		mend: func(e *environment, s *scene) {
			s.edit(e, "delete taken._domainkey.selector.example TXT")
		},
	},
}

func troubleZones() []string {
	var names []string
	for _, c := range troubles {
		names = append(names, c.zone)
	}
	slices.Sort(names)
	return names
}

// TestTroubleIsSaidAndNothingThatWasLiveChanges: every trouble comes over a
// domain that is live. The operator says what it is, as a condition and as an
// event, writes nothing, and goes on by itself when it is over.
func TestTroubleIsSaidAndNothingThatWasLiveChanges(t *testing.T) {
	e, _ := readyAcme(t)
	scenes := map[string]*scene{}
	for what, c := range troubles {
		s := &scene{trouble: c, t: t, name: strings.TrimSuffix(c.zone, ".example")}
		scenes[what] = s
		s.provide(e, bind.Primary, e.DNS.Secret)
		s.ask(e, c.sections)
	}
	for _, s := range scenes {
		s.awaitReady(t, e)
	}
	for _, s := range scenes {
		if len(s.prepare) > 0 {
			s.edit(e, s.prepare...)
		}
		s.before = e.picture(t, s)
		s.begin(e, s)
	}
	for what, s := range scenes {
		t.Run(what, func(t *testing.T) { s.met(t, e) })
	}
	// Mail of all that is live flows on, signed.
	e.milterHasKeys(t)
	e.swaks(t, "In the middle of it", "All of that is not this domain's business.")
	e.judge(t, e.arrived(t, 1)[0].Message, verifiers.Pass)

	for what, s := range scenes {
		t.Run(what+" no more", func(t *testing.T) {
			if diff := cmp.Diff(s.before, e.picture(t, s)); diff != "" {
				t.Errorf("what was live changed (-before +after):\n%s", diff)
			}
			s.t = t
			s.mend(e, s)
		})
	}
	for what, s := range scenes {
		t.Run(what+" and it goes on by itself", func(t *testing.T) {
			e.tell(t, "%s", describe(s.awaitReady(t, e)))
		})
	}
}

// met waits for condition and event, and sees that nothing was written.
func (s *scene) met(t *testing.T, e *environment) {
	t.Helper()
	domain := &v1alpha1.MailDomain{ObjectMeta: metav1.ObjectMeta{Name: s.name, Namespace: troubleNamespace}}
	if s.condition != "" {
		e.await(t, domain, "in trouble", func() bool {
			return has(domain, s.condition, metav1.ConditionFalse, s.reasons...) && has(domain, v1alpha1.ConditionReady, metav1.ConditionFalse, s.reasons...)
		})
		e.tell(t, "$ kubectl describe maildomain %s\n%s", s.name, describe(domain))
		e.event(t, domain, s.reasons...)
	} else {
		key := &v1alpha1.DKIMKey{ObjectMeta: metav1.ObjectMeta{Name: "taken", Namespace: troubleNamespace}}
		e.await(t, key, "in trouble", func() bool { return has(key, v1alpha1.ConditionReady, metav1.ConditionFalse, s.reasons...) })
		e.tell(t, "$ kubectl describe dkimkey taken\n%s", describe(key))
		e.event(t, key, s.reasons...)
	}
	if s.provider {
		provider := &v1alpha1.DNSProvider{ObjectMeta: metav1.ObjectMeta{Name: s.name, Namespace: troubleNamespace}}
		e.await(t, provider, "in trouble", func() bool { return has(provider, v1alpha1.ConditionReady, metav1.ConditionFalse, s.reasons...) })
		e.tell(t, "$ kubectl describe dnsprovider %s\n%s", s.name, describe(provider))
		e.event(t, provider, s.reasons...)
	}
	if diff := cmp.Diff(s.before, e.picture(t, s)); diff != "" {
		t.Errorf("what was live changed (-before +after):\n%s", diff)
	}
	e.tell(t, "the SOA serial of %s at BIND is still %s", s.zone, s.before.Serial)
}

// picture is what of a domain is live: its zone, and the keys that its signers mount.
type picture struct {
	Serial string
	Zone   []string
	Signed map[string][]byte
}

func (e *environment) picture(t *testing.T, s *scene) picture {
	t.Helper()
	var p picture
	var err error
	if p.Serial, err = bind.Serial(t.Context(), bind.Primary, s.zone); err != nil {
		t.Fatal(err)
	}
	if p.Zone, err = bind.Transfer(t.Context(), s.zone); err != nil {
		t.Fatal(err)
	}
	var secret corev1.Secret
	if err := e.Get(t.Context(), client.ObjectKey{Namespace: troubleNamespace, Name: s.name + "-dkim"}, &secret); err != nil {
		t.Fatal(err)
	}
	p.Signed = secret.Data
	return p
}

// awaitReady waits until the domain is Ready, signs, and has a spare that is done, too: nothing more is to be written then.
func (s *scene) awaitReady(t *testing.T, e *environment) *v1alpha1.MailDomain {
	t.Helper()
	return e.mailDomain(t, troubleNamespace, s.name, "Ready and at rest", func(d *v1alpha1.MailDomain) bool {
		return ready(d) && signs(d, v1alpha1.AlgorithmRSA) && atRest(d)
	})
}

// atRest tells whether every key signs or stands by, or is on its way out, as a
// key that a person made beside those that there are.
func atRest(d *v1alpha1.MailDomain) bool {
	standby := 0
	for _, k := range d.Status.Keys {
		switch k.Phase {
		case v1alpha1.PhaseStandby:
			standby++
		case v1alpha1.PhaseSigning, v1alpha1.PhaseRetiring:
		case v1alpha1.PhasePending, v1alpha1.PhasePublishing, v1alpha1.PhaseRevoked:
			return false
		}
	}
	return standby > 0
}

func (s *scene) provide(e *environment, server netip.Addr, tsig string) {
	s.t.Helper()
	if err := e.Provider(s.t.Context(), troubleNamespace, s.name, server, tsig, s.zone); err != nil {
		s.t.Fatal(err)
	}
}

// lookAgain changes the provider by a second: a Secret is not watched, and read again when the provider changes or the key is refused.
func (s *scene) lookAgain(e *environment) {
	s.t.Helper()
	provider := &v1alpha1.DNSProvider{ObjectMeta: metav1.ObjectMeta{Name: s.name, Namespace: troubleNamespace}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"ttlSeconds":6}}`))
	if err := e.Patch(s.t.Context(), provider, patch); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) ask(e *environment, sections string) {
	s.t.Helper()
	err := e.ApplyManifest(s.t.Context(), fmt.Sprintf(`apiVersion: maildomain.dev/v1alpha1
kind: MailDomain
metadata: {name: %s, namespace: %s}
spec:
  domain: %s
  providerRef: {name: %[1]s}
  dkim: {}
%[4]s`, s.name, troubleNamespace, s.zone, sections))
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) edit(e *environment, lines ...string) {
	s.t.Helper()
	e.tell(s.t, "$ nsupdate -k person.key\n%s", strings.Join(lines, "\n"))
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if err := e.DNS.Edit(ctx, s.zone, lines...); err != nil {
		s.t.Fatal(err)
	}
}
