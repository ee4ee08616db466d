// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// genericZone is one zone behind a module. The queue uses it from one goroutine at a time.
type genericZone struct {
	*generic
	name   dnsrecord.Name
	calls  *caller
	client libdnsClient // nil until the first call
	forms  *forms       // how text goes in and out; nil until it was tried
	// owed is a marker that may have gone with the one that it replaces.
	owed *dnsplan.Change
	// halted says why nothing is written here any more, until the account is opened anew.
	halted string
}

// libdnsRecord is one record as the module returned it, and as it was understood.
type libdnsRecord struct {
	as    libdns.Record
	key   Question
	text  string // as the module has it
	value string
	ttl   uint32
}

// line tells records apart, to the last octet.
func (s libdnsRecord) line() string {
	return fmt.Sprintf("%s %d %s %s", s.key.Name, s.ttl, s.key.Type, dnsrecord.Quote(s.text))
}

func (z *genericZone) use() (libdnsClient, error) {
	if z.client == nil {
		client, err := z.open()
		if err != nil {
			return nil, z.fail(Invalid, err, "%v", err)
		}
		z.client = client
	}
	return z.client, nil
}

// list returns everything that stands in the zone. An empty list is no answer: one module makes it of what it does not
// understand, and what is missing would be taken for absent.
func (z *genericZone) list(ctx context.Context) ([]libdnsRecord, error) {
	client, err := z.use()
	if err != nil {
		return nil, err
	}
	var records []libdns.Record
	if err := z.calls.do(ctx, func(ctx context.Context) (err error) {
		records, err = client.GetRecords(ctx, z.name.FQDN())
		return err
	}); err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, z.fail(Unknown, nil, "it says that zone %s is empty: nothing is concluded from that; does the provider hold the zone, and any record in it?", z.name)
	}
	var all []libdnsRecord
	for _, r := range records {
		if r == nil {
			return nil, z.fail(Unknown, nil, "it returns a record that is none: nothing is concluded from the list")
		}
		if s, ok := z.understand(r); ok {
			all = append(all, s)
		}
	}
	return all, nil
}

// understand reads a record. Names that are none of ours to have are left out.
func (z *genericZone) understand(r libdns.Record) (libdnsRecord, bool) {
	rr := r.RR()
	full := rr.Name + "." + z.name.FQDN()
	switch {
	case rr.Name == "" || rr.Name == "@":
		full = z.name.FQDN()
	case strings.HasSuffix(rr.Name, "."):
		full = rr.Name
	}
	name, err := dnsrecord.ParseName(full)
	if err != nil || !name.In(z.name) {
		return libdnsRecord{}, false
	}
	s := libdnsRecord{as: r, key: Question{Name: name, Type: dnsrecord.Type(rr.Type)}, text: rr.Data, value: rr.Data, ttl: uint32(max(0, rr.TTL/time.Second))} //nolint:gosec // bounded by the type's meaning
	if s.key.Type == dnsrecord.TXT {
		s.value = logicalText(rr.Data)
	}
	return s, true
}

