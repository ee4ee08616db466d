// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conformance is one suite for every DNS provider: whatever the operator does, records of others stay as they were,
// octet by octet, and ours say exactly what they should. Providers are fakes with the semantics of the real ones, and
// (build tag integration) real servers.
package conformance

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// record is one record as the provider itself keeps it.
type record struct {
	line  string // all of it: equal lines are equal records, to the last octet
	name  dnsrecord.Name
	typ   dnsrecord.Type
	value string // logical, read by other code than ours
}

// subject is a provider under test, with the foreign records of all examples in its zone.
type subject struct {
	column    string // in the table
	spec      v1alpha1.DNSProviderSpec
	secret    string // of whatever kind the spec refers to
	transport http.RoundTripper
	// experimental providers leave to a person what may stand beside records of others.
	experimental bool
	dump         func(t *testing.T) []record
}

// foreignRecords are those of all examples, with absolute names.
func foreignRecords() []foreign {
	all := []foreign{
		{string(zone), dnsrecord.A, 3600, "192.0.2.1"},
		{string(zone), dnsrecord.MX, 3600, "10 mail.acme.example."},
		{string(zone.Child("_sip._tcp")), "SRV", 3600, "0 5 5060 sip.acme.example."},
		{string(zone.Child("srv")), "SRV", 3600, "0 5 5060 sip.acme.example."},
	}
	for _, e := range append(slices.Clone(examples), rivals) {
		for _, f := range e.foreign {
			f.name = string(e.domain().Child(strings.TrimPrefix(f.name, "@")))
			all = append(all, f)
		}
	}
	return all
}

// zoneFile is the foreign records as lines of a zone file.
func zoneFile() []string {
	var lines []string
	for _, f := range foreignRecords() {
		value := f.value
		if f.typ == dnsrecord.TXT {
			value = dnsrecord.FormatTXT(value)
		}
		lines = append(lines, fmt.Sprintf("%s. %d IN %s %s", f.name, f.ttl, f.typ, value))
	}
	return lines
}

// bench is one subject with the operator's queue before it.
type bench struct {
	subject
	queue  *dnsprovider.Queue
	before []record
}

// conform runs the suite, and compares what came out with the table in docs.
func conform(t *testing.T, s subject) {
	t.Helper()
	b := s.start(t)
	b.before = s.dump(t)
	passed := map[string]bool{}
	for _, e := range examples {
		passed[e.name] = t.Run(e.name, func(t *testing.T) { b.run(t, e) })
	}
	passed[rivals.name] = t.Run(rivals.name, func(t *testing.T) { rivalry(t, s) })
	report(t, s.column, passed)
}

