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

// record is a name at a site.
type record struct {
	site
	name dnsrecord.Name
}

// event is a change of the delegation, of a record, of the signing Secret, or of a private key.
type event struct {
	at            time.Time
	delegated     site
	record        record
	before, after []string     // its values
	signs         bool         // the signing Secret holds these keys from now on:
	signers       []keydir.Key // …
	pair          string       // the Secret of a key pair
	former, now   []byte       // its private key
}

func (h *history) clone() history {
	return history{events: slices.Clone(h.events), revoked: slices.Clone(h.revoked), deleted: h.deleted, lost: slices.Clone(h.lost)}
}

func (w *world) noteRecord(of record, before, after []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story.events = append(w.story.events, event{at: now(), record: of, before: before, after: after})
}

func (w *world) noteDelegation(to site) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story.events = append(w.story.events, event{at: now(), delegated: to})
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
		case e.delegated != site{}:
			h.judgeDelegation(tb, i)
		case e.signs:
			h.judgeSigners(tb, i, signers)
			for _, k := range signers {
				left[k.Selector] = e.at
			}
			signers = e.signers
		case e.pair != "":
			h.judgePair(tb, i)
		default:
			h.judgeRecord(tb, i, signers, left)
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
		for _, at := range h.asked(i) {
			value, since := h.standing(record{at, recordName(k.Selector)}, i)
			if !slices.Equal(value, []string{k.Pair.Record().String()}) || e.at.Before(since.Add(minimumWait)) {
				tb.Errorf("invariant 1: %s signs at %s, and its record at %s says %q since %s", k.Selector, e.at, at, value, since)
			}
		}
	}
	rsa := func(k keydir.Key) bool { return k.Pair.Algorithm() == dkim.RSA }
	excused := h.deleted || slices.ContainsFunc(before, func(k keydir.Key) bool { return slices.Contains(h.revoked, k.Selector) })
	if slices.ContainsFunc(before, rsa) && !slices.ContainsFunc(e.signers, rsa) && !excused {
		tb.Errorf("invariant 3: no RSA key signs from %s on", e.at)
	}
}

// judgeDelegation: who asks the new servers finds what the former ones answer, of every key.
func (h *history) judgeDelegation(tb testing.TB, i int) {
	tb.Helper()
	former := h.asked(i)
	for _, of := range h.records() {
		if _, isKey := selectorOf(of.name); len(former) == 0 || of.site != former[0] || !isKey {
			continue
		}
		was, _ := h.standing(of, i)
		is, _ := h.standing(record{h.events[i].delegated, of.name}, i)
		if !slices.Equal(was, is) {
			tb.Errorf("invariant 1: %s is %q at %s, and was %q at %s", of.name, is, h.events[i].delegated, was, of.site)
		}
	}
}

// asked are the sites that the world asks before the i-th event: the one that it is led to, and those that caches may know.
func (h *history) asked(i int) []site {
	var sites []site
	until := h.events[i].at // the one before was asked till then
	for _, e := range slices.Backward(h.events[:i]) {
		if e.delegated == (site{}) {
			continue
		}
		if len(sites) == 0 || h.events[i].at.Before(until.Add(nsTTL)) {
			sites = append(sites, e.delegated)
		}
		until = e.at
	}
	return sites
}

func selectorOf(name dnsrecord.Name) (string, bool) {
	return strings.CutSuffix(name.String(), "._domainkey."+zoneName)
}

func (h *history) judgeRecord(tb testing.TB, i int, signers []keydir.Key, left map[string]time.Time) {
	tb.Helper()
	e := h.events[i]
	selector, ok := selectorOf(e.record.name)
	if !ok || len(e.before) == 0 || strings.HasSuffix(e.before[0], "p=") || h.deleted || !slices.Contains(h.asked(i), e.record.site) {
		return
	}
	stays := overlap
	if slices.Contains(h.revoked, selector) {
		stays = grace
	}
	signed, ever := left[selector], !left[selector].IsZero()
	signs := slices.ContainsFunc(signers, func(k keydir.Key) bool { return k.Selector == selector })
	if signs || ever && e.at.Before(signed.Add(stays)) {
		tb.Errorf("invariant 2: the record of %s at %s changes at %s; it signs (%t) or left at %s", selector, e.record.site, e.at, signs, signed)
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
	for _, of := range h.records() {
		value, _ := h.standing(of, i)
		if slices.Contains(value, pair.Record().String()) && slices.Contains(h.asked(i), of.site) {
			tb.Errorf("invariant 5: the private key in Secret %s is deleted at %s while %s stands at %s", e.pair, e.at, of.name, of.site)
		}
	}
}

// standing is what a record said before the i-th event, and since when.
func (h *history) standing(of record, i int) (values []string, since time.Time) {
	for _, e := range h.events[:i] {
		if e.record == of {
			values, since = e.after, e.at
		}
	}
	return values, since
}

func (h *history) records() (all []record) {
	for _, e := range h.events {
		if e.record.name != "" && !slices.Contains(all, e.record) {
			all = append(all, e.record)
		}
	}
	return all
}

func recordName(selector string) dnsrecord.Name {
	return dnsrecord.Name(fmt.Sprintf("%s._domainkey.%s", selector, zoneName))
}

// forgets: a person destroyed this private key, which nobody else may.
func (h *history) forgets(pair string) { h.lost = append(h.lost, pair) }
