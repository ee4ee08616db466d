// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libdns/libdns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// manners are how a module misbehaves; what is nil is done as libdns asks.
type manners struct {
	shown   func(text string) string               // text as it is listed
	stored  func(text string) (string, error)      // text as it is kept
	list    func(m *fakeModule) error              // before the zone is listed
	hides   func(libdns.RR) bool                   // records that are not listed
	adds    func(m *fakeModule, rr libdns.RR) bool // before a record is added; true: it is done already
	matches func(stands libdns.RR, id int, given libdns.Record) bool
	deletes func(m *fakeModule) error // before anything is deleted
	after   func(err error) error     // what is said of a change that was made
}

// fakeModule is a libdns module over the zone example.org.
type fakeModule struct {
	manners
	mu      sync.Mutex
	zone    map[int]libdns.RR
	serial  int
	appends int

	deletions int
	blind     bool
}

// numbered is a record with an id of its provider, as several modules have them.
type numbered struct {
	rr libdns.RR
	id int
}

func (n numbered) RR() libdns.RR { return n.rr }

var foreignRRs = []libdns.RR{
	{Name: "@", Type: "SOA", TTL: time.Hour, Data: "ns1 hostmaster 1 2 3 4 5"},
	{Name: "@", Type: "NS", TTL: time.Hour, Data: "ns1.example.net."},
	{Name: "@", Type: "TXT", TTL: time.Hour, Data: `site="1"; back\slash`},
	{Name: "@", Type: "TXT", TTL: time.Hour, Data: "v=spf1 include:theirs.example -all"},
	{Name: "srv", Type: "SRV", TTL: time.Minute, Data: "0 5 5060 sip.example.org."},
	{Name: "www", Type: "CNAME", TTL: time.Minute, Data: "example.org."},
	{Name: "k1._domainkey", Type: "TXT", TTL: time.Minute, Data: "v=DKIM1; p=theirs"},
}

func newFakeModule(m manners) *fakeModule {
	f := &fakeModule{manners: m, zone: map[int]libdns.RR{}}
	for _, rr := range foreignRRs {
		f.put(rr)
	}
	return f
}

func (m *fakeModule) put(rr libdns.RR) {
	m.serial++
	m.zone[m.serial] = rr
}

func (m *fakeModule) GetRecords(ctx context.Context, _ string) ([]libdns.Record, error) {
	if m.list != nil {
		if err := m.list(m); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []libdns.Record
	for id := range m.serial {
		rr, ok := m.zone[id+1]
		if !ok || m.hides != nil && m.hides(rr) {
			continue
		}
		if m.shown != nil && rr.Type == "TXT" {
			rr.Data = m.shown(rr.Data)
		}
		all = append(all, numbered{rr, id + 1})
	}
	return all, ctx.Err()
}

func (m *fakeModule) AppendRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.appends++
		rr := r.RR()
		if m.stored != nil {
			var err error
			if rr.Data, err = m.stored(rr.Data); err != nil {
				return nil, err
			}
		}
		if m.adds == nil || !m.adds(m, rr) {
			m.put(rr)
		}
	}
	return records, m.said(nil)
}

func (m *fakeModule) DeleteRecords(_ context.Context, _ string, records []libdns.Record) ([]libdns.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deletes != nil {
		if err := m.deletes(m); err != nil {
			return nil, err
		}
	}
	for _, r := range records {
		for id, rr := range m.zone {
			shown := rr
			if m.shown != nil && rr.Type == "TXT" {
				shown.Data = m.shown(rr.Data)
			}
			if m.matches != nil && m.matches(shown, id, r) || m.matches == nil && shown == r.RR() {
				delete(m.zone, id)
			}
		}
	}
	return records, m.said(nil)
}

func (m *fakeModule) said(err error) error {
	if m.after != nil {
		return m.after(err)
	}
	return err
}

// harmed are the foreign records that are not as they were.
func (m *fakeModule) harmed() []libdns.RR {
	m.mu.Lock()
	defer m.mu.Unlock()
	var harmed []libdns.RR
	for i, rr := range foreignRRs {
		if rr.Type != "SOA" && m.zone[i+1] != rr {
			harmed = append(harmed, rr)
		}
	}
	return harmed
}