func (s subject) start(t *testing.T) *bench {
	t.Helper()
	s.spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: 1000, Burst: 1000}
	account, err := dnsprovider.Open(t.Context(), s.spec, dnsprovider.OpenOptions{
		Secrets:   func(context.Context, v1alpha1.SecretKeyRef) ([]byte, error) { return []byte(s.secret), nil },
		Transport: s.transport, Now: time.Now, //nolint:forbidigo // TSIG compares with the server's own clock
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := account.Driver.Check(t.Context(), []dnsrecord.Name{zone}); err != nil {
		t.Fatalf("check: %v", err)
	}
	accounts := dnsprovider.NewAccounts()
	accounts.Set(providerKey, account)
	q := dnsprovider.NewQueue(dnsprovider.Options{OwnerID: "conformance", Accounts: accounts, Now: time.Now, Gather: time.Nanosecond}) //nolint:forbidigo // see above
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Start(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return &bench{subject: s, queue: q}
}

var providerKey = dnsprovider.ProviderKey{Kind: "DNSProvider", Namespace: "mail", Name: "p"}

func (b *bench) run(t *testing.T, e example) {
	t.Helper()
	s := dnsprovider.Submission{
		Owner:    dnsprovider.Owner{Kind: "MailDomain", Namespace: "mail", Name: e.label},
		Provider: providerKey, Zone: zone, Domain: e.domain(),
	}
	defer b.queue.Forget(s.Owner)
	ours := map[dnsrecord.Name][]string{}
	for i, step := range e.steps(e.domain()) {
		s.Wishes = slices.Clone(step.wishes)
		for j, w := range s.Wishes { // what the object's status remembers
			s.Wishes[j].Ours = ours[w.Name]
		}
		result := b.submit(t, s)
		s.RememberedGeneration = result.MarkerGeneration
		for j, o := range result.Outcomes {
			if want := b.want(step, s.Wishes[j]); o.State != want {
				t.Fatalf("step %d: %s is %s, want %s: %s", i, o.Name, o.State, want, o.Message)
			}
			if o.State == dnsplan.InPlace {
				ours[o.Name] = []string{s.Wishes[j].Value}
			}
		}
		b.inspect(t, i, step)
	}
}

// want is what should come of a wish. What is not there may be left to a person as well.
func (b *bench) want(s step, w dnsplan.Wish) dnsplan.OutcomeState {
	if b.leaves(w) && w.Value != "" {
		return dnsplan.Conflict
	}
	return s.want
}

// leaves tells whether the provider leaves the record to a person.
func (b *bench) leaves(w dnsplan.Wish) bool {
	return b.experimental && shared(w)
}

// shared tells whether records of others may stand beside the wish's.
func shared(w dnsplan.Wish) bool { return w.Kind == dnsplan.SPF || w.Type != dnsrecord.TXT }

// submit returns when the queue has an answer.
func (b *bench) submit(t *testing.T, s dnsprovider.Submission) dnsprovider.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b.queue.Submit(s)
	for {
		r, ok := b.queue.Result(s.Owner)
		switch {
		case ok && r.Fingerprint == s.Fingerprint() && r.Err != nil:
			t.Fatal(r.Err)
		case ok && r.Fingerprint == s.Fingerprint():
			return r
		}
		select {
		case <-b.queue.Wake():
		case <-ctx.Done():
			t.Fatalf("no answer: %+v", r)
		}
	}
}

// inspect compares the zone, as the provider has it, with what it was and what was asked for.
func (b *bench) inspect(t *testing.T, i int, s step) {
	t.Helper()
	want := map[dnsplan.Key]string{}
	if s.want == dnsplan.InPlace {
		for _, w := range s.wishes {
			if !b.leaves(w) {
				want[w.Key()] = w.Value
			}
		}
	}
	for _, harm := range harms(b.before, b.dump(t), want) {
		t.Errorf("step %d: %s", i, harm)
	}
}

// harms are the differences between the foreign records as they were with ours as they should be, and what stands.
func harms(foreign, stands []record, ours map[dnsplan.Key]string) []string {
	var all []string
	rest := slices.Clone(stands)
	for _, f := range foreign {
		at := slices.IndexFunc(rest, func(r record) bool { return r.line == f.line })
		if at < 0 {
			all = append(all, "a foreign record is not as it was: "+f.line)
			continue
		}
		rest = slices.Delete(rest, at, at+1)
	}
	missing := maps.Clone(ours)
	for _, r := range rest {
		key := dnsplan.Key{Name: r.name, Type: r.typ}
		value, wanted := missing[key]
		switch {
		case strings.HasPrefix(string(r.name), "_maildomain."):
		case wanted && value == r.value:
			delete(missing, key)
		default:
			all = append(all, "nobody asked for "+r.line)
		}
	}
	for key, value := range missing {
		all = append(all, fmt.Sprintf("%s %s does not say %q", key.Name, key.Type, value))
	}
	return all
}

func TestTheSuiteSeesHarm(t *testing.T) {
	a := record{"a TXT 1", "a", dnsrecord.TXT, "1"}
	b := record{"b TXT 2", "b", dnsrecord.TXT, "2"}
	marker := record{"_maildomain.x TXT m", "_maildomain.x", dnsrecord.TXT, "m"}
	want := map[dnsplan.Key]string{{Name: "b", Type: dnsrecord.TXT}: "2"}
	for name, c := range map[string]struct {
		stands []record
		want   int
	}{
		"no harm":                {[]record{a, b, marker}, 0},
		"a foreign one is gone":  {[]record{b}, 1},
		"a foreign one changed":  {[]record{{"a TXT 1 ", "a", dnsrecord.TXT, "1"}, b}, 2},
		"it stands twice":        {[]record{a, a, b}, 1},
		"ours is missing":        {[]record{a}, 1},
		"ours says another word": {[]record{a, {"b TXT 3", "b", dnsrecord.TXT, "3"}}, 2},
		"ours stands twice":      {[]record{a, b, b}, 1},
	} {
		if got := harms([]record{a}, c.stands, want); len(got) != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
