// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
)

// scene is one domain with a zone and a provider of its own.
type scene struct {
	*bench
	zone     string
	domain   *v1alpha1.MailDomain
	provider *v1alpha1.DNSProvider
	secret   *corev1.Secret // the provider's credentials
	before   live
	records  []v1alpha1.RecordStatus // of the domain's own, while all was well

	mechanisms []v1alpha1.Mechanism // of SPF, likewise
}

// server points the provider at another address.
func (s *scene) server(addr string) {
	edit(s.bench, s.provider, func(p *v1alpha1.DNSProvider) {
		p.Spec.RFC2136.Server = fmt.Sprintf("%s:%d", addr, s.world.Port())
	})
}

// reread makes the operator try the provider's credentials again.
func (s *scene) reread() {
	edit(s.bench, s.provider, func(p *v1alpha1.DNSProvider) { p.Spec.TTLSeconds++ })
}

func (s *scene) tsig(value string) {
	edit(s.bench, s.secret, func(o *corev1.Secret) { o.Data = map[string][]byte{"tsig": []byte(value)} })
}

// breakage is something that goes wrong while a domain is Ready.
type breakage struct {
	broken, mend func(*scene)
	// provider and domain are the reasons of their Ready; the provider's may stay Ready.
	provider, domain string
	condition        string // of the domain that is denied, beside Ready
	person           bool   // Stalled, not Reconciling
	words            []string
}

