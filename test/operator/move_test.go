// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

// move is a domain that goes from one set of name servers to another one.
type move struct {
	*bench
	domain *v1alpha1.MailDomain
	next   *nameserver.Zone // example.org at the new provider
	ready  func() []string
}

// newMove has a domain settled at DNSProvider dns; DNSProvider new has a zone of the same name on ns1.new.test and
// ns2.new.test, of which the parent knows nothing yet.
func newMove(t *testing.T) *move {
	t.Helper()
	m := &move{bench: newBench(t, "example.org")}
	m.stop()
	world := nameserver.World{Keys: []nameserver.Key{{Name: "op", Secret: tsigSecret}}, Sites: []nameserver.Site{
		{Zone: "example.org", Addrs: []string{"127.0.0.3", "127.0.0.4"}, Records: foreign, TTL: 2, Minimum: 1},
		{Zone: "new.test", Addrs: []string{"127.0.0.5", "127.0.0.6"}},
	}}
	var err error
	if m.world, err = nameserver.StartWorld(t.Context(), world); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.world.Close)
	m.next, err = nameserver.ParseZone("example.org.", "@ 2 SOA ns1.new.test. hostmaster 1 3600 600 86400 1\n"+newServers+foreign)
	if err != nil {
		t.Fatal(err)
	}
	m.world.Server("127.0.0.5").Host(m.next, true)
	m.world.Server("127.0.0.6").Host(m.next, false)
	m.settings = settingsFor(m.world, "test-"+m.namespace, m.settings.Providers.OperatorNamespace)
	m.start()
	m.provider("dns")
	m.provider("new", func(p *v1alpha1.DNSProvider) { p.Spec.RFC2136.Server = fmt.Sprintf("127.0.0.5:%d", m.world.Port()) })
	m.domain = m.bench.domain("example.org", rotating())
	m.settled(m.domain)
	m.ready = m.readiness(m.domain)
	return m
}

const newServers = "example.org. 300 IN NS ns1.new.test.\nexample.org. 300 IN NS ns2.new.test.\n"

// to names another provider in the spec.
func (m *move) to(provider v1alpha1.ObjectName) {
	m.Helper()
	edit(m.bench, m.domain, func(d *v1alpha1.MailDomain) { d.Spec.ProviderRef.Name = provider })
	m.await(m.domain, "a place at "+provider, func() bool {
		p := m.domain.Status.Places
		return len(p) > 0 && p[0].ProviderRef.Name == provider && p[0].State == v1alpha1.PlaceInUse
	})
}

// former is what the status says of the first former place.
func (m *move) former() v1alpha1.PlaceStatus {
	if len(m.domain.Status.Places) < 2 {
		return v1alpha1.PlaceStatus{}
	}
	return m.domain.Status.Places[1]
}

func (m *move) awaitMoving(reason string, words ...string) {
	m.Helper()
	c := m.awaitCondition(m.domain, v1alpha1.ConditionMoving, metav1.ConditionTrue, reason)
	if !holds(c.Message, words...) {
		m.Errorf("Moving says %q, not %q", c.Message, words)
	}
}

// delegate has the parent name other servers.
func (m *move) delegate(servers string) {
	m.Helper()
	if err := m.world.Zone("org").Replace("example.org.", dns.TypeNS, servers); err != nil {
		m.Fatal(err)
	}
}

