// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

const (
	ourServer    = "127.0.0.3" // takes our updates
	anothersHost = "127.0.0.5" // takes nobody's
)

// startSplitWorld serves keys.test and what else is named at our server, and the sites at another's.
func startSplitWorld(t *testing.T, ours []string, theirs ...nameserver.Site) *nameserver.Running {
	t.Helper()
	world := nameserver.World{Keys: []nameserver.Key{{Name: "op", Secret: tsigSecret}}}
	for _, z := range append(ours, "keys.test") {
		world.Sites = append(world.Sites, nameserver.Site{Zone: z, Addrs: []string{ourServer, "127.0.0.4"}, Records: foreign, TTL: 2, Minimum: 1})
	}
	for _, s := range theirs {
		s.Addrs, s.Records, s.TTL, s.Minimum = []string{anothersHost}, foreign+s.Records, 2, 1
		world.Sites = append(world.Sites, s)
	}
	running, err := nameserver.StartWorld(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running.Close)
	return running
}

func inZones(zones ...v1alpha1.ZoneName) func(*v1alpha1.DNSProvider) {
	return func(p *v1alpha1.DNSProvider) { p.Spec.Zones = zones }
}

// keysOnly is a domain whose other records are somebody else's.
func keysOnly(provider string, ring ...v1alpha1.SelectorName) func(*v1alpha1.MailDomain) {
	return func(d *v1alpha1.MailDomain) {
		d.Spec.SPF, d.Spec.DMARC, d.Spec.ProviderRef.Name = nil, nil, provider
		if len(ring) > 0 {
			d.Spec.DKIM.Selectors = &v1alpha1.Selectors{Ring: ring}
		}
	}
}