var breakages = map[string]breakage{
	"the provider is deleted": {
		broken: func(s *scene) { s.delete(s.provider) },
		mend: func(s *scene) {
			s.provider = &v1alpha1.DNSProvider{ObjectMeta: metav1.ObjectMeta{Name: s.provider.Name, Namespace: s.namespace}, Spec: s.provider.Spec}
			s.create(s.provider)
		},
		domain: v1alpha1.ReasonProviderNotFound, condition: v1alpha1.ConditionProviderReady, person: true,
		words: []string{"does not exist", "spec.providerRef"},
	},
	"the credentials are deleted": {
		broken: func(s *scene) { s.delete(s.secret); s.reread() },
		mend: func(s *scene) {
			s.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.secret.Name, Namespace: s.namespace}, StringData: map[string]string{"tsig": tsigSecret}}
			s.create(s.secret)
		},
		provider: v1alpha1.ReasonSecretMissing, domain: v1alpha1.ReasonProviderNotReady, condition: v1alpha1.ConditionProviderReady, person: true,
		words: []string{"Secret", "does not exist", "tsig"},
	},
	"the server refuses the TSIG key": {
		broken:   func(s *scene) { s.tsig("bm90IHRoZSByaWdodCBrZXkgZm9yIHRoaXMgc2VydmU="); s.reread() },
		mend:     func(s *scene) { s.tsig(tsigSecret) },
		provider: v1alpha1.ReasonInvalidCredentials, domain: v1alpha1.ReasonInvalidCredentials, condition: v1alpha1.ConditionProviderReady, person: true,
		words: []string{"TSIG"},
	},
	"the entry is no TSIG key": {
		broken:   func(s *scene) { s.tsig("not base64!"); s.reread() },
		mend:     func(s *scene) { s.tsig(tsigSecret) },
		provider: v1alpha1.ReasonInvalidConfiguration, domain: v1alpha1.ReasonProviderNotReady, condition: v1alpha1.ConditionProviderReady, person: true,
		words: []string{"Secret", "base64"},
	},
	"the server does not hold the zone": {
		broken: func(s *scene) {
			s.world.Server("127.0.0.3").Unhost(s.zone)
			edit(s.bench, s.provider, func(p *v1alpha1.DNSProvider) { p.Spec.Zones = []v1alpha1.ZoneName{s.zone} })
		},
		mend:     func(s *scene) { s.world.Server("127.0.0.3").Host(s.world.Zone(s.zone), true) },
		provider: v1alpha1.ReasonZoneNotFound, domain: v1alpha1.ReasonZoneNotFound, condition: v1alpha1.ConditionProviderReady, person: true,
		words: []string{"127.0.0.3", "zone"},
	},
	"none of the listed zones holds the domain": {
		broken: func(s *scene) {
			edit(s.bench, s.provider, func(p *v1alpha1.DNSProvider) { p.Spec.Zones = []v1alpha1.ZoneName{"spare.test"} })
		},
		mend: func(s *scene) {
			edit(s.bench, s.provider, func(p *v1alpha1.DNSProvider) { p.Spec.Zones = append(p.Spec.Zones, s.zone) })
		},
		domain: v1alpha1.ReasonZoneNotFound, condition: v1alpha1.ConditionProviderReady, person: true,
		words: []string{"spec.zones"},
	},
	"the server cannot be reached": {
		broken:   func(s *scene) { s.server("127.0.0.9") },
		mend:     func(s *scene) { s.server("127.0.0.3") },
		provider: v1alpha1.ReasonServerUnreachable, domain: v1alpha1.ReasonServerUnreachable, condition: v1alpha1.ConditionProviderReady,
		words: []string{"127.0.0.9"},
	},
	"the endpoint is not allowed": {
		broken:   func(s *scene) { s.server("127.0.0.66") },
		mend:     func(s *scene) { s.server("127.0.0.3") },
		provider: v1alpha1.ReasonEndpointNotAllowed, domain: v1alpha1.ReasonProviderNotReady, condition: v1alpha1.ConditionProviderReady, person: true,
		words: []string{"127.0.0.66", "--provider-endpoint-allow"},
	},
	"the driver is not built in": {
		broken: func(s *scene) {
			edit(s.bench, s.provider, func(p *v1alpha1.DNSProvider) {
				p.Spec.RFC2136, p.Spec.Libdns = nil, &v1alpha1.Libdns{Name: "namecheap"}
			})
		},
		mend: func(s *scene) {
			edit(s.bench, s.provider, func(p *v1alpha1.DNSProvider) {
				p.Spec.Libdns, p.Spec.RFC2136 = nil, &v1alpha1.RFC2136{
					Server: fmt.Sprintf("127.0.0.3:%d", s.world.Port()),
					TSIG:   &v1alpha1.TSIG{KeyName: "op", SecretRef: v1alpha1.SecretKeyRef{Name: s.secret.Name, Key: "tsig"}},
				}
			})
		},
		provider: v1alpha1.ReasonInvalidConfiguration, domain: v1alpha1.ReasonProviderNotReady, condition: v1alpha1.ConditionProviderReady, person: true,
		words: []string{"libdns", "not built into this version"},
	},
	"the time zone is unknown": {
		broken: func(s *scene) {
			edit(s.bench, s.domain, func(d *v1alpha1.MailDomain) {
				d.Spec.DKIM.Rotation = &v1alpha1.Rotation{Schedule: "0 4 1 */3 *", TimeZone: "Mars/Olympus"}
			})
		},
		mend: func(s *scene) {
			edit(s.bench, s.domain, func(d *v1alpha1.MailDomain) { d.Spec.DKIM.Rotation.TimeZone = "Europe/Berlin" })
		},
		domain: v1alpha1.ReasonInvalidSchedule, person: true,
		words: []string{"spec.dkim.rotation", "Mars/Olympus", "Europe/Berlin"},
	},
	"the schedule never fires": {
		broken: func(s *scene) {
			edit(s.bench, s.domain, func(d *v1alpha1.MailDomain) { d.Spec.DKIM.Rotation = &v1alpha1.Rotation{Schedule: "0 4 31 2 *"} })
		},
		mend: func(s *scene) {
			edit(s.bench, s.domain, func(d *v1alpha1.MailDomain) { d.Spec.DKIM.Rotation = nil })
		},
		domain: v1alpha1.ReasonInvalidSchedule, person: true,
		words: []string{"spec.dkim.rotation", "never fires"},
	},
	"the mechanisms make no SPF record": {
		broken: func(s *scene) {
			edit(s.bench, s.domain, func(d *v1alpha1.MailDomain) { s.mechanisms, d.Spec.SPF.Mechanisms = d.Spec.SPF.Mechanisms, eleven() })
		},
		mend: func(s *scene) {
			edit(s.bench, s.domain, func(d *v1alpha1.MailDomain) { d.Spec.SPF.Mechanisms = s.mechanisms })
		},
		domain: v1alpha1.ReasonInvalidRecord, condition: v1alpha1.ConditionRecordsPublished, person: true,
		words: []string{"spec.spf", "11 DNS lookups", "ip4"},
	},
}

// eleven mechanisms that ask the DNS: each is right, and together they are one more than receivers follow.
func eleven() []v1alpha1.Mechanism {
	var all []v1alpha1.Mechanism
	for i := range 11 {
		all = append(all, fmt.Sprintf("include:spf%d.example.net", i))
	}
	return all
}

