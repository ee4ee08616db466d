// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// history is what really happened, whatever any status says.
type history struct {
	events  []event
	revoked []string // selectors that a person named
	deleted bool     // a person wants everything gone
	lost    []string // Secrets whose private key a person destroyed
}

// event is a change of a record, of the signing Secret, or of a private key.
type event struct {
	at            time.Time
	record        dnsrecord.Name
	before, after []string     // its values
	signs         bool         // the signing Secret holds these keys from now on:
	signers       []keydir.Key // …
	pair          string       // the Secret of a key pair
	former, now   []byte       // its private key
}

func (h *history) clone() history {
	return history{events: slices.Clone(h.events), revoked: slices.Clone(h.revoked), deleted: h.deleted, lost: slices.Clone(h.lost)}
}

func (w *world) noteRecord(name dnsrecord.Name, before, after []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story.events = append(w.story.events, event{at: now(), record: name, before: before, after: after})
}

func (w *world) note(before, after client.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &w.story
	switch o := either(before, after).(type) {
	case *v1alpha1.MailDomain:
		h.deleted = h.deleted || !o.DeletionTimestamp.IsZero() && o.Spec.Deletion() == v1alpha1.DeletionDelete
		if o.Spec.DKIM != nil {
			h.revoked = append(h.revoked, o.Spec.DKIM.RevokedSelectors...)
		}
	case *corev1.Secret:
		if o.Labels[v1alpha1.LabelSecret] == v1alpha1.SecretSigning {
			domain, _ := keydir.Decode(dataOf(after), zoneName) // what cannot be read holds no key
			h.events = append(h.events, event{at: now(), signs: true, signers: domain.Keys})
			return
		}
		h.events = append(h.events, event{
			at: now(), pair: o.Name, former: dataOf(before)[v1alpha1.PrivateKeyEntry], now: dataOf(after)[v1alpha1.PrivateKeyEntry],
		})
	}
}

func either(before, after client.Object) client.Object {
	if after == nil {
		return before
	}
	return after
}

func dataOf(o client.Object) map[string][]byte {
	if o == nil {
		return nil
	}
	return o.(*corev1.Secret).Data
}

// judge looks for what must never happen, whatever is cut: see docs/rotation.md.
func (h *history) judge(tb testing.TB) {
	tb.Helper()
	var signers []keydir.Key
	left := map[string]time.Time{}
	for i, e := range h.events {
		switch {
		case e.signs:
			h.judgeSigners(tb, i, signers)
			for _, k := range signers {
				left[k.Selector] = e.at
			}
			signers = e.signers
		case e.pair != "":
			h.judgePair(tb, i)
		default:
			h.judgeRecord(tb, e, signers, left)
		}
	}
}

func (h *history) judgeSigners(tb testing.TB, i int, before []keydir.Key) {
	tb.Helper()
	e := h.events[i]
	for _, k := range e.signers {
		if slices.ContainsFunc(before, func(b keydir.Key) bool { return b.Selector == k.Selector }) {
			continue
		}
		value, since := h.standing(recordName(k.Selector), i)
		if !slices.Equal(value, []string{k.Pair.Record().String()}) || e.at.Before(since.Add(minimumWait)) {
			tb.Errorf("invariant 1: %s signs at %s, and its record says %q since %s", k.Selector, e.at, value, since)
		}
	}
	rsa := func(k keydir.Key) bool { return k.Pair.Algorithm() == dkim.RSA }
	excused := h.deleted || slices.ContainsFunc(before, func(k keydir.Key) bool { return slices.Contains(h.revoked, k.Selector) })
	if slices.ContainsFunc(before, rsa) && !slices.ContainsFunc(e.signers, rsa) && !excused {
		tb.Errorf("invariant 3: no RSA key signs from %s on", e.at)
	}
}

func (h *history) judgeRecord(tb testing.TB, e event, signers []keydir.Key, left map[string]time.Time) {
	tb.Helper()
	selector, ok := strings.CutSuffix(e.record.String(), "._domainkey."+zoneName)
	if !ok || len(e.before) == 0 || strings.HasSuffix(e.before[0], "p=") || h.deleted {
		return
	}
	stays := overlap
	if slices.Contains(h.revoked, selector) {
		stays = grace
	}
	signed, ever := left[selector], !left[selector].IsZero()
	signs := slices.ContainsFunc(signers, func(k keydir.Key) bool { return k.Selector == selector })
	if signs || ever && e.at.Before(signed.Add(stays)) {
		tb.Errorf("invariant 2: the record of %s changes at %s; it signs (%t) or left at %s", selector, e.at, signs, signed)
	}
	if len(e.after) > 0 && !strings.HasSuffix(e.after[0], "p=") {
		tb.Errorf("invariant 4: %s is given to a second key at %s", selector, e.at)
	}
}

func (h *history) judgePair(tb testing.TB, i int) {
	tb.Helper()
	e := h.events[i]
	if e.former == nil || string(e.former) == string(e.now) || slices.Contains(h.lost, e.pair) {
		return
	}
	pair, err := dkim.ParsePEM(e.former)
	if err != nil {
		tb.Error(err)
	}
	if e.now != nil {
		tb.Errorf("invariant 5: the private key in Secret %s is overwritten at %s", e.pair, e.at)
	}
	for _, record := range h.records() {
		if value, _ := h.standing(record, i); slices.Contains(value, pair.Record().String()) {
			tb.Errorf("invariant 5: the private key in Secret %s is deleted at %s while %s stands", e.pair, e.at, record)
		}
	}
}

// standing is what a record said before the i-th event, and since when.
func (h *history) standing(name dnsrecord.Name, i int) (values []string, since time.Time) {
	for _, e := range h.events[:i] {
		if e.record == name {
			values, since = e.after, e.at
		}
	}
	return values, since
}

func (h *history) records() (names []dnsrecord.Name) {
	for _, e := range h.events {
		if e.record != "" && !slices.Contains(names, e.record) {
			names = append(names, e.record)
		}
	}
	return names
}

func recordName(selector string) dnsrecord.Name {
	return dnsrecord.Name(fmt.Sprintf("%s._domainkey.%s", selector, zoneName))
}

// forgets: a person destroyed this private key, which nobody else may.
func (h *history) forgets(pair string) { h.lost = append(h.lost, pair) }
