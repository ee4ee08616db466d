// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dnscheck proves what the world can see: it asks the authoritative
// name servers themselves, again and again, and keeps a verdict for every
// record set that someone watches.
//
//	Watch ──► schedule ──► survey (the only IO) ──► judge ──► remember ──► Verdict, Wake
//	                                                (pure)     (pure)
//
// A recursive resolver is never asked in mode Authoritative: a question for a
// name that is not there yet would plant a negative answer in its cache.
package dnscheck

import (
	"net/netip"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// Target is one record set and what it should say.
type Target struct {
	Name dnsrecord.Name
	// Type is dnsrecord.TXT or dnsrecord.MX, or dnsrecord.NS for the delegation of the zone that the name is in: then Kind and Value are
	// empty. Another is Unreachable for good.
	Type dnsrecord.Type
	// Kind says which values at the name count: Exclusive all, SPF those of "v=spf1".
	Kind dnsplan.Kind
	// Value is what must stand there, alone among those that count; "" when none may.
	Value string
}

// Mode says who is asked.
type Mode string

const (
	// Authoritative asks every address of every authoritative server, found from the root on.
	Authoritative Mode = "Authoritative"
	// Recursive asks the given name servers, or the system's, as resolvers.
	Recursive Mode = "Recursive"
	// None asks nobody: what is published counts as seen.
	None Mode = "None"
)

// Policy says how targets are proved.
type Policy struct {
	// Mode is Authoritative when empty.
	Mode Mode
	// Nameservers replace discovery in mode Authoritative (split horizon, air
	// gap): they are asked with authority for every name. In mode Recursive they
	// are the resolvers; the system's when empty.
	Nameservers []netip.AddrPort
	// Strict waits for servers that cannot be asked for as long as it takes.
	Strict bool
}

func (p Policy) equal(o Policy) bool {
	return p.mode() == o.mode() && p.Strict == o.Strict && slices.Equal(p.Nameservers, o.Nameservers)
}

func (p Policy) mode() Mode {
	if p.Mode == "" {
		return Authoritative
	}
	return p.Mode
}

// State is what a sweep found.
type State string

const (
	// Unknown has not been asked yet.
	Unknown State = "Unknown"
	// Unchecked is mode None's verdict.
	Unchecked State = "Unchecked"
	// Verified is when all servers that must be heard answer as wanted.
	Verified State = "Verified"
	// Lacking is when a server answers with authority that nothing stands there; an
	// answer from a wildcard is nothing, too.
	Lacking State = "Lacking"
	// Differs is when a server answers with another value, or with one where none may be.
	Differs State = "Differs"
	// Conflict is when a server answers with the value and with another beside it.
	Conflict State = "Conflict"
	// Unreachable is when nobody lacks it, but not everybody could be asked.
	Unreachable State = "Unreachable"
)

// Server is one address of a name server.
type Server struct {
	// Name is "" for an address from Policy.Nameservers.
	Name dnsrecord.Name
	Addr netip.AddrPort
}

// String is "192.0.2.1 (ns1.example.org)".
func (s Server) String() string {
	addr := s.Addr.Addr().String()
	if s.Name == "" {
		return addr
	}
	return addr + " (" + s.Name.String() + ")"
}

// ServerAnswer is what one server had to say in the last full sweep.
type ServerAnswer struct {
	Server
	// Name is the name it was asked for: the target's, or an alias's target.
	Asked dnsrecord.Name
	// State is Verified, Lacking, Differs, Conflict, Unreachable or, where no
	// route leads to the address's family, Unknown.
	State State
	// Detail is a stable phrase that follows the server's name: "answers without it".
	Detail string
	// Wildcard is the one that the answer comes from; "" if none.
	Wildcard dnsrecord.Name
	// Excused servers could not be asked for an hour and block no longer.
	Excused bool
}

// Verdict is what is known about a target. Nothing in it changes while the DNS
// stays as it is, but SweptAt and, while servers lack the value, LastLacking.
type Verdict struct {
	State State
	// Zone is the apex of the zone that the name is in; "" while unknown.
	Zone dnsrecord.Name
	// Path is where the name leads: to itself, or along aliases. Zero while it is not
	// known, because servers disagree or cannot be asked.
	Path Trace
	// FirstVerified is when this process first saw the target Verified.
	FirstVerified time.Time
	// VerifiedSince is when the first sweep of those ended that found no server
	// lacking the value, without one in between that did; zero while servers lack
	// it. Count waits from here, or from LastLacking.
	VerifiedSince time.Time
	// LastLacking is the last moment at which a server may have lacked the value;
	// zero if none was ever seen lacking it by this process. Once the target is
	// verified it equals VerifiedSince: between the sweep that still found a
	// server lacking and the one that did not, nobody knows.
	LastLacking time.Time
	// Wait is how long a cache may hold what stood there before, and WaitReason
	// what it follows from: "SOA minimum 1800 s of example.org".
	Wait       time.Duration
	WaitReason string
	// SweptAt is when the last full sweep began; a caller that needs a fresh one
	// calls Sweep and waits for a later time here.
	SweptAt time.Time
	// Found are the values that count at the name, of all servers, sorted, long ones cut.
	Found []string
	// AnswerSize is the largest answer in octets, foreign values and signatures
	// counted; PlainSize is that to somebody who asks without EDNS.
	AnswerSize, PlainSize int
	// NameServers are those of the zone as its parent and its own servers name them, sorted, and NameServerTTL is the
	// highest TTL of their NS sets, in seconds. For a delegation alone.
	NameServers   []dnsrecord.Name
	NameServerTTL uint32
	// Servers is sorted by name asked and address.
	Servers []ServerAnswer
	// Message says what blocks, or who was excused; "" when all is well.
	Message string
	// Notes are findings that do not block, sorted.
	Notes []string
}

// Public tells whether the servers that answer as wanted were found from the root on, none by somebody's word.
func (v Verdict) Public() bool {
	named := func(s ServerAnswer) bool { return s.Name == "" }
	return v.State == Verified && len(v.Servers) > 0 && !slices.ContainsFunc(v.Servers, named)
}

// Options configure a Prober.
type Options struct {
	// Now is required.
	Now func() time.Time
	// After is time.After when nil.
	After func(time.Duration) <-chan time.Time
	// Roots are where resolution begins; the root servers when empty.
	Roots []netip.AddrPort
	// Port is every discovered server's port; 53 when 0.
	Port uint16
	// MinimumWait is the lowest Wait; 15 minutes when 0, none when negative.
	MinimumWait time.Duration
	// Interval is the mean time between checks of a verified target; 10 minutes when 0.
	Interval time.Duration
	// RetryMin and RetryMax bound the time between sweeps of a target that is not
	// verified, during its first hour; 1 and 30 seconds when 0.
	RetryMin, RetryMax time.Duration
	// Patience is how long a server that cannot be asked blocks; an hour when 0.
	Patience time.Duration
	// Workers bounds the surveys at one time; 8 when 0.
	Workers int
	// Rate is the number of questions a second, to all servers together; 200
	// when 0, which docs/probing.md derives. ServerRate is the same for one address; 20 when 0.
	Rate, ServerRate float64
	// Timeout bounds one question over one transport; 2 seconds when 0.
	Timeout time.Duration
	// ResolvConf lists the system's resolvers; /etc/resolv.conf when empty.
	ResolvConf string
	// HasRoute says whether an address can be reached at all; when nil, the
	// system's routing table is asked.
	HasRoute func(netip.Addr) bool
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		panic("dnscheck: Options.Now is missing: pass the program's clock")
	}
	orDefault(&o.Port, 53)
	if len(o.Roots) == 0 {
		o.Roots = rootServers()
	}
	if o.After == nil {
		o.After = time.After
	}
	orDefault(&o.MinimumWait, 15*time.Minute)
	o.MinimumWait = max(0, o.MinimumWait)
	orDefault(&o.Interval, 10*time.Minute)
	orDefault(&o.RetryMin, time.Second)
	orDefault(&o.RetryMax, 30*time.Second)
	orDefault(&o.Patience, time.Hour)
	orDefault(&o.Workers, 8)
	orDefault(&o.Rate, 200)
	orDefault(&o.ServerRate, 20)
	orDefault(&o.Timeout, 2*time.Second)
	orDefault(&o.ResolvConf, "/etc/resolv.conf")
	return o
}

func orDefault[T comparable](value *T, other T) {
	var zero T
	if *value == zero {
		*value = other
	}
}

// rootServers are the root hints of 2023-11-27 (https://www.internic.net/domain/named.root),
// which priming brings up to date (RFC 9609).
func rootServers() []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range []string{
		"198.41.0.4", "170.247.170.2", "192.33.4.12", "199.7.91.13", "192.203.230.10", "192.5.5.241", "192.112.36.4",
		"198.97.190.53", "192.36.148.17", "192.58.128.30", "193.0.14.129", "199.7.83.42", "202.12.27.33",
		"2001:503:ba3e::2:30", "2801:1b8:10::b", "2001:500:2::c", "2001:500:2d::d", "2001:500:a8::e", "2001:500:2f::f", "2001:500:12::d0d",
		"2001:500:1::53", "2001:7fe::53", "2001:503:c27::2:30", "2001:7fd::1", "2001:500:9f::42", "2001:dc3::35",
	} {
		out = append(out, netip.AddrPortFrom(netip.MustParseAddr(s), 53))
	}
	return out
}
