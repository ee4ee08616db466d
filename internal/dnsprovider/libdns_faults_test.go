// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// An editor changes the TXT records of example.org, which stands for any program that uses a provider.
type editor interface {
	get(ctx context.Context, name dnsrecord.Name) ([]string, error)
	add(ctx context.Context, name dnsrecord.Name, values ...string) error
	remove(ctx context.Context, name dnsrecord.Name, value string) error
	// replace has one value where another stood, and leaves what else stands there.
	replace(ctx context.Context, name dnsrecord.Name, old, value string) error
}

// A fault is a trap at a provider. The probe springs it through an editor and says what was harmed, "" if nothing was.
type fault struct {
	quirk string
	probe func(t *testing.T, e editor) string
}

// reproduce runs each probe through the unmodified libdns module, which must show the fault, and through our driver, which
// must not: the same probe tells them apart, so it can fail.
//
// The registry must name the same quirks; elsewhere are those that another test of this package reproduces.
func reproduce(t *testing.T, driver string, faults []fault, theirs, ours func(t *testing.T, quirk string) editor, elsewhere ...string) {
	t.Helper()
	probed := slices.Clone(elsewhere)
	for _, f := range faults {
		probed = append(probed, f.quirk)
	}
	for _, d := range dnsprovider.Descriptions() {
		if d.Name != driver {
			continue
		}
		var named []string
		for _, q := range d.Quirks {
			named = append(named, q.Name)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(probed)), slices.Sorted(slices.Values(named))); diff != "" {
			t.Errorf("quirks that are probed (-) and that the registry names (+):\n%s", diff)
		}
	}
	for _, f := range faults {
		t.Run(f.quirk, func(t *testing.T) {
			harm := f.probe(t, theirs(t, f.quirk))
			if harm == "" {
				t.Error("the unmodified libdns module shows no fault: is it cured there?")
			}
			t.Logf("libdns/%s: %s", driver, harm)
			if harm := f.probe(t, ours(t, f.quirk)); harm != "" {
				t.Errorf("our driver: %s", harm)
			}
		})
	}
}

// modules is what a libdns module can do.
type module interface {
	libdns.RecordGetter
	libdns.RecordAppender
	libdns.RecordSetter
	libdns.RecordDeleter
}

// throughLibdns uses a module as its documentation says.
type throughLibdns struct {
	module module
	zone   string // with the last dot
}

func (l throughLibdns) record(name dnsrecord.Name, value string) libdns.Record {
	relative, _ := name.RelativeTo(dnsrecord.Name(l.zone[:len(l.zone)-1]))
	return libdns.TXT{Name: relative, Text: value, TTL: 5 * time.Minute}
}

func (l throughLibdns) get(ctx context.Context, name dnsrecord.Name) (values []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	records, err := l.module.GetRecords(ctx, l.zone)
	for _, r := range records {
		if rr := r.RR(); rr.Type == "TXT" && libdns.AbsoluteName(rr.Name, l.zone) == name.FQDN() {
			values = append(values, rr.Data)
		}
	}
	slices.Sort(values)
	return values, err
}

func (l throughLibdns) add(ctx context.Context, name dnsrecord.Name, values ...string) error {
	var records []libdns.Record
	for _, v := range values {
		records = append(records, l.record(name, v))
	}
	_, err := l.module.AppendRecords(ctx, l.zone, records)
	return err
}

// errNothingDeleted is what a module tells by returning no record: it may also tell that nothing was there.
var errNothingDeleted = errors.New("nothing was deleted")

func (l throughLibdns) remove(ctx context.Context, name dnsrecord.Name, value string) error {
	deleted, err := l.module.DeleteRecords(ctx, l.zone, []libdns.Record{l.record(name, value)})
	if err == nil && len(deleted) == 0 {
		return errNothingDeleted
	}
	return err
}

// records are what a caller sets at the apex.
func records(l throughLibdns, values ...string) []libdns.Record {
	var out []libdns.Record
	for _, v := range values {
		out = append(out, l.record("example.org", v))
	}
	return out
}

// replace reads, edits and sets: what libdns has for it.
func (l throughLibdns) replace(ctx context.Context, name dnsrecord.Name, old, value string) error {
	values, err := l.get(ctx, name)
	if err != nil {
		return err
	}
	var records []libdns.Record
	for _, v := range values {
		if v == old {
			v = value
		}
		records = append(records, l.record(name, v))
	}
	_, err = l.module.SetRecords(ctx, l.zone, records)
	return err
}

// throughOurs makes the changes that a plan would ask for.
type throughOurs struct {
	zone dnsprovider.Zone
}

func (o throughOurs) read(ctx context.Context, name dnsrecord.Name) (dnsrecord.Set, error) {
	q := dnsprovider.Question{Name: name, Type: dnsrecord.TXT}
	seen, err := o.zone.Read(ctx, []dnsprovider.Question{q})
	set, ok := seen[q]
	if err == nil && !ok {
		err = fmt.Errorf("%s was not answered", name)
	}
	return set, err
}

func (o throughOurs) get(ctx context.Context, name dnsrecord.Name) ([]string, error) {
	set, err := o.read(ctx, name)
	slices.Sort(set.Values)
	return set.Values, err
}

func (o throughOurs) change(ctx context.Context, name dnsrecord.Name, out, in []string) error {
	set, err := o.read(ctx, name)
	if err != nil {
		return err
	}
	if len(out) > 0 && !set.Has(out[0]) {
		return errNothingDeleted
	}
	in = slices.DeleteFunc(slices.Clone(in), set.Has)
	if len(in)+len(out) == 0 {
		return nil
	}
	ttl := uint32(300)
	if len(set.Values) > len(out) {
		ttl = set.TTL
	}
	return o.zone.Apply(ctx, []dnsplan.Change{{Name: name, Type: dnsrecord.TXT, TTL: ttl, Delete: out, Add: in, Prerequisite: set}})[0]
}

func (o throughOurs) add(ctx context.Context, name dnsrecord.Name, values ...string) error {
	return o.change(ctx, name, nil, values)
}

func (o throughOurs) remove(ctx context.Context, name dnsrecord.Name, value string) error {
	return o.change(ctx, name, []string{value}, nil)
}

func (o throughOurs) replace(ctx context.Context, name dnsrecord.Name, old, value string) error {
	return o.change(ctx, name, []string{old}, []string{value})
}

// roundTrip adds a value and reads it.
func roundTrip(value string) func(*testing.T, editor) string {
	return func(t *testing.T, e editor) string {
		t.Helper()
		name := dnsrecord.Name("trip.example.org")
		if err := e.add(t.Context(), name, value); err != nil {
			return fmt.Sprintf("adding %q: %v", value, err)
		}
		got, err := e.get(t.Context(), name)
		if err != nil || !slices.Equal(got, []string{value}) {
			return fmt.Sprintf("wrote %q, read %q %v", value, got, err)
		}
		return ""
	}
}

// removal adds a value and removes it.
func removal(value string) func(*testing.T, editor) string {
	return func(t *testing.T, e editor) string {
		t.Helper()
		name := dnsrecord.Name("gone.example.org")
		if err := e.add(t.Context(), name, value); err != nil {
			return fmt.Sprintf("adding %q: %v", value, err)
		}
		if err := e.remove(t.Context(), name, value); err != nil {
			return fmt.Sprintf("removing %q: %v", value, err)
		}
		if got, err := e.get(t.Context(), name); err != nil || len(got) > 0 {
			return fmt.Sprintf("removed, and %q stands there %v", got, err)
		}
		return ""
	}
}