// Selectors that lead away from the domain's own zone, which nobody of ours may write, into one that we may: the keys'
// records are made there, seen through the alias or the delegation, and taken away there.
func TestSelectorsThatLeadIntoAZoneOfOurs(t *testing.T) {
	t.Parallel()
	ring := []v1alpha1.SelectorName{"one", "two", "three", "four"}
	stories := map[string]struct {
		domain   string
		provider string
		zone     string // where the records are
		at       func(selector string) string
		marker   string
	}{
		"a ring of CNAMEs": {
			"ring.test", "found", "keys.test", func(s string) string { return s + ".ring.keys.test" }, "ring.test._maildomain.keys.test",
		},
		"a ring of CNAMEs into a zone that the provider names": {
			"named.test", "named", "keys.test", func(s string) string { return s + ".named.keys.test" }, "named.test._maildomain.keys.test",
		},
		"_domainkey by DNAME": {
			"dname.test", "found", "keys.test", func(s string) string { return s + ".dname.keys.test" }, "dname.test._maildomain.keys.test",
		},
		"_domainkey by NS": {
			"sub.test", "found", "_domainkey.sub.test", func(s string) string { return s + "._domainkey.sub.test" }, "sub.test._maildomain._domainkey.sub.test",
		},
	}
	cnames := func(at string) string {
		var lines strings.Builder
		for _, s := range ring {
			lines.WriteString(s + "._domainkey 1 CNAME " + s + "." + at + ".\n")
		}
		return lines.String()
	}
	b := newBenchIn(t, startSplitWorld(t, []string{"_domainkey.sub.test"},
		nameserver.Site{Zone: "ring.test", Records: cnames("ring.keys.test")},
		nameserver.Site{Zone: "named.test", Records: cnames("named.keys.test")},
		nameserver.Site{Zone: "dname.test", Records: "_domainkey 1 DNAME dname.keys.test."},
		nameserver.Site{Zone: "sub.test"},
	))
	b.provider("found")
	b.provider("named", inZones("keys.test"))
	domains, untouched := map[string]*v1alpha1.MailDomain{}, map[string]string{}
	for title, s := range stories {
		untouched[title] = b.world.Zone(s.domain).Dump()
		domains[title] = b.domain(s.domain, keysOnly(s.provider, ring...), func(d *v1alpha1.MailDomain) { d.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	}
	before := b.world.Zone("keys.test").Dump()
	for title, s := range stories {
		d := domains[title]
		t.Run(title, func(t *testing.T) {
			b := b.in(t)
			b.settled(d)
			key := b.signing(d)
			at := s.at(key.Spec.Selector)
			b.awaitTXT(at, key.Status.RecordValue)
			if key.Status.Zone != s.zone || key.Status.RecordName != key.Spec.Selector+"._domainkey."+s.domain {
				t.Errorf("the status says %s in zone %s", key.Status.RecordName, key.Status.Zone)
			}
			if led := at != key.Status.RecordName; led && key.Status.TargetName != at || !led && key.Status.TargetName != "" {
				t.Errorf("the status says that the record stands at %q", key.Status.TargetName)
			}
			digest := dnsplan.Digest(dnsrecord.Name(at), dnsrecord.TXT, key.Status.RecordValue)
			if m := b.txt(s.marker); len(m) != 1 || !strings.Contains(m[0], digest) {
				t.Errorf("the marker is %q", m)
			}
			if after := b.world.Zone(s.domain).Dump(); after != untouched[title] {
				t.Errorf("the domain's own zone changed:\n%s", after)
			}
		})
	}
	b.restart(nothing) // it knows its records again
	b.rounds()
	for title, s := range stories {
		d := domains[title]
		t.Run(title+" is taken down", func(t *testing.T) {
			b := b.in(t)
			b.awaitReady(d)
			b.delete(d)
			b.awaitGone(d)
			b.awaitTXT(s.marker)
		})
	}
	b.sameZone("keys.test", before)
}

// An alias that somebody set leads to where we may not write: that is said, and nothing is written anywhere.
func TestAnAliasThatLeadsTooFarIsSaidAndNotFollowed(t *testing.T) {
	t.Parallel()
	b := newBenchIn(t, startSplitWorld(t, []string{"alias.test", "granted.test"}, nameserver.Site{Zone: "theirs.test"}))
	b.provider("narrow", inZones("alias.test"))
	b.provider("dns")
	add := func(zone, line string) {
		t.Helper()
		if err := b.world.Zone(zone).Add(line); err != nil {
			t.Fatal(err)
		}
	}
	add("alias.test", "out._domainkey 1 CNAME out.theirs.test.\nlost._domainkey 1 CNAME lost.keys.test.\nloop._domainkey 1 CNAME loop._domainkey\nonce._domainkey 1 CNAME same.keys.test.\ntwice._domainkey 1 CNAME same.keys.test.")
	add("granted.test", "m1._domainkey 1 CNAME m1.granted.keys.test.")
	before := map[string]string{}
	for _, z := range []string{"alias.test", "granted.test", "theirs.test", "keys.test"} {
		before[z] = b.world.Zone(z).Dump()
	}
	from := func(provider string) func(*v1alpha1.DKIMKey) {
		return func(k *v1alpha1.DKIMKey) { k.Spec.ProviderRef.Name = provider }
	}
	lost := b.key("alias.test", "lost", from("narrow"))
	loop := b.key("alias.test", "loop", from("narrow"))
	out := b.key("alias.test", "out")
	for _, c := range []struct {
		key    *v1alpha1.DKIMKey
		reason string
		words  []string
	}{
		{lost, v1alpha1.ReasonAliasNotAllowed, []string{"lost._domainkey.alias.test is an alias of lost.keys.test", "none of spec.zones", "remove the alias"}},
		{loop, v1alpha1.ReasonRecordConflict, []string{"loop._domainkey.alias.test", "CNAME"}},
	} {
		b.awaitCondition(c.key, v1alpha1.ConditionReady, metav1.ConditionFalse, c.reason)
		b.says(c.key, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, c.reason, c.words...)
		b.says(c.key, v1alpha1.ConditionStalled, metav1.ConditionTrue, c.reason, c.words...)
		b.awaitSaid(c.key, c.reason, c.words...)
	}
	// The provider itself says that it does not hold the zone.
	b.awaitCondition(out, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonZoneNotFound)
	b.says(out, v1alpha1.ConditionProviderReady, metav1.ConditionFalse, v1alpha1.ReasonZoneNotFound, "theirs.test")

	shared := &v1alpha1.ClusterDNSProvider{ObjectMeta: metav1.ObjectMeta{Name: "shared-" + b.namespace}}
	var own v1alpha1.DNSProvider
	if err := b.Get(b.Context(), client.ObjectKey{Namespace: b.namespace, Name: "dns"}, &own); err != nil {
		t.Fatal(err)
	}
	granted := b.grantedKey(shared, own.Spec, "granted.test", "m1")
	b.awaitCondition(granted, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAliasNotAllowed)
	b.says(granted, v1alpha1.ConditionRecordsPublished, metav1.ConditionFalse, v1alpha1.ReasonAliasNotAllowed, "does not grant m1.granted.keys.test")
	b.rounds()
	for zone, dump := range before {
		b.sameZone(zone, dump)
	}
	b.once(lost, v1alpha1.ReasonAliasNotAllowed)

	t.Run("until it may be followed", func(t *testing.T) {
		b := b.in(t)
		edit(b, shared, func(p *v1alpha1.ClusterDNSProvider) {
			p.Spec.Grants[0].Domains = append(p.Spec.Grants[0].Domains, "*.granted.keys.test")
		})
		b.awaitReady(granted)
		b.awaitTXT("m1.granted.keys.test", granted.Status.RecordValue)
	})
	t.Run("or is removed", func(t *testing.T) {
		b := b.in(t)
		b.remove("alias.test", "lost._domainkey.alias.test")
		b.remove("alias.test", "out._domainkey.alias.test")
		b.awaitReady(lost)
		b.awaitReady(out)
		b.awaitTXT("lost._domainkey.alias.test", lost.Status.RecordValue)
		b.sameZone("theirs.test", before["theirs.test"])
	})
	t.Run("of two that lead to one name, one has it", func(t *testing.T) {
		b := b.in(t)
		once := b.key("alias.test", "once")
		b.awaitReady(once)
		twice := b.key("alias.test", "twice")
		b.awaitCondition(twice, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDomainClaimed)
		b.says(twice, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDomainClaimed, "same.keys.test")
		b.awaitTXT("same.keys.test", once.Status.RecordValue)
	})
	t.Run("and one that is set later is followed", func(t *testing.T) {
		b := b.in(t)
		if err := b.world.Zone("alias.test").Remove("out._domainkey", 16); err != nil {
			t.Fatal(err)
		}
		add("alias.test", "out._domainkey 1 CNAME late.keys.test.")
		b.awaitTXT("late.keys.test", out.Status.RecordValue)
		b.await(out, "at late.keys.test", func() bool { return out.Status.TargetName == "late.keys.test" })
		b.awaitReady(out)
	})
}

// grantedKey makes a key by way of a ClusterDNSProvider that grants its domain to the namespace.
func (b *bench) grantedKey(p *v1alpha1.ClusterDNSProvider, like v1alpha1.DNSProviderSpec, domain, selector string) *v1alpha1.DKIMKey {
	b.Helper()
	p.Spec.DNSProviderSpec = like
	p.Spec.Grants = []v1alpha1.Grant{{Domains: []v1alpha1.GrantedDomain{domain}}}
	p.Spec.RFC2136.TSIG.SecretRef.Name = "shared"
	b.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "shared", Namespace: b.settings.Providers.OperatorNamespace},
		StringData: map[string]string{"tsig": tsigSecret},
	})
	b.create(p)
	return b.key(domain, selector, func(k *v1alpha1.DKIMKey) {
		k.Spec.ProviderRef = v1alpha1.ProviderRef{Kind: v1alpha1.ProviderKindClusterDNSProvider, Name: p.Name}
	})
}