// Whatever is missing or wrong at run time: a condition and one event say it, nothing is written, and what was live
// before stays live. Mending it is enough: nobody touches the MailDomain.
func TestWhatIsWrongIsSaidOnceAndLeavesEverythingAsItWas(t *testing.T) {
	t.Parallel()
	zones := map[string]string{}
	all := []string{"spare.test"}
	for name := range breakages {
		zones[name] = fmt.Sprintf("zone%d.test", len(zones))
		all = append(all, zones[name])
	}
	b := newBench(t, all...)
	b.restart(func(s *controllers.Settings) { s.Providers.AllowedEndpoints = []string{"127.0.0.3", "127.0.0.9"} })

	scenes := map[string]*scene{}
	for name, zone := range zones {
		s := &scene{bench: b, zone: zone, provider: b.provider("dns-" + zone)}
		s.secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.provider.Name, Namespace: b.namespace}}
		s.domain = b.domain(zone, func(d *v1alpha1.MailDomain) { d.Spec.ProviderRef.Name = s.provider.Name })
		scenes[name] = s
	}
	for _, s := range scenes {
		s.settled(s.domain)
		s.before, s.records = s.live(s.domain), ownRecords(s.domain)
	}
	for name, s := range scenes {
		breakages[name].broken(s)
	}
	for name, s := range scenes {
		t.Run(name, func(t *testing.T) { breakages[name].isSaid(b.in(t), s) })
	}
	b.rounds()
	for name, s := range scenes {
		t.Run(name+" and changes nothing", func(t *testing.T) { breakages[name].wasSaidOnce(b.in(t), s) })
	}
	for name, s := range scenes {
		breakages[name].mend(s)
	}
	for name, s := range scenes {
		t.Run(name+" until it is mended", func(t *testing.T) {
			b := b.in(t)
			b.awaitReady(s.domain)
			b.stillLive(s.domain, s.before)
		})
	}
}

// ownRecords are name, purpose and text of the records that are not those of keys.
func ownRecords(d *v1alpha1.MailDomain) []v1alpha1.RecordStatus {
	var own []v1alpha1.RecordStatus
	for _, r := range d.Status.Records {
		if r.Purpose != v1alpha1.PurposeDKIM {
			own = append(own, v1alpha1.RecordStatus{Name: r.Name, Purpose: r.Purpose, Value: r.Value})
		}
	}
	return own
}

func (c breakage) isSaid(b *bench, s *scene) {
	b.Helper()
	b.awaitCondition(s.domain, v1alpha1.ConditionReady, metav1.ConditionFalse, c.domain)
	b.says(s.domain, v1alpha1.ConditionReady, metav1.ConditionFalse, c.domain, c.words...)
	if c.condition != "" {
		b.says(s.domain, c.condition, metav1.ConditionFalse, c.domain, c.words...)
	}
	kstatus := v1alpha1.ConditionReconciling
	if c.person {
		kstatus = v1alpha1.ConditionStalled
	}
	b.says(s.domain, kstatus, metav1.ConditionTrue, c.domain, c.words...)
	b.awaitSaid(s.domain, c.domain, c.words...)
	if c.provider != "" {
		b.awaitCondition(s.provider, v1alpha1.ConditionReady, metav1.ConditionFalse, c.provider)
		b.says(s.provider, v1alpha1.ConditionReady, metav1.ConditionFalse, c.provider, c.words...)
		b.says(s.provider, kstatus, metav1.ConditionTrue, c.provider, c.words...)
		b.awaitSaid(s.provider, c.provider, c.words...)
	}
}

func (c breakage) wasSaidOnce(b *bench, s *scene) {
	b.Helper()
	b.once(s.domain, c.domain, c.words...)
	if c.provider != "" {
		b.once(s.provider, c.provider, c.words...)
	}
	b.stillLive(s.domain, s.before)
	if diff := cmp.Diff(s.records, ownRecords(s.domain)); diff != "" {
		b.Error("the status does not know the domain's records any more:", diff)
	}
	if said := b.said(s.domain, "RecordLeft"); len(said) > 0 {
		b.Error("a record that the spec asks for is said to be none of it:", said)
	}
	for _, k := range s.domain.Status.Keys {
		key := &v1alpha1.DKIMKey{ObjectMeta: metav1.ObjectMeta{Name: k.Name, Namespace: b.namespace}}
		if err := b.Get(b.Context(), client.ObjectKeyFromObject(key), key); err != nil {
			b.Error(err)
		}
	}
}