// texts are what readers of the DNS find at a name: quoted strings are joined as name servers do.
func (m *fakeModule) texts(name string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for id, rr := range m.zone {
		if rr.Name == name && rr.Type == "TXT" && id > len(foreignRRs) {
			all = append(all, logicalText(rr.Data))
		}
	}
	slices.Sort(all)
	return all
}

func (m *fakeModule) driver(open func() (libdnsClient, error)) *generic {
	if open == nil {
		open = func() (libdnsClient, error) { return m, nil }
	}
	return &generic{name: "fake", module: module{minimumTTL: 60}, open: open, secrets: []string{"hunter2"}, zones: map[dnsrecord.Name]*genericZone{}}
}

func byNameAndType(stands libdns.RR, _ int, given libdns.Record) bool {
	rr := given.RR()
	return stands.Name == rr.Name && stands.Type == rr.Type
}

func byID(_ libdns.RR, id int, given libdns.Record) bool {
	n, ok := given.(numbered)
	return ok && n.id == id
}

func quoted(text string) string { return dnsrecord.FormatTXT(text) }

const (
	theKey   = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A+/w=="
	looking  = "v=DMARC1; p=none"
	rejectin = "v=DMARC1; p=reject"
)

// Each way of the reference in which modules misbehave and in which records can be published nevertheless.
var bearable = map[string]manners{
	"as libdns asks":                                  {},
	"text is listed as zone files have it":            {shown: quoted},
	"text is listed with its seams, without its ends": {shown: func(s string) string { return strings.Trim(quoted(s), `"`) }},
	"semicolons are listed with a backslash":          {shown: func(s string) string { return strings.ReplaceAll(s, ";", `\;`) }},
	"long text must come cut (googleclouddns, hetzner)": {stored: func(s string) (string, error) {
		if _, err := dnsrecord.ParseTXT(s); !strings.HasPrefix(s, `"`) && len(s) > 255 || err != nil && strings.HasPrefix(s, `"`) {
			return "", errors.New("400: a string is longer than 255 octets")
		}
		return s, nil
	}},
	"quotation marks are taken out (ovh)":         {stored: func(s string) (string, error) { return strings.ReplaceAll(s, `"`, ""), nil }, shown: quoted},
	"deletes by name and type (porkbun, azure)":   {matches: byNameAndType},
	"deletes its own records only (digitalocean)": {matches: byID},
	"lists with marks, deletes without (gandi)": {shown: quoted, matches: func(stands libdns.RR, _ int, given libdns.Record) bool {
		return stands.Name == given.RR().Name && strings.Trim(stands.Data, `"`) == given.RR().Data
	}},
	"nothing means all (linode)": {matches: func(stands libdns.RR, _ int, given libdns.Record) bool {
		rr := given.RR()
		return stands.Name == rr.Name && (rr.Type == "" || rr.Type == stands.Type) && (rr.Data == "" || rr.Data == stands.Data)
	}},
	"an addition replaces what stands there": {adds: func(m *fakeModule, rr libdns.RR) bool {
		for id, old := range m.zone {
			if old.Name == rr.Name && old.Type == rr.Type {
				delete(m.zone, id)
			}
		}
		return false
	}},
	"what was done is said to have failed": {after: func(error) error { return errors.New("500: token hunter2") }},
	"every other deletion, the zone cannot be read after it": {
		deletes: func(m *fakeModule) error { m.deletions++; m.blind = m.deletions%2 == 0; return nil },
		list: func(m *fakeModule) error {
			if m.blind {
				m.blind = false
				return errors.New("502 Bad Gateway")
			}
			return nil
		},
	},
	"TTLs are its own": {adds: func(m *fakeModule, rr libdns.RR) bool {
		rr.TTL = 77 * time.Second
		m.put(rr)
		return true
	}},
	"signs the zone with each change": {adds: func(m *fakeModule, _ libdns.RR) bool {
		m.zone[1] = libdns.RR{Name: "@", Type: "SOA", TTL: time.Hour, Data: fmt.Sprint("ns1 hostmaster ", m.serial)}
		return false
	}},
}