// Where the world does not look nothing is written; and where the provider's zone is not the one that the world is
// delegated to, that is said.
func TestTheZoneThatTheWorldLooksIntoIsTheOneThatCounts(t *testing.T) {
	t.Parallel()
	b := newBenchIn(t, startSplitWorld(t, []string{"away.test"},
		nameserver.Site{Zone: "_domainkey.away.test"}, nameserver.Site{Zone: "split.test"}))
	inside, err := nameserver.ParseZone("split.test", foreign)
	if err != nil {
		t.Fatal(err)
	}
	b.world.Server(ourServer).Host(inside, true)
	b.provider("dns", inZones("away.test", "split.test"))
	away := b.key("away.test", "m1")
	split := b.domain("split.test", func(d *v1alpha1.MailDomain) { d.Spec.DKIM, d.Spec.DMARC = nil, nil })

	words := []string{"m1._domainkey.away.test is in the zone _domainkey.away.test of its own", "delegated away from away.test", "spec.zones of DNSProvider dns"}
	b.awaitCondition(away, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonZoneNotFound)
	b.says(away, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonZoneNotFound, words...)
	b.awaitSaid(away, v1alpha1.ReasonZoneNotFound, words...)

	r := b.awaitRecord(split, v1alpha1.PurposeSPF, v1alpha1.RecordPublished)
	if !slices.Contains(inside.TXT("@"), r.Value) {
		t.Errorf("inside stands %q", inside.TXT("@"))
	}
	b.pass(6 * time.Minute) // a secondary that lags would have it by now
	words = []string{"split.test: the provider has it in its zone split.test", anothersHost + " (ns1.split.test)", "delegated to the provider's name servers", "spec.verification.nameservers"}
	b.await(split, "split horizon", func() bool { return record(split, v1alpha1.PurposeSPF).Reason == v1alpha1.ReasonSplitHorizon })
	b.awaitCondition(split, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSplitHorizon)
	b.says(split, v1alpha1.ConditionRecordsVerified, metav1.ConditionFalse, v1alpha1.ReasonSplitHorizon, words...)
	b.says(split, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSplitHorizon, words...)
	b.awaitSaid(split, v1alpha1.ReasonSplitHorizon, words...)
	b.restart(nothing)
	b.rounds()
	b.once(split, v1alpha1.ReasonSplitHorizon)
	for _, name := range []string{"m1._domainkey.away.test", "away.test._maildomain._domainkey.away.test", "_maildomain.away.test"} {
		if got := b.txt(name); len(got) != 0 {
			t.Errorf("%s holds %q", name, got)
		}
	}
	b.sameZone("split.test", b.world.Zone("split.test").Dump())

	t.Run("until the zone inside is asked", func(t *testing.T) {
		b := b.in(t)
		p := &v1alpha1.DNSProvider{ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: b.namespace}}
		edit(b, p, func(p *v1alpha1.DNSProvider) {
			p.Spec.Verification = &v1alpha1.Verification{Nameservers: []v1alpha1.Nameserver{b.world.Server(ourServer).AddrPort().String()}}
		})
		b.awaitReady(split)
	})
}

