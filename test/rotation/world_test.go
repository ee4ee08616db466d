// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package rotation

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/mail"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/postfix"
	"github.com/maildomain-operator/maildomain-operator/test/env/verifiers"
)

// lookEvery is how often is looked at what has arrived.
const lookEvery = 50 * time.Millisecond

// world is everybody who receives mail. For each message it asks BIND for the keys at that moment, as receivers would
// that ask the primary, the secondary, or through a resolver with a cache; python3-dkim judges by each of the answers.
type world struct {
	sink   *postfix.Sink
	python *verifiers.Python

	mu      sync.Mutex
	arrived map[int]bool
	revoked map[string]bool // selectors that a person revoked
	failed  map[int]string  // messages that failed for their revocation, with the selector
	outcome outcome
	faults  []string // what is counted as unsigned or unverifiable, in words
}

// run receives until ctx ends.
func (w *world) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		deliveries, err := w.sink.Take()
		if err != nil {
			return err
		}
		for _, d := range deliveries {
			if err := w.receive(d.Message); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *world) receive(message []byte) error {
	parsed, err := mail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		return fmt.Errorf("%w in message:\n%s", err, message)
	}
	number, err := strconv.Atoi(parsed.Header.Get(numberField))
	if err != nil {
		return fmt.Errorf("%w in message:\n%s", err, message)
	}
	signatures, err := verifiers.Signatures(message)
	if err != nil {
		return err
	}
	bad, err := w.judge(message, signatures)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived[number] = true
	w.outcome.messages++
	if !slices.ContainsFunc(signatures, func(s verifiers.Verdict) bool { return s.Domain == domain && s.Algorithm == "rsa-sha256" }) {
		w.outcome.unsigned++
		w.faults = append(w.faults, fmt.Sprintf("message %d has no RSA signature of %s:\n%s", number, domain, message))
	}
	if len(bad) == 0 {
		return nil
	}
	if i := slices.IndexFunc(bad, func(v verifiers.Verdict) bool { return !w.revoked[v.Selector] }); i < 0 {
		w.outcome.revokedInFlight++
		w.failed[number] = bad[0].Selector
	} else {
		w.outcome.unverifiable++
		w.faults = append(w.faults, fmt.Sprintf("message %d: %s", number, bad[i]))
	}
	return nil
}

// judge returns the verdicts that are not Pass, of any receiver.
func (w *world) judge(message []byte, signatures []verifiers.Verdict) ([]verifiers.Verdict, error) {
	var bad []verifiers.Verdict
	var seen []map[string]string
	for _, server := range []netip.Addr{bind.Primary, bind.Secondary, bind.Resolver} {
		texts := map[string]string{}
		for _, s := range signatures {
			name := s.Selector + "._domainkey." + s.Domain
			text, err := lookUp(server, name)
			if err != nil {
				return nil, err
			}
			if text != "" {
				texts[name] = text
			}
		}
		if slices.ContainsFunc(seen, func(other map[string]string) bool { return maps.Equal(other, texts) }) {
			continue // it has been judged by these answers
		}
		seen = append(seen, texts)
		verdicts, err := w.python.Judge(message, texts)
		if err != nil {
			return nil, err
		}
		for _, v := range verdicts {
			if v.Result != verifiers.Pass {
				v.Detail += fmt.Sprintf(" (%s answers %q)", server, texts[v.Selector+"._domainkey."+v.Domain])
				bad = append(bad, v)
			}
		}
	}
	return bad, nil
}

// lookUp is the TXT record that a server has of a name; "" if it has none.
func lookUp(server netip.Addr, name string) (string, error) {
	client := dns.Client{Timeout: 5 * time.Second}
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT).SetEdns0(4096, false)
	answer, _, err := client.Exchange(question, netip.AddrPortFrom(server, 53).String())
	if err != nil {
		return "", fmt.Errorf("ask %s for %s: %w", server, name, err)
	}
	if answer.Truncated || answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError {
		return "", fmt.Errorf("ask %s for %s: %s", server, name, answer)
	}
	for _, rr := range answer.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			return strings.Join(txt.Txt, ""), nil
		}
	}
	return "", nil
}

// revoke has the world know that a person revoked a selector.
func (w *world) revoke(selector string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoked[selector] = true
}

// missing are the numbers of taken messages that have not arrived.
func (w *world) missing(taken map[int]attempt) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	var missing []int
	for number := range taken {
		if !w.arrived[number] {
			missing = append(missing, number)
		}
	}
	slices.Sort(missing)
	return missing
}