// logicalText undoes what modules leave in a text: quotation marks around it, the seams of its strings ("a" "b", with or
// without the outer marks), escapes. Nothing that is published here has any of these in it.
func logicalText(text string) string {
	switch {
	case strings.HasPrefix(text, `"`):
		if value, err := dnsrecord.ParseTXT(text); err == nil {
			return value
		}
	case strings.Contains(text, `" "`), strings.Contains(text, `\`):
		if value, err := dnsrecord.ParseTXT(`"` + text + `"`); err == nil {
			return value
		}
	}
	return text
}

func listed(stands []libdnsRecord) listing {
	l := listing{}
	for _, s := range stands {
		set := l[s.key]
		set.Name, set.Type, set.TTL = s.key.Name, s.key.Type, s.ttl
		set.Values = append(set.Values, s.value)
		l[s.key] = set
	}
	return l
}

// Read lists the zone: modules have nothing smaller.
func (z *genericZone) Read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error) {
	stands, err := z.list(ctx)
	if err == nil {
		stands, err = z.pay(ctx, stands)
	}
	if err != nil {
		return nil, err
	}
	return listed(stands).answer(z.name, questions), nil
}

// Apply makes one change after the other, and reads the zone after each step.
func (z *genericZone) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	errs := make([]error, len(changes))
	stands, err := z.ready(ctx)
	for i, c := range changes {
		if err == nil {
			stands, errs[i] = z.change(ctx, stands, c)
			if stands == nil { // what stands there now is not known: nothing more is changed
				err = errs[i]
			}
			continue
		}
		errs[i] = err
	}
	return errs
}

// change takes away, then adds: a module that deletes whatever has the name and the type must not find the new record. It
// returns what stands afterwards, nil if that is not known.
func (z *genericZone) change(ctx context.Context, stands []libdnsRecord, c dnsplan.Change) ([]libdnsRecord, error) {
	now := listed(stands)
	if !now[c.Key()].SameValues(c.Prerequisite) || dnsplan.Obstacle(now.answer(z.name, []Question{c.Key()}), c.Key()) != "" {
		return stands, ErrChanged
	}
	if c.Name == z.name || c.Type != dnsrecord.TXT || othersStand(c) {
		return stands, z.fail(Refused, nil, "it is experimental, so nothing is written at %s, where records of others stand or may stand", c.Name)
	}
	if len(c.Delete) > 0 && slices.ContainsFunc(c.Add, dnsplan.IsMarker) {
		return z.overlap(ctx, stands, c)
	}
	if len(c.Delete) > 0 {
		after, err := z.remove(ctx, stands, c, z.forms)
		switch {
		case err != nil && len(c.Add) > 0 && after == nil:
			// What stands is not known. The new record is put there all the same: a marker that is missing disowns records.
			_, _ = z.append(ctx, c, z.forms.write)
			return nil, err
		case err != nil:
			return after, err
		}
		stands = after
	}
	if rest := c.Apply(c.Prerequisite); len(c.Add) == 0 && listed(stands)[c.Key()].SameValues(rest) {
		return stands, nil
	}
	// What is wanted comes, or comes back: a module that deletes by name and type took it, too.
	c.Add, c.Prerequisite = c.Apply(c.Prerequisite).Values, dnsrecord.Set{}
	return z.add(ctx, stands, c, z.forms.write)
}

// othersStand tells whether more than what is wanted would be left beside a change.
func othersStand(c dnsplan.Change) bool {
	rest := slices.DeleteFunc(c.Apply(c.Prerequisite).Values, func(v string) bool { return slices.Contains(c.Add, v) })
	return len(rest) > 1 || len(rest) == 1 && (len(c.Add) > 0 || slices.ContainsFunc(c.Delete, dnsplan.IsMarker))
}

// overlap adds before it deletes, so that a marker is never missing: two of ours are read as one. A module that deletes by
// name and type takes both, and is given the new one again.
func (z *genericZone) overlap(ctx context.Context, stands []libdnsRecord, c dnsplan.Change) ([]libdnsRecord, error) {
	beside := c
	beside.Delete, beside.TTL = nil, listed(stands)[c.Key()].TTL // a set has one, and Hetzner refuses a second
	after, err := z.add(ctx, stands, beside, z.forms.write)
	if after == nil || !listed(after)[c.Key()].Has(c.Add[0]) {
		return after, err
	}
	z.owed = &dnsplan.Change{Name: c.Name, Type: c.Type, TTL: c.TTL, Add: c.Add}
	if after, err = z.remove(ctx, after, c, z.forms); after == nil || err != nil {
		return nil, err
	}
	return z.pay(ctx, after)
}

// pay makes a marker once more that went with the old one.
func (z *genericZone) pay(ctx context.Context, stands []libdnsRecord) ([]libdnsRecord, error) {
	if z.owed == nil {
		return stands, nil
	}
	if len(listed(stands)[z.owed.Key()].Values) == 0 {
		var err error
		if stands, err = z.add(ctx, stands, *z.owed, z.forms.write); err != nil {
			return nil, err
		}
	}
	z.owed = nil
	return stands, nil
}

// add writes the values of a change in a form, and returns what stands then.
func (z *genericZone) add(ctx context.Context, stands []libdnsRecord, c dnsplan.Change, write textForm) ([]libdnsRecord, error) {
	said, err := z.append(ctx, c, write)
	if err != nil {
		return stands, err
	}
	after, err := z.after(ctx, stands, c)
	if err != nil {
		return after, err
	}
	if set := listed(after)[c.Key()]; !set.SameValues(dnsrecord.Set{Values: c.Apply(c.Prerequisite).Values}) {
		return after, firstError(said, z.fail(Unknown, nil, "it said that it wrote %s, which holds %d records now", c.Name, len(set.Values)))
	}
	return after, nil // whatever it said: it stands
}

// append hands the values of a change to the module, and returns what it said.
func (z *genericZone) append(ctx context.Context, c dnsplan.Change, write textForm) (said, err error) {
	client, err := z.use()
	if err != nil {
		return nil, err
	}
	relative, _ := c.Name.RelativeTo(z.name)
	records := make([]libdns.Record, len(c.Add))
	for i, value := range c.Add {
		records[i] = libdns.TXT{Name: relative, Text: write(libdnsRecord{value: value}), TTL: time.Duration(c.TTL) * time.Second}
	}
	return z.calls.do(ctx, func(ctx context.Context) error {
		_, err := client.AppendRecords(ctx, z.name.FQDN(), records)
		return err
	}), nil
}

// remove deletes values as they were read, in the form that is known or the first that takes, and returns what stands then.
func (z *genericZone) remove(ctx context.Context, stands []libdnsRecord, c dnsplan.Change, known *forms) ([]libdnsRecord, error) {
	if known == nil {
		known = &forms{}
	}
	erase := eraseForms
	if known.erase != nil {
		erase = []eraseForm{known.erase}
	}
	var said error
	for _, form := range erase {
		said = z.delete(ctx, going(stands, c, form))
		after, err := z.after(ctx, stands, c)
		if err != nil {
			return after, err
		}
		stands = after
		if left := listed(after)[c.Key()]; !slices.ContainsFunc(c.Delete, left.Has) {
			known.erase = form
			return after, nil
		}
	}
	return stands, firstError(said, z.fail(Unknown, nil, "it said that it deleted a record at %s, which stands there still", c.Name))
}

// going are the records that a change takes away.
func going(stands []libdnsRecord, c dnsplan.Change, form eraseForm) []libdns.Record {
	var records []libdns.Record
	for _, s := range stands {
		if s.key == c.Key() && slices.Contains(c.Delete, s.value) {
			records = append(records, form(s))
		}
	}
	return records
}

func (z *genericZone) delete(ctx context.Context, records []libdns.Record) error {
	client, err := z.use()
	if err != nil || len(records) == 0 { // to several modules, nothing means all
		return err
	}
	return z.calls.do(ctx, func(ctx context.Context) error {
		_, err := client.DeleteRecords(ctx, z.name.FQDN(), records)
		return err
	})
}

// after lists the zone once more, and halts if a record is not as it was that the change was not about. Somebody may have
// changed it in this moment; until a person has looked, it was us.
func (z *genericZone) after(ctx context.Context, before []libdnsRecord, c dnsplan.Change) ([]libdnsRecord, error) {
	stands, err := z.list(ctx)
	if err != nil {
		return nil, err
	}
	now := map[string]int{}
	for _, s := range stands {
		now[s.line()]++
	}
	for _, s := range before {
		if s.key == c.Key() || bySigner(s.key.Type) { // others have nothing at the name of a change
			continue
		}
		if now[s.line()]--; now[s.line()] < 0 {
			z.halted = fmt.Sprintf("a record of others was changed or removed while %s was written: %s %s %s; restore it if it was not you, then edit the provider object to go on",
				c.Name, s.key.Name, s.key.Type, dnsrecord.Quote(s.text))
			return nil, z.fail(Refused, nil, "%s", z.halted)
		}
	}
	return stands, nil
}

// bySigner are records that name servers make themselves, anew with each change.
func bySigner(t dnsrecord.Type) bool {
	return slices.Contains([]dnsrecord.Type{dnsrecord.SOA, "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "ZONEMD"}, t)
}
