// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// rivals is the domain that several installations write.
var rivals = example{name: "two installations, a clone, a stale one", label: "rivals", foreign: []foreign{
	{"@", dnsrecord.TXT, 1800, `site="verification"; of \ others`},
	{"_dmarc.sub", dnsrecord.TXT, 1800, "v=DMARC1; p=none"},
}, steps: func(dnsrecord.Name) []step { return []step{{}} }} // several take turns: see rivalry

// installation is one operator at the zone, which counts what it asks the provider to change.
type installation struct {
	*bench

	writes *atomic.Int64
}

func (s subject) installation(t *testing.T, ownerID string) installation {
	t.Helper()
	s.spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: 1000, Burst: 1000}
	account, err := dnsprovider.Open(t.Context(), s.spec, dnsprovider.OpenOptions{
		Secrets:   func(context.Context, v1alpha1.SecretKeyRef) ([]byte, error) { return []byte(s.secret), nil },
		Transport: s.transport, Now: time.Now, //nolint:forbidigo // TSIG compares with the server's own clock
	})
	if err != nil {
		t.Fatal(err)
	}
	writes := &atomic.Int64{}
	account.Driver = counting{account.Driver, writes}
	accounts := dnsprovider.NewAccounts()
	accounts.Set(providerKey, account)
	q := dnsprovider.NewQueue(dnsprovider.Options{
		OwnerID: ownerID, Accounts: accounts, Now: time.Now, //nolint:forbidigo // see above
		Hearing: time.Nanosecond, // its objects have told all that they know
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Start(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return installation{&bench{subject: s, queue: q}, writes}
}

// counting counts the changes that reach a driver.
type counting struct {
	dnsprovider.Driver

	writes *atomic.Int64
}

func (d counting) Zone(name dnsrecord.Name) dnsprovider.Zone {
	return countingZone{d.Driver.Zone(name), d.writes}
}

type countingZone struct {
	dnsprovider.Zone

	writes *atomic.Int64
}

func (z countingZone) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	z.writes.Add(int64(len(changes)))
	return z.Zone.Apply(ctx, changes)
}

// wants submits what a MailDomain of rivals wants: values by name.
func (i installation) wants(t *testing.T, s dnsprovider.Submission, values map[string]string) dnsprovider.Result {
	t.Helper()
	domain := rivals.domain()
	s.Owner = dnsprovider.Owner{Kind: "MailDomain", Namespace: "mail", Name: rivals.label}
	s.Provider, s.Zone, s.Domain = providerKey, zone, domain
	for _, label := range []string{"", "_dmarc", "m1._domainkey", "m2._domainkey"} {
		value, ok := values[label]
		if !ok || label == "" && i.experimental { // which leaves SPF to a person
			continue
		}
		wish := dnsplan.Wish{Name: domain, Type: dnsrecord.TXT, Kind: dnsplan.SPF, Value: value, TTL: 600, Adoption: dnsplan.Always}
		if label != "" {
			wish.Name, wish.Kind = domain.Child(label), dnsplan.Exclusive
		}
		s.Wishes = append(s.Wishes, wish)
	}
	return i.submit(t, s)
}

// lines is the zone as the provider has it; a server's own serial number does not count.
func (s subject) lines(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, r := range s.dump(t) {
		if r.typ != dnsrecord.SOA {
			all = append(all, r.line)
		}
	}
	slices.Sort(all)
	return all
}

// rivalry has the first installation publish a domain. Whoever else wants to is told so, and writes nothing, until a person
// has it take over.
func rivalry(t *testing.T, s subject) {
	t.Helper()
	untouched := s.lines(t)
	first, other := s.installation(t, "first"), s.installation(t, "other")
	clone, stale := s.installation(t, "first"), s.installation(t, "first")

	was := map[string]string{"": "v=spf1 -all", "_dmarc": "v=DMARC1; p=none", "m1._domainkey": "v=DKIM1; k=rsa; p=AAAA"}
	published := first.wants(t, dnsprovider.Submission{}, was)
	is := map[string]string{"": "v=spf1 mx -all", "_dmarc": "v=DMARC1; p=none", "m1._domainkey": "v=DKIM1; k=rsa; p=AAAA", "m2._domainkey": "v=DKIM1; k=rsa; p=BBBB"}
	settled(t, "the first", first.wants(t, dnsprovider.Submission{RememberedGeneration: published.MarkerGeneration}, is))
	budget := int64(8) // three records, two that follow, and three times the marker
	if s.experimental {
		budget = 5 // without SPF no digest goes
	}
	if n := first.writes.Load(); n != budget {
		t.Errorf("the first installation wrote %d times, not %d", n, budget)
	}
	stands := s.lines(t)

	theirs := map[string]string{"": "v=spf1 a -all", "_dmarc": "v=DMARC1; p=reject", "m2._domainkey": "v=DKIM1; k=rsa; p=CCCC"}
	loses := func(who string, i installation, sub dnsprovider.Submission, values map[string]string, words string) {
		t.Helper()
		written := i.writes.Load()
		for range 3 {
			for _, o := range i.wants(t, sub, values).Outcomes {
				if o.State != dnsplan.Conflict || !strings.Contains(o.Message, words) {
					t.Errorf("%s: %s is %s: %s", who, o.Name, o.State, o.Message)
				}
			}
		}
		if n := i.writes.Load() - written; n != 0 {
			t.Errorf("%s wrote %d times", who, n)
		}
	}
	loses("another installation", other, dnsprovider.Submission{}, theirs, "another installation")
	// Both remember what stood before the first one went on.
	loses("a clone", clone, dnsprovider.Submission{RememberedGeneration: published.MarkerGeneration}, theirs, "second copy")
	loses("a leader of yesterday", stale, dnsprovider.Submission{RememberedGeneration: published.MarkerGeneration}, was, "second copy")
	if after := s.lines(t); !slices.Equal(stands, after) {
		t.Errorf("the zone held\n%s\nand holds\n%s", strings.Join(stands, "\n"), strings.Join(after, "\n"))
	}

	theirs["m1._domainkey"], theirs["m2._domainkey"] = "", "v=DKIM1; k=rsa; p=BBBB" // with the key that signs there
	settled(t, "who takes over", other.wants(t, dnsprovider.Submission{TakeOver: "first"}, theirs))
	if n := other.writes.Load(); n > 5 {
		t.Errorf("to take over took %d writes", n)
	}
	stands = s.lines(t)
	loses("the former installation", first, dnsprovider.Submission{RememberedGeneration: published.MarkerGeneration}, was, "another installation")
	if after := s.lines(t); !slices.Equal(stands, after) {
		t.Errorf("the zone held\n%s\nand holds\n%s", strings.Join(stands, "\n"), strings.Join(after, "\n"))
	}
	settled(t, "who leaves", other.wants(t, dnsprovider.Submission{}, map[string]string{"": "", "_dmarc": "", "m2._domainkey": ""}))
	if after := s.lines(t); !slices.Equal(untouched, after) {
		t.Errorf("in the end the zone holds\n%s\nnot\n%s", strings.Join(after, "\n"), strings.Join(untouched, "\n"))
	}
}

func settled(t *testing.T, who string, r dnsprovider.Result) {
	t.Helper()
	if !r.Settled() {
		t.Errorf("%s: %+v", who, r.Outcomes)
	}
}