func TestRecordsArePublishedThroughModulesThatMisbehave(t *testing.T) {
	for name, how := range bearable {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newFakeModule(how)
				b := start(t, m.driver(nil), "us")
				wants := []struct{ key, dmarc string }{{theKey, looking}, {theKey, rejectin}, {"", rejectin}, {"", ""}}
				s := submission("a", txt("s1._domainkey.example.org", ""), txt("_dmarc.example.org", ""))
				for _, want := range wants {
					s.Wishes[0].Value, s.Wishes[1].Value = want.key, want.dmarc
					b.queue.Submit(s)
					b.pass(time.Minute)
					r := b.result(s.Owner)
					if !r.Settled() || strings.Contains(fmt.Sprint(r), "hunter2") {
						t.Fatalf("%+v: %+v", want, r)
					}
					s = remember(s, r)
					for at, value := range map[string]string{"s1._domainkey": want.key, "_dmarc": want.dmarc} {
						if got := strings.Join(m.texts(at), "|"); got != value {
							t.Errorf("%s holds %q, want %q", at, got, value)
						}
					}
					if harmed := m.harmed(); len(harmed) > 0 {
						t.Fatalf("foreign records are not as they were: %v", harmed)
					}
				}
				if left := m.texts(probeLabel); len(left) > 0 {
					t.Errorf("the probe left %q", left)
				}
				if n := m.appends; n > 12 { // markers, records, and one probe in at most two forms
					t.Errorf("%d additions", n)
				}
			})
		})
	}
}

// Each way in which nothing can be published: it is said, in words that help, and what stood there stays.
var unbearable = map[string]struct {
	how   manners
	words string
}{
	"long text is cut off":                      {manners{stored: func(s string) (string, error) { return s[:min(len(s), 255)], nil }}, "does not keep a text of several strings"},
	"plus signs become blanks":                  {manners{stored: func(s string) (string, error) { return strings.ReplaceAll(s, "+", " "), nil }}, "does not keep a text"},
	"long text is refused":                      {manners{stored: func(string) (string, error) { return "", errors.New("422: too long for hunter2") }}, "422: too long for …"},
	"deletes nothing, and says it did":          {manners{matches: func(libdns.RR, int, libdns.Record) bool { return false }}, "cannot be deleted again"},
	"deletes nothing, and says so":              {manners{deletes: func(*fakeModule) error { return errors.New("no id") }}, "cannot be deleted again"},
	"adds nothing, and says it did":             {manners{adds: func(*fakeModule, libdns.RR) bool { return true }}, "holds 0 records"},
	"names are absolute without a dot":          {manners{adds: func(m *fakeModule, rr libdns.RR) bool { rr.Name += ".example.org"; m.put(rr); return true }}, "holds 0 records"},
	"a zone that it cannot read is empty":       {manners{hides: func(libdns.RR) bool { return true }}, "says that zone example.org is empty"},
	"one foreign SRV makes the zone unreadable": {manners{list: func(*fakeModule) error { return errors.New("name srv does not contain enough fields") }}, "does not contain enough fields"},
	"panics":            {manners{list: func(*fakeModule) error { panic("nil pointer") }}, "broke off"},
	"wrong credentials": {manners{list: func(*fakeModule) error { return errors.New("401 Unauthorized: hunter2") }}, "401 Unauthorized: …"},
}

func TestWhatAModuleCannotDoIsSaidAndHarmsNobody(t *testing.T) {
	for name, c := range unbearable {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newFakeModule(c.how)
				b := start(t, m.driver(nil), "us")
				s := submission("a", txt("_dmarc.example.org", looking))
				b.queue.Submit(s)
				b.pass(3 * time.Hour)
				r := b.result(s.Owner)
				if r.Err == nil || !strings.Contains(r.Err.Error(), c.words) || strings.Contains(fmt.Sprint(r.Err), "hunter2") {
					t.Errorf("it says %v", r.Err)
				}
				if harmed := m.harmed(); len(harmed) > 0 {
					t.Errorf("foreign records are not as they were: %v", harmed)
				}
				if got := m.texts("_dmarc"); len(got) > 0 {
					t.Errorf("_dmarc holds %q", got)
				}
				if m.appends > 100 { // a try every five minutes, in two forms
					t.Errorf("%d additions in three hours", m.appends)
				}
			})
		})
	}
}

