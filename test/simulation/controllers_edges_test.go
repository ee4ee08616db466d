// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !decisions

package simulation

import (
	"context"
	ed25519key "crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/signers"
)

// pool has RSA keys to draw from: to make one for each selector would take longer than everything else.
type pool struct {
	mu   sync.Mutex
	rsa  map[int][]dkim.KeyPair
	next int
}

// most is how many keys of one size there are. A second one under the same selector is what must not be; the same one under
// another selector nobody looks at.
const most = 3

func (p *pool) draw(a dkim.Algorithm, bits int) dkim.KeyPair {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a == dkim.Ed25519 {
		return generate(a, 0)
	}
	if len(p.rsa[bits]) < most {
		pair := generate(a, bits)
		p.rsa[bits] = append(p.rsa[bits], pair)
		return pair
	}
	p.next++
	return p.rsa[bits][p.next%most]
}

// generate makes also keys that the operator would not make, and adopts.
func generate(a dkim.Algorithm, bits int) dkim.KeyPair {
	var private any
	var err error
	if a == dkim.RSA {
		private, err = rsa.GenerateKey(rand.Reader, bits)
	} else {
		_, private, err = ed25519key.GenerateKey(rand.Reader)
	}
	if err != nil {
		panic(err) // the operating system has no randomness
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err) // of a key that was just made
	}
	pair, err := dkim.ParsePEM(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		panic(err)
	}
	return pair
}

// unreliable reads fail now and then.
type unreliable struct {
	client.Client
	world *world
}

var errUnreadable = errors.New("the API server does not answer")

func (u unreliable) fails() bool {
	fails := u.world.rng.Float64() < u.world.profile.unread/4 // a reconcile reads several times
	if fails {
		u.world.report.Unreadable++
	}
	return fails
}

func (u unreliable) Get(ctx context.Context, name client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if u.fails() {
		return errUnreadable
	}
	return u.Client.Get(ctx, name, o, options...)
}

func (u unreliable) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if u.fails() {
		return errUnreadable
	}
	return u.Client.List(ctx, list, options...)
}

// selectorOf is that of a selector's record.
func selectorOf(name dnsrecord.Name) string {
	selector, _, _ := strings.Cut(string(name), "._domainkey.")
	return selector
}

// says is what a record says: the key pair that it speaks of, that it is empty, or nothing.
func (p *process) says(name dnsrecord.Name, text string) target {
	t := target{selector: selectorOf(name)}
	if text == "" {
		return t
	}
	record, err := dkim.ParseRecord(text)
	switch {
	case err != nil:
		p.Errorf("%s shall be %q: %v", name, text, err)
	case record.Revoked():
		t.value = empty
	default:
		t.value = p.pairOf(t.selector, record.PublicKeySHA256())
	}
	return t
}

// pairOf numbers the key pairs: one that the pool hands out twice is two.
func (p *process) pairOf(selector, hash string) keyID {
	if hash == "" {
		return absent
	}
	id, known := p.pairs[selector+" "+hash]
	if !known {
		p.world.pairs++
		id = p.world.pairs
		p.pairs[selector+" "+hash] = id
	}
	return id
}

// queue has the world's provider carry out what is submitted.
type queue struct{ *process }

func (q queue) Submit(s dnsprovider.Submission) {
	if q.down() || q.asked[s.Owner].Fingerprint() == s.Fingerprint() {
		return
	}
	q.asked[s.Owner] = s
	q.call(s)
}

func (q queue) Recheck(o dnsprovider.Owner) {
	if s, ok := q.asked[o]; ok && !q.down() {
		q.call(s)
	}
}

func (q queue) call(s dnsprovider.Submission) {
	for _, wish := range s.Wishes {
		t := q.says(wish.Name, wish.Value)
		q.provider.wanted[t.selector] = t.value
		q.provider.call(t.selector, t.value)
	}
}

