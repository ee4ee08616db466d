// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mailauth

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Resolver is what a judgement asks the DNS with. The lookups are as *net.Resolver and
// blitiri.com.ar/go/spf have them: an error that is a *net.DNSError with
// IsNotFound says that the name or the type is not there; any other, that nothing is known.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	// Exists tells whether a name is there, with records or without (RFC 8020 §2). With an error nothing is known.
	Exists(ctx context.Context, name string) (bool, error)
}

// Envelope is what SMTP says of a message before the message.
type Envelope struct {
	Client   netip.Addr // who delivers it; invalid if it did not come over a network
	HELO     string     // the name in HELO or EHLO
	MailFrom string     // the reverse path without < and >; "" for a null sender
}

const (
	// maxSignatures bounds how many signatures of a message are judged: each costs a key and a public-key operation.
	maxSignatures = 10
	// maxKept bounds the header that is kept, with what each field costs beside its octets.
	maxKept   = 1 << 20
	fieldCost = 64
)

// Judgement judges one message as it streams past.
//
//	Header × n → Body × n → Verdict(resolver, now)
//
// It keeps the header, since a signature may cover any field, and a hash of
// the body for each way in which signatures take it, whatever the body's size.
type Judgement struct {
	envelope Envelope
	fields   []rawField
	places   map[string][]int // of fields, by name in lower case
	size     int
	tooLarge bool
	ended    bool // the header has ended

	claims []examined
	unread int // signatures beyond maxSignatures
	bodies bodyHashes
}

// rawField is a header field as it came, with CRLF at its folds.
type rawField struct{ name, value string }

// examined is a signature, and why it is no good already.
type examined struct {
	claim
	place int // of its field
	err   error
	keys  []string // records at its selector
}

// NewJudgement begins a message.
func NewJudgement(e Envelope) *Judgement {
	return &Judgement{envelope: e, places: map[string][]int{}}
}

// Header takes the next field, from top to bottom: the name, and all that
// follows the colon, folded with CRLF or LF.
func (j *Judgement) Header(name string, value []byte) {
	lower := strings.ToLower(strings.TrimRight(name, " \t"))
	cost := len(name) + len(value) + fieldCost
	j.tooLarge = j.tooLarge || j.size+cost > maxKept
	// Who the author is stays known of a message that is padded, or its padding would be a way past DMARC. Two are too many already.
	if j.tooLarge && (lower != "from" || len(j.places[lower]) > 1) {
		return
	}
	j.size += cost
	j.places[lower] = append(j.places[lower], len(j.fields))
	text := strings.ReplaceAll(string(value), "\r\n", "\n")
	j.fields = append(j.fields, rawField{name, strings.ReplaceAll(text, "\n", "\r\n")})
}

// Body takes the next piece of the body; the first ends the header.
func (j *Judgement) Body(p []byte) {
	j.endHeader()
	j.bodies.write(p)
}

// endHeader reads the signatures: now it is known which hashes of the body they need.
func (j *Judgement) endHeader() {
	if j.ended {
		return
	}
	j.ended = true
	for _, place := range j.places["dkim-signature"] {
		if len(j.claims) == maxSignatures {
			j.unread++
			continue
		}
		s := examined{place: place}
		s.claim, s.err = readClaim(j.fields[place].value)
		if j.tooLarge && s.err == nil {
			s.err = flaw{Unacceptable, "the header is too large to be judged"}
		}
		if s.err == nil {
			j.bodies.want(s.bodyForm, s.length)
		}
		j.claims = append(j.claims, s)
	}
}

// Verdict ends the message and judges it. The context bounds how long the DNS may take.
func (j *Judgement) Verdict(ctx context.Context, resolver Resolver, now time.Time) Verdict {
	j.endHeader()
	j.bodies.end()
	v := Verdict{Unread: j.unread, DKIM: make([]Signature, len(j.claims))}
	authors := authorsOf(resolver, j.from())
	// All wait for the DNS at the same time, and none uses up the questions of another. Otherwise who forges a message would
	// have us wait for servers of his, or ask without end, until nothing is left for the policy of whom he claims to be.
	tasks := []func(){func() { v.SPF = judgeSPF(ctx, newBudget(resolver), j.envelope) }}
	for i := range j.claims {
		tasks = append(tasks, func() { j.claims[i].askKey(ctx, resolver, now) })
	}
	for i := range authors.all {
		tasks = append(tasks, func() { authors.all[i].ask(ctx) })
	}
	together(tasks)
	for i := range j.claims {
		v.DKIM[i] = j.judge(&j.claims[i])
	}
	v.DMARC = authors.judge(ctx, v)
	return v
}

// together does several things at once and ends when all have. A panic of one becomes one here, where the caller can catch it.
func together(tasks []func()) {
	faults := make(chan any, len(tasks))
	for _, task := range tasks {
		go func() {
			defer func() { faults <- recover() }()
			task()
		}()
	}
	var first any
	for range tasks {
		if fault := <-faults; first == nil {
			first = fault
		}
	}
	if first != nil {
		panic(first)
	}
}

// Size is about how many octets are kept of the message.
func (j *Judgement) Size() int { return j.size }

// from are the values of the From fields.
func (j *Judgement) from() []string {
	var values []string
	for _, place := range j.places["from"] {
		values = append(values, j.fields[place].value)
	}
	return values
}
