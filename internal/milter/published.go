// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// publication is what public DNS says of a key.
type publication struct {
	shown bool   // it has the record of this very key
	fault string // why it contradicts the key; empty and not shown: nothing is known
}

// keyID names a key.
type keyID struct {
	domain           dnsrecord.Name
	selector, sha256 string
}

func idOf(domain dnsrecord.Name, k keydir.Key) keyID {
	return keyID{domain, k.Selector, k.Pair.PublicKeySHA256()}
}

// compare judges what DNS answered for a key. Only a definite word counts: of a resolver that is silent nothing is concluded.
func compare(k keydir.Key, texts []string, err error) publication {
	var missing *net.DNSError
	switch {
	case errors.As(err, &missing) && missing.IsNotFound:
		return publication{fault: "public DNS has no record of it"}
	case err != nil || len(texts) != 1: // RFC 6376 §3.6.2.2: what several records mean is not defined.
		return publication{}
	}
	record, err := dkim.ParseRecord(texts[0])
	switch {
	case err != nil:
		return publication{fault: "its record in public DNS cannot be read"}
	case record.Revoked():
		return publication{fault: "public DNS has it revoked"}
	case record.PublicKeySHA256() != k.Pair.PublicKeySHA256():
		return publication{fault: "public DNS has another key at its selector"}
	}
	return publication{shown: true}
}

// unused are the keys of a domain that shall not sign, by selector: those that public DNS contradicts, if it shows an RSA
// key beside them. Without one they sign all the same: a wrong answer must not stop a domain's mail, nor leave
// receivers that know no Ed25519 without a signature.
func unused(d keydir.Domain, known map[keyID]publication) map[string]string {
	good := slices.ContainsFunc(d.Keys, func(k keydir.Key) bool {
		return k.Pair.Algorithm() == dkim.RSA && known[idOf(d.Domain, k)].shown
	})
	if !good {
		return nil
	}
	out := map[string]string{}
	for _, k := range d.Keys {
		if fault := known[idOf(d.Domain, k)].fault; fault != "" {
			out[k.Selector] = fault
		}
	}
	return out
}

// Publication compares keys with public DNS, again and again.
type Publication struct {
	Live     *Live
	Resolver interface {
		LookupTXT(ctx context.Context, name string) ([]string, error)
	}
	Every time.Duration
	Log   *slog.Logger
}

// Run compares at once and then every so often, until ctx ends. A key that is new signs until it is compared.
func (p Publication) Run(ctx context.Context) {
	ticker := time.NewTicker(p.Every)
	defer ticker.Stop()
	for {
		p.compareAll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// compareAll asks for one key after the other: there is time. What is not answered stays as it was known.
func (p Publication) compareAll(ctx context.Context) {
	known := map[keyID]publication{}
	for _, e := range p.Live.Table().Entries() {
		for _, k := range e.Keys {
			id := idOf(e.Domain.Domain, k)
			name, err := dkim.RecordName(k.Selector, e.Domain.Domain)
			if err != nil {
				continue
			}
			texts, err := p.Resolver.LookupTXT(ctx, name.String())
			if ctx.Err() != nil {
				return
			}
			if known[id] = compare(k, texts, err); known[id] == (publication{}) {
				known[id] = p.Live.publication(id)
			}
		}
	}
	p.Live.learn(known, p.Log)
}

func (l *Live) publication(id keyID) publication {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[id]
}

// learn takes what public DNS says, and lets the table's keys sign by it.
func (l *Live) learn(known map[keyID]publication, log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known = known
	old := l.Table()
	next := *old
	next.entries = make(map[dnsrecord.Name]*Entry, len(old.entries))
	for name, e := range old.entries {
		judged := *e
		judged.choose(known)
		next.entries[name] = &judged
		if !maps.Equal(e.unused, judged.unused) {
			log.Warn("keys that public DNS contradicts do not sign", "domain", name.String(), "unused", judged.unused)
		}
	}
	l.table.Store(&next)
}