// A module that loses records of others with its first change makes no second one.
func TestHarmHaltsTheZone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeModule(manners{adds: func(m *fakeModule, _ libdns.RR) bool { delete(m.zone, 5); return false }})
		b := start(t, m.driver(nil), "us")
		s := submission("a", txt("_dmarc.example.org", looking))
		b.queue.Submit(s)
		b.pass(3 * time.Hour)
		r := b.result(s.Owner)
		if r.Err == nil || !strings.Contains(r.Err.Error(), "srv.example.org SRV") || !strings.Contains(r.Err.Error(), "restore it") {
			t.Errorf("it says %v", r.Err)
		}
		if m.appends != 1 {
			t.Errorf("%d additions", m.appends)
		}
	})
}

func TestAModuleWritesNothingBesideRecordsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeModule(manners{})
		b := start(t, m.driver(nil), "us")
		spf := txt("example.org", "v=spf1 mx -all")
		spf.Kind, spf.Adoption = dnsplan.SPF, dnsplan.Always
		helo := txt("mail.example.org", "v=spf1 a -all")
		helo.Kind = dnsplan.SPF
		s := submission("a", spf, helo, txt("_dmarc.example.org", looking))
		b.queue.Submit(s)
		b.pass(time.Hour)
		r := b.result(s.Owner)
		for _, o := range r.Outcomes[:2] {
			if o.State != dnsplan.Conflict || !strings.Contains(o.Message, "make it by hand") || !strings.Contains(o.Message, "v=spf1 ") {
				t.Errorf("%+v", o)
			}
		}
		if o := r.Outcomes[2]; o.State != dnsplan.InPlace {
			t.Errorf("%+v", o)
		}
		if harmed := m.harmed(); len(harmed) > 0 {
			t.Errorf("foreign records are not as they were: %v", harmed)
		}
		// The person makes it by hand, instead of the old one.
		m.mu.Lock()
		m.zone[4] = libdns.RR{Name: "@", Type: "TXT", TTL: time.Hour, Data: spf.Value}
		m.mu.Unlock()
		s.Wishes[0].Adoption = dnsplan.Identical
		b.queue.Submit(s)
		b.pass(time.Hour)
		if o := b.result(s.Owner).Outcomes[0]; o.State != dnsplan.InPlace {
			t.Errorf("%+v", o)
		}
	})
}

// Somebody adds a record beside ours: from then on the name is theirs, too, and ours stays until a person has looked.
func TestAModuleDeletesNothingBesideRecordsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newFakeModule(manners{matches: byNameAndType})
		b := start(t, m.driver(nil), "us")
		s := submission("a", txt("_dmarc.example.org", looking))
		b.queue.Submit(s)
		b.pass(time.Minute)
		s = remember(s, b.result(s.Owner))
		m.mu.Lock()
		m.put(libdns.RR{Name: "_dmarc", Type: "TXT", TTL: time.Minute, Data: "theirs"})
		m.mu.Unlock()
		s.Wishes[0].Value = ""
		b.queue.Submit(s)
		b.pass(time.Hour)
		if o := b.result(s.Owner).Outcomes[0]; o.State != dnsplan.Conflict || !strings.Contains(o.Message, "remove it by hand") {
			t.Errorf("%+v", o)
		}
		if got := m.texts("_dmarc"); !slices.Equal(got, []string{"theirs", looking}) {
			t.Errorf("_dmarc holds %q", got)
		}
	})
}

// What a caller gave up may still be carried out: until it has come back, nothing else is asked of the module.
func TestACallThatHangsHoldsUpItsOwnZoneOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		hanging := newFakeModule(manners{list: func(*fakeModule) error { <-release; return nil }})
		fine := newFakeModule(manners{})
		instances := []*fakeModule{hanging, fine}
		d := hanging.driver(func() (libdnsClient, error) {
			m := instances[0]
			instances = instances[1:]
			return m, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := d.Zone("example.org").Read(ctx, nil); err == nil || !strings.Contains(err.Error(), "no answer in time") {
			t.Error(err)
		}
		if _, err := d.Zone("example.org").Read(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "still under way") {
			t.Error(err)
		}
		if _, err := d.Zone("example.net").Read(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}