// What the domain's answer grows to is everybody's doing; that it no longer fits a datagram is said, and gone when it fits again.
func TestAnAnswerThatUDPDoesNotCarryIsSaid(t *testing.T) {
	t.Parallel()
	b := newBench(t, "example.org")
	b.provider("dns")
	long := strings.Repeat("x", 1300)
	b.addTXT("example.org", "example.org", long)
	d := b.domain("example.org", func(d *v1alpha1.MailDomain) { d.Spec.DKIM, d.Spec.DMARC = nil, nil })
	b.awaitReady(d)
	b.awaitCondition(d, v1alpha1.ConditionLargeAnswers, metav1.ConditionTrue, v1alpha1.ReasonAnswerTooLarge)
	b.says(d, v1alpha1.ConditionLargeAnswers, metav1.ConditionTrue, v1alpha1.ReasonAnswerTooLarge, "example.org: the answer has 1", "1232", "remove TXT records")
	b.awaitSaid(d, v1alpha1.ReasonAnswerTooLarge, "1232")
	b.restart(nothing)
	b.rounds()
	b.once(d, v1alpha1.ReasonAnswerTooLarge)
	b.swapTXT("example.org", "example.org", long, strings.Repeat("y", 500))
	b.awaitCondition(d, v1alpha1.ConditionLargeAnswers, metav1.ConditionTrue, v1alpha1.ReasonAnswerNeedsExtensions)
	b.swapTXT("example.org", "example.org", strings.Repeat("y", 500))
	b.await(d, "small answers", func() bool {
		return meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionLargeAnswers) == nil
	})
}