// ours are the records of a zone that the operator writes, the marker left out: it counts its own changes.
func ours(zone *nameserver.Zone) []string {
	var all []string
	for line := range strings.Lines(zone.Dump()) {
		if strings.Contains(line, "\tTXT\t") && !strings.Contains(line, "site-verification") && !strings.HasPrefix(line, "_maildomain.") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// awaitEqual waits until both places hold the same, and the signers' keys are among it.
func (m *move) awaitEqual() {
	m.Helper()
	m.until("two equal places", func() bool {
		return slices.Equal(ours(m.world.Zone("example.org")), ours(m.next))
	})
	for _, s := range m.signers(m.domain) {
		if len(m.next.TXT(s+"._domainkey")) != 1 {
			m.Errorf("the new place lacks %s, which signs:\n%s", s, m.next.Dump())
		}
	}
}

func (m *move) alwaysReady() {
	m.Helper()
	for _, was := range m.ready() {
		if !strings.HasPrefix(was, "True") {
			m.Errorf("Ready was %s", was)
		}
	}
}

// A domain moves in the middle of a rotation: every key, the former one too, stands at both places before the parent changes,
// and as long as anybody may ask the former servers.
func TestADomainMovesToAnotherProviderInMidRotation(t *testing.T) {
	t.Parallel()
	m := newMove(t)
	first := m.signing(m.domain)
	m.pass(time.Minute)
	m.word(m.domain, v1alpha1.AnnotationRotate)
	second := m.awaitSigner(m.domain, first)
	m.awaitRetiring(first)

	m.to("new")
	m.awaitMoving(v1alpha1.ReasonWaitingForDelegation, "DNSProvider new, zone example.org", "DNSProvider dns, zone example.org", "ns1.example.org, ns2.example.org")
	m.awaitEqual()
	m.awaitSaid(m.domain, "PlacesEqual", "DNSProvider new")
	if got := m.next.TXT(first.Status.RecordName + "."); len(got) != 1 || got[0] != first.Status.RecordValue {
		t.Errorf("the key that retires is %q at the new place", got)
	}

	// A rotation goes on at both.
	m.pass(time.Minute)
	m.word(m.domain, v1alpha1.AnnotationRotate)
	m.awaitSigner(m.domain, second)
	m.awaitEqual()
	m.pass(overlap + time.Hour)
	m.await(first, "an empty record", func() bool { return first.Status.RevokedTime != nil })
	m.awaitEqual()
	if got := m.next.TXT(first.Status.RecordName + "."); !slices.Equal(got, []string{"v=DKIM1; k=rsa; p="}) {
		t.Errorf("the tombstone is %q at the new place", got)
	}

	m.delegate(newServers)
	m.awaitMoving(v1alpha1.ReasonWaitingForCaches, "caches to forget its name servers, until ", "NS TTL 300 s")
	m.awaitEqual()
	m.pass(6 * time.Minute)
	m.await(m.domain, "a place that is left", func() bool { return m.former().State == v1alpha1.PlaceLeft })
	m.awaitSaid(m.domain, "FormerPlaceLeft", "DNSProvider dns", v1alpha1.AnnotationCleanFormerPlaces)
	m.settled(m.domain)

	// From now on the former place stays as it is.
	left := m.world.Zone("example.org").Dump()
	m.pass(grave + 24*time.Hour)
	m.awaitGone(first)
	m.sameZone("example.org", left)
	m.alwaysReady()
}

// A move that is taken back before the parent knows of it. While it waits, nothing is written and no provider is asked.
// The place that nobody asks is cleaned when a person says so, and of ours alone.
func TestAMoveIsTakenBackAndItsPlaceCleaned(t *testing.T) {
	t.Parallel()
	m := newMove(t)
	writes := m.countEveryWrite()
	before := m.next.Dump()
	m.to("new")
	m.awaitMoving(v1alpha1.ReasonWaitingForDelegation)
	m.awaitEqual()
	m.settled(m.domain)
	m.awaitQuiet(writes, m.domain)
	writes.reset()
	m.resetDNS()
	m.awaitRounds(m.domain, 2)
	m.report("two drift rounds of a domain that moves", writes)
	if s := m.world.Server("127.0.0.5"); s.Updates()+s.SignedQueries() != 0 {
		t.Errorf("%d updates and %d reads at the new provider", s.Updates(), s.SignedQueries())
	}

	m.to("dns")
	m.awaitMoving(v1alpha1.ReasonWaitingForCaches, "DNSProvider new, zone example.org is kept equal")
	kept := m.world.Zone("example.org")
	m.pass(6 * time.Minute)
	m.await(m.domain, "a place that is left", func() bool { return m.former().State == v1alpha1.PlaceLeft })
	m.rounds()
	m.awaitEqual()

	m.pass(time.Minute)
	m.word(m.domain, v1alpha1.AnnotationCleanFormerPlaces)
	m.awaitSaid(m.domain, "FormerPlaceCleaned", "DNSProvider new, zone example.org")
	if after := m.next.Dump(); after != before {
		t.Errorf("the new provider's zone was\n%s\nand is\n%s", before, after)
	}
	if len(ours(kept)) == 0 || len(m.txt("_maildomain.example.org")) != 1 {
		t.Errorf("the zone that is in use is\n%s", kept.Dump())
	}
	m.await(m.domain, "one place", func() bool { return len(m.domain.Status.Places) == 1 })
	m.alwaysReady()
}

// A revocation while both places stand empties the record at both, whatever becomes of the operator meanwhile.
func TestARevocationWhileBothPlacesStand(t *testing.T) {
	t.Parallel()
	m := newMove(t)
	m.to("new")
	m.awaitMoving(v1alpha1.ReasonWaitingForDelegation)
	m.stop()
	m.start()
	m.settled(m.domain)
	old := m.signing(m.domain)
	edit(m.bench, m.domain, func(d *v1alpha1.MailDomain) {
		d.Spec.DKIM.RevokedSelectors = []v1alpha1.SelectorName{old.Spec.Selector}
	})
	m.awaitSigner(m.domain, old)
	m.pass(time.Minute)
	m.await(old, "an empty record", func() bool { return old.Status.RevokedTime != nil })
	for _, zone := range []*nameserver.Zone{m.world.Zone("example.org"), m.next} {
		if got := zone.TXT(old.Status.RecordName + "."); !slices.Equal(got, []string{"v=DKIM1; k=rsa; p="}) {
			t.Errorf("the revoked key's record is %q", got)
		}
	}
	m.awaitEqual()

	// The world has the new servers by now; they hold everything, and the domain is Ready.
	m.delegate(newServers)
	m.awaitMoving(v1alpha1.ReasonWaitingForCaches)
	m.world.Server("127.0.0.3").Unhost("example.org")
	m.world.Server("127.0.0.4").Unhost("example.org")
	m.awaitReady(m.domain)
}

// A former provider that is gone is told of. What stands goes on; a new key waits until nobody asks there.
func TestAFormerProviderThatIsGone(t *testing.T) {
	t.Parallel()
	m := newMove(t)
	m.to("new")
	m.awaitMoving(v1alpha1.ReasonWaitingForDelegation)
	m.awaitEqual()
	gone := &v1alpha1.DNSProvider{ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: m.namespace}}
	m.delete(gone)
	m.awaitSaid(m.domain, "FormerPlaceUnusable", "DNSProvider dns does not exist")
	m.await(m.domain, "words about it", func() bool { return strings.Contains(m.former().WaitingFor, "does not exist") })

	old := m.signing(m.domain)
	m.pass(time.Minute)
	m.word(m.domain, v1alpha1.AnnotationRotate)
	spare := m.awaitSwap(old)
	if len(m.next.TXT(spare+"._domainkey")) != 1 || len(m.txt(spare+"._domainkey.example.org")) != 1 {
		t.Errorf("%s signs, but does not stand at both places", spare)
	}
	m.await(m.domain, "a key that waits", func() bool {
		return slices.ContainsFunc(m.domain.Status.Keys, func(k v1alpha1.KeyStatus) bool { return k.Phase == v1alpha1.PhasePublishing })
	})
	m.rounds()
	m.delegate(newServers)
	m.awaitMoving(v1alpha1.ReasonWaitingForCaches)
	m.pass(6 * time.Minute)
	m.await(m.domain, "a place that is left", func() bool { return m.former().State == v1alpha1.PlaceLeft })
	m.settled(m.domain)
	m.alwaysReady()
}

// awaitSwap waits until another key signs, without a spare.
func (m *move) awaitSwap(instead *v1alpha1.DKIMKey) string {
	m.Helper()
	var selector string
	m.await(m.domain, "another key that signs", func() bool {
		signers := m.signers(m.domain)
		if len(signers) == 1 && signers[0] != instead.Spec.Selector {
			selector = signers[0]
		}
		return selector != ""
	})
	return selector
}