func (q queue) Result(o dnsprovider.Owner) (dnsprovider.Result, bool) {
	r, ok := q.results[o]
	return r, ok
}

func (q queue) Forget(o dnsprovider.Owner) {
	for _, wish := range q.asked[o].Wishes {
		delete(q.provider.wanted, selectorOf(wish.Name))
	}
	delete(q.asked, o)
	delete(q.results, o)
}

// RemovalHeld holds none: one domain removes a record at a time.
func (q queue) RemovalHeld(context.Context, []dnsplan.Key, bool) (string, error) { return "", nil }

// answered notes what the provider says.
func (p *process) answered(selector string, value keyID, done bool) {
	for owner, s := range p.asked {
		if len(s.Wishes) != 1 || p.says(s.Wishes[0].Name, s.Wishes[0].Value) != (target{selector, value}) {
			continue
		}
		result := dnsprovider.Result{Fingerprint: s.Fingerprint(), MarkerGeneration: 1, Time: p.operatorNow()}
		outcome := dnsplan.Outcome{Name: s.Wishes[0].Name, Type: s.Wishes[0].Type, State: dnsplan.InPlace, Adopted: selector == before}
		if value == absent {
			outcome.State = dnsplan.Absent
		}
		if done {
			result.Outcomes = []dnsplan.Outcome{outcome}
		} else {
			result.Err = &dnsprovider.Error{Reason: dnsprovider.Unreachable, Message: "the provider does not answer"}
		}
		p.results[owner] = result
	}
}

// sight is what the world's prober sees.
type sight struct{ *process }

func (s sight) Watch(_ string, _ dnscheck.Policy, targets []dnscheck.Target) {
	if s.down() {
		return
	}
	for _, t := range targets {
		s.prober.expect(s.says(t.Name, t.Value))
	}
}

func (s sight) Forget(watcher string) {
	if at := strings.LastIndex(watcher, "/"+nameOf("")); at >= 0 {
		delete(s.prober.targets, watcher[at+1+len(nameOf("")):])
	}
}

func (s sight) Verdict(t dnscheck.Target) (dnscheck.Verdict, bool) {
	v := s.prober.verdict(s.says(t.Name, t.Value))
	if v.at.IsZero() {
		return dnscheck.Verdict{}, false
	}
	verdict := dnscheck.Verdict{
		State: dnscheck.Lacking, Zone: dnsrecord.Name(s.name), SweptAt: v.ours, LastLacking: v.ours,
		Wait: max(s.profile.negativeTTL, minimumWait), WaitReason: "SOA minimum",
	}
	if v.verified {
		verdict.State, verdict.VerifiedSince, verdict.LastLacking = dnscheck.Verified, v.since, v.since
	}
	return verdict, true
}

func (s sight) Sweep(t dnscheck.Target) {
	if !s.down() {
		s.prober.sweep(selectorOf(t.Name))
	}
}

// Zone is the domain's own.
func (s sight) Zone(context.Context, dnsrecord.Name) (dnscheck.ZoneInfo, error) {
	return dnscheck.ZoneInfo{Apex: dnsrecord.Name(s.name)}, nil
}

// Trace leads nowhere else.
func (s sight) Trace(_ context.Context, name dnsrecord.Name, _ dnscheck.Policy) (dnscheck.Trace, error) {
	return dnscheck.Trace{Name: name, Zone: dnsrecord.Name(s.name)}, nil
}

// pods tell which keys they show.
type pods struct{ *process }

func (p pods) Holding(_ context.Context, all []signers.Signer, _ dnsrecord.Name, selector string) []string {
	var held []string
	for _, s := range all {
		var i int
		if _, err := fmt.Sscanf(s.Name, "mta-%d", &i); err != nil {
			p.Error(err)
		}
		if p.pods[i].shows.keys[selector] != absent {
			held = append(held, "pod "+s.Name+" still shows "+selector)
		}
	}
	slices.Sort(held)
	return held
}
