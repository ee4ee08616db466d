// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

func TestAMessageOfOursIsSignedWithEveryKey(t *testing.T) {
	for name, opt := range map[string]miltertest.Options{
		"as Postfix 3.7 offers":                {},
		"as Sendmail 8.17 offers":              {Version: 6, Actions: 0x1ff, Protocol: 0x1fffff | 0x30000000},
		"version 2 with its seven flags":       {Version: 2, Actions: 0x3f, Protocol: 0x7f},
		"without leaving any answer out":       {Protocol: miltertest.HeaderLeadSpace},
		"without the space before values":      {Protocol: 0x1fffff &^ miltertest.HeaderLeadSpace},
		"a version that does not exist yet":    {Version: 9},
		"with header fields waited for":        {Protocol: 0x1fffff &^ miltertest.NRHeader},
		"with every stage that could be left":  {Protocol: 0x1fffff &^ (miltertest.NoHelo | miltertest.NoRcpt | miltertest.NoData)},
		"without silent stages or spaces (v4)": {Version: 4, Protocol: 0x3ff},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, files(t, domain(t, "example.org", key(t, "r1", rsa1), key(t, "e1", ed1))))
			c := r.dial(t, opt)
			reply, out, err := c.Send(miltertest.Message{Raw: from("Alice <alice@example.org>"), Chunk: 5})
			if err != nil || !reply.Accepted {
				t.Fatalf("%+v %v", reply, err)
			}
			mustVerify(t, out, 2, map[string]int{"r1": rsa1, "e1": ed1})
			if !strings.HasPrefix(string(out), "DKIM-Signature: v=1; a=rsa-sha256;") {
				t.Errorf("the first field is not the RSA signature with one space: %.60q", out)
			}
			if n := r.count(t, "messages_total", "sign", "ours"); n != 1 {
				t.Errorf("%v messages counted", n)
			}
			if n := r.count(t, "signatures_total", "rsa-sha256", "example.org", "r1"); n != 1 {
				t.Errorf("%v RSA signatures counted", n)
			}
			if n := r.count(t, "sign_duration_seconds"); n != 1 {
				t.Errorf("%v durations observed", n)
			}
		})
	}
}

func TestEachMessageOfAConnectionIsSignedByItsOwnHeader(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "o", ed1)), domain(t, "example.net", key(t, "n", ed2))))
	c := r.dial(t, miltertest.Options{})
	for i, m := range []struct {
		author, want string
		signatures   int
	}{
		{"a@example.org", "d=example.org;", 1}, {"b@example.net", "d=example.net;", 1}, {"c@other.example", "", 0}, {"d@example.org", "d=example.org;", 1},
	} {
		raw := fmt.Appendf(nil, "From: %s\r\nSubject: message %d\r\n\r\nBody %d\r\n", m.author, i, i)
		reply, out, err := c.Send(miltertest.Message{Raw: raw})
		if err != nil || !reply.Accepted || !strings.Contains(string(out), m.want) {
			t.Fatalf("message %d: %+v %v\n%s", i, reply, err, out)
		}
		mustVerify(t, out, m.signatures, map[string]int{"o": ed1, "n": ed2})
		if i == 1 {
			if err := c.NewSession(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// protocols are what MTAs offered with each version of the protocol, and some that offer less: the flags of
// Sendmail 8.12 (2), 8.13 (3, 4) and 8.14 to 8.17, and of Postfix since 2.6 (6).
var protocols = []miltertest.Options{
	{Version: 2, Actions: 0x1f, Protocol: 0x7f},
	{Version: 2, Actions: 0x3f, Protocol: 0x7f},
	{Version: 3, Actions: 0x3f, Protocol: 0x1ff},
	{Version: 4, Actions: 0x3f, Protocol: 0x3ff},
	{Version: 5, Actions: 0x1ff, Protocol: 0x1fffff},
	{Version: 6, Actions: 0x1ff, Protocol: 0x1fffff},
	{Version: 6, Actions: 0x1ff, Protocol: 0x1fffff | 0x30000000},                  // Sendmail 8.17: larger pieces, if asked for
	{Version: 6, Actions: 0x1ff, Protocol: 0x1fffff &^ miltertest.HeaderLeadSpace}, // the MTA writes the space
	{Version: 6, Actions: 0x1ff, Protocol: miltertest.HeaderLeadSpace},             // every command is answered
	{Version: 6, Actions: 0x1ff, Protocol: miltertest.NREOH | miltertest.NRBody},   // some are
	{Version: 6, Actions: 0x1ff, Protocol: 0x1fffff &^ (miltertest.NRMail | miltertest.NRConnect)},
	{Version: 9, Actions: 0xffffffff, Protocol: 0xffffffff}, // what does not exist yet
}

func TestAMessageThatIsAbortedLeavesNothingBehind(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "o", ed1))))
	raw := from("a@example.org")
	fields, body := miltertest.Split(raw)
	// Each stage ends where the one before it did, and one command later.
	stages := []func(*miltertest.Conn) error{
		func(c *miltertest.Conn) error { return c.Begin(netip.Addr{}) },
		func(c *miltertest.Conn) error {
			return c.Envelope(miltertest.Message{Sender: "<>", Login: "mallory", Params: []string{"SMTPUTF8"}})
		},
		func(c *miltertest.Conn) error { return c.Header("From", " mallory@evil.example") },
		func(c *miltertest.Conn) error { return c.Command('N', nil) },
		func(c *miltertest.Conn) error { return c.Command('B', []byte("evil\r\n")) },
	}
	for _, opt := range protocols {
		t.Run(fmt.Sprintf("version %d with %#x", opt.Version, opt.Protocol), func(t *testing.T) {
			c := r.dial(t, opt) // One connection for all.
			if min(opt.Version, maxVersion) != c.Version {
				t.Errorf("version %d was negotiated", c.Version)
			}
			for last := range stages {
				for _, stage := range stages[:last+1] {
					if err := stage(c); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.Abort(); err != nil {
					t.Fatal(err)
				}
				reply, out, err := c.Send(miltertest.Message{Raw: raw})
				if err != nil || !reply.Accepted {
					t.Fatalf("after an abort at stage %d: %+v %v", last, reply, err)
				}
				mustVerify(t, out, 1, map[string]int{"o": ed1})
				if last%2 == 1 {
					if err := c.NewSession(); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
	t.Run("an end without a beginning", func(t *testing.T) {
		c := r.dial(t, miltertest.Options{})
		if reply, _, err := c.End(fields, body); err != nil || reply.Code() != 550 {
			t.Fatalf("%+v %v", reply, err)
		}
	})
}

func TestWhoMaySendAndWhatHappensToTheRest(t *testing.T) {
	senders := &keydir.Senders{Logins: []string{"alice"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	tree := func(t *testing.T) []keydir.Domain {
		t.Helper()
		return []keydir.Domain{
			domain(t, "example.org", key(t, "s", ed1)),
			{Domain: "sub.example", Required: true, Subdomains: true, Keys: []keydir.Key{key(t, "s", ed1)}},
			{Domain: "own.sub.example", Required: true, Keys: []keydir.Key{key(t, "s", ed2)}},
			{Domain: "listed.example", Required: true, Senders: senders, Keys: []keydir.Key{key(t, "s", ed1)}},
			{Domain: "early.example", Senders: senders},
			{Domain: "keyless.example", Required: true},
		}
	}
	tests := []struct {
		name    string
		message miltertest.Message
		policy  Policy
		action  Action
		reason  Reason
		d       string
		reply   string
	}{
		{name: "its own domain", message: miltertest.Message{Raw: from("a@example.org")}, action: Sign, reason: ReasonOurs, d: "example.org"},
		{name: "a bounce", message: miltertest.Message{Raw: from("MAILER-DAEMON@example.org"), Sender: "<>"}, action: Sign, reason: ReasonOurs, d: "example.org"},
		{name: "a sub-domain of one that does not allow it", message: miltertest.Message{Raw: from("a@x.example.org")}, action: Accept, reason: ReasonUnknownDomain},
		{name: "a sub-domain of one that allows it", message: miltertest.Message{Raw: from("a@x.y.sub.example")}, action: Sign, reason: ReasonOurs, d: "sub.example"},
		{name: "a sub-domain with an entry of its own", message: miltertest.Message{Raw: from("a@own.sub.example")}, action: Sign, reason: ReasonOurs, d: "own.sub.example"},
		{name: "a sub-domain below an entry that allows none", message: miltertest.Message{Raw: from("a@x.own.sub.example")}, action: Accept, reason: ReasonUnknownDomain},
		{name: "a foreign domain", message: miltertest.Message{Raw: from("a@other.example")}, action: Accept, reason: ReasonUnknownDomain},
		{
			name: "a foreign domain that the policy refuses", message: miltertest.Message{Raw: from("a@other.example")},
			policy: Policy{Actions: map[Reason]Action{ReasonUnknownDomain: Reject}}, action: Reject, reason: ReasonUnknownDomain,
			reply: "550 5.7.1 No signature for the domain of the From field",
		},
		{name: "a login of the list", message: miltertest.Message{Raw: from("a@listed.example"), Login: "alice"}, action: Sign, reason: ReasonOurs, d: "listed.example"},
		{name: "a network of the list", message: miltertest.Message{Raw: from("a@listed.example"), Client: addr(t, "192.0.2.9")}, action: Sign, reason: ReasonOurs, d: "listed.example"},
		{name: "an IPv6 client outside of the list", message: miltertest.Message{Raw: from("a@listed.example"), Client: addr(t, "2001:db8::1")}, action: Reject, reason: ReasonUnlistedSender, reply: "550 5.7.1 Not allowed to send as listed.example"},
		{name: "another tenant's login", message: miltertest.Message{Raw: from("a@listed.example"), Login: "bob"}, action: Reject, reason: ReasonUnlistedSender, reply: "550 5.7.1 Not allowed to send as listed.example"},
		{name: "a bounce that nobody listed is never lost", message: miltertest.Message{Raw: from("a@listed.example"), Sender: "<>"}, action: Tempfail, reason: ReasonUnlistedSender, reply: "451 4.7.0 Not allowed to send as listed.example; try again later"},
		{name: "an unlisted sender of a domain that is not required", message: miltertest.Message{Raw: from("a@early.example")}, action: Accept, reason: ReasonUnlistedSender},
		{name: "a domain that is not required yet", message: miltertest.Message{Raw: from("a@early.example"), Login: "alice"}, action: Accept, reason: ReasonNotRequired},
		{name: "a required domain without a key", message: miltertest.Message{Raw: from("a@keyless.example")}, action: Tempfail, reason: ReasonNoKey, reply: "451 4.7.0 Cannot sign for keyless.example now; try again later"},
		{
			name: "a required domain without a key, failing open", message: miltertest.Message{Raw: from("a@keyless.example")},
			policy: Policy{AcceptFailures: true}, action: Accept, reason: ReasonNoKey,
		},
		{name: "no From field", message: miltertest.Message{Raw: []byte("Subject: Hi\r\n\r\nHello\r\n")}, action: Reject, reason: ReasonNoFrom, reply: "550 5.7.1 The From field is missing"},
		{name: "a From field that names nobody", message: miltertest.Message{Raw: from("nobody")}, action: Reject, reason: ReasonBadFrom, reply: "550 5.7.1 The From field has no address with a domain"},
		{name: "two From fields", message: miltertest.Message{Raw: []byte("From: a@example.org\r\nfrom: b@example.org\r\n\r\nx\r\n")}, action: Reject, reason: ReasonSeveralFrom, reply: "550 5.7.1 More than one From field"},
		{name: "addresses of two domains", message: miltertest.Message{Raw: from("a@example.org, b@other.example")}, action: Reject, reason: ReasonSeveralDomains, reply: "550 5.7.1 The From field has addresses of several domains"},
		{name: "addresses of one domain", message: miltertest.Message{Raw: from("a@example.org, b@example.org")}, action: Sign, reason: ReasonOurs, d: "example.org"},
		{
			name: "two domains that the policy lets pass", message: miltertest.Message{Raw: from("a@other.example, b@example.org")},
			policy: Policy{Actions: map[Reason]Action{ReasonSeveralDomains: Accept}}, action: Accept, reason: ReasonSeveralDomains,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, files(t, tree(t)...), func(c *Config) { c.Policy = tt.policy })
			reply, out := r.send(t, tt.message)
			if n := r.count(t, "messages_total", string(tt.action), string(tt.reason)); n != 1 {
				t.Errorf("not counted as %s, %s:\n%s", tt.action, tt.reason, r.log)
			}
			if reply.Accepted != (tt.reply == "") || reply.Text != tt.reply {
				t.Errorf("reply %+v, want %q", reply, tt.reply)
			}
			if tt.action == Accept && len(verdicts(t, out, nil)) != 0 {
				t.Errorf("accepted as it is, and yet signed")
			}
			if tt.action == Sign && !strings.Contains(string(out), "d="+tt.d+";") {
				t.Errorf("not signed by %s:\n%s", tt.d, out)
			}
			unsigned := tt.action == Accept && (tt.reason == ReasonSeveralDomains || tt.policy.AcceptFailures)
			if n := r.count(t, "unsigned_egress_total", string(tt.reason)); (n == 1) != unsigned {
				t.Errorf("%v messages left unsigned", n)
			}
		})
	}
}

func TestWithoutAKeyTreeAllMailWaits(t *testing.T) {
	for name, sources := range map[string][]keydir.Source{
		"no directory":        nil,
		"an empty directory":  {{Dir: "/keys", Tree: keydir.Read(files(t))}},
		"a missing directory": {{Dir: "/none", Tree: keydir.Load("/none/at/all")}},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, files(t))
			r.live.Apply(sources, testNow)
			for _, author := range []string{"a@example.org", "a@other.example", "nobody"} {
				if reply, _ := r.send(t, miltertest.Message{Raw: from(author)}); reply.Text != "451 4.7.0 The signer is not ready; try again later" {
					t.Errorf("%s: %+v", author, reply)
				}
			}
			if r.Ready(1) == "" {
				t.Error("and yet it is ready")
			}
		})
	}
}

func TestOneMissingDirectoryLeavesTheOthersDomainsAlone(t *testing.T) {
	r := start(t, files(t))
	r.live.Apply([]keydir.Source{
		{Dir: "/a", Tree: keydir.Read(files(t, domain(t, "example.org", key(t, "s", ed1))))},
		{Dir: "/b", Tree: keydir.Load("/none/at/all")},
	}, testNow)
	if reply, _ := r.send(t, miltertest.Message{Raw: from("a@example.org")}); !reply.Accepted {
		t.Errorf("a domain that is known: %+v", reply)
	}
	if reply, _ := r.send(t, miltertest.Message{Raw: from("a@may-be-in-b.example")}); reply.Code() != 451 {
		t.Errorf("a domain that may be in the missing directory: %+v", reply)
	}
	if reply, _ := r.send(t, miltertest.Message{Raw: from("nobody")}); reply.Code() != 550 {
		t.Errorf("what is refused whatever the directory holds: %+v", reply)
	}
}

func TestNoPolicyPassesWhatAMissingDirectoryMayRequire(t *testing.T) {
	accept := map[Reason]Action{}
	for _, reason := range PolicyReasons() {
		accept[reason] = Accept
	}
	r := start(t, files(t), func(c *Config) { c.Policy.Actions = accept })
	messages := map[string]string{
		"no From field":     "Subject: Hi\r\n\r\n",
		"a From of nobody":  "From: nobody\r\n\r\n",
		"two domains":       "From: a@example.org, b@unknown.example\r\n\r\n",
		"two From fields":   "From: a@unknown.example\r\nFrom: b@unknown.example\r\n\r\n",
		"an unknown domain": "From: a@unknown.example\r\n\r\n",
		"two known domains": "From: a@example.org, b@early.example\r\n\r\n",
	}
	known := keydir.Source{Dir: "/a", Tree: keydir.Read(files(t, domain(t, "example.org", key(t, "s", ed1)), keydir.Domain{Domain: "early.example"}))}
	for _, missing := range []bool{false, true} {
		sources := []keydir.Source{known}
		if missing {
			sources = append(sources, keydir.Source{Dir: "/b", Tree: keydir.Load("/none/at/all")})
		}
		r.live.Apply(sources, testNow)
		for name, text := range messages {
			reply, _ := r.send(t, miltertest.Message{Raw: []byte(text)})
			if want := !missing || name == "two known domains"; reply.Accepted != want {
				t.Errorf("%s, a directory missing %v: %+v", name, missing, reply)
			}
		}
	}
}

// signerFunc replaces the private key of an entry.
type signerFunc func() ([]byte, error)

func (signerFunc) Public() crypto.PublicKey { return nil }

func (f signerFunc) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return f() }

func (r *rig) replaceKey(t *testing.T, f signerFunc) {
	t.Helper()
	r.live.Table().entries["example.org"].keys[0].Signer = f
}

func TestAKeyThatFailsMakesMailWait(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	tests := []struct {
		name   string
		key    signerFunc
		reason Reason
	}{
		{"a key that refuses", func() ([]byte, error) { return nil, fmt.Errorf("token is gone") }, ReasonKeyFailed},
		{"a key that panics", func() ([]byte, error) { panic("boom") }, ReasonInternal},
		{"a key that hangs", func() ([]byte, error) { <-release; return nil, nil }, ReasonDeadline},
	}
	for _, tt := range tests {
		for _, open := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, fail open %v", tt.name, open), func(t *testing.T) {
				r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))), func(c *Config) {
					c.Policy.AcceptFailures = open
					if tt.reason == ReasonDeadline {
						c.Deadline = time.Millisecond
					}
				})
				r.replaceKey(t, tt.key)
				c := r.dial(t, miltertest.Options{})
				for range 2 { // The connection stays.
					reply, out, err := c.Send(miltertest.Message{Raw: from("a@example.org")})
					if err != nil || reply.Accepted != open || !open && reply.Text != "451 4.7.0 Cannot sign for example.org now; try again later" {
						t.Fatalf("%+v %v", reply, err)
					}
					if open && len(verdicts(t, out, nil)) > 0 {
						t.Error("it was signed")
					}
				}
				if n := r.count(t, "unsigned_egress_total", string(tt.reason)); (n == 2) != open {
					t.Errorf("%v messages left unsigned\n%s", n, r.log)
				}
			})
		}
	}
}

func TestADomainWhoseKeysHangHoldsBackNoOther(t *testing.T) {
	release := make(chan struct{})
	var hanging sync.WaitGroup
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1)), domain(t, "example.net", key(t, "n", ed2))))
	asked := make(chan struct{}, 100)
	r.replaceKey(t, func() ([]byte, error) { asked <- struct{}{}; <-release; return []byte("late"), nil })
	for range 3 * runtime.GOMAXPROCS(0) {
		c := r.dial(t, miltertest.Options{})
		hanging.Go(func() {
			if reply, _, err := c.Send(miltertest.Message{Raw: from("a@example.org")}); err != nil || !reply.Accepted {
				t.Errorf("in the end: %+v %v", reply, err)
			}
		})
	}
	for range runtime.GOMAXPROCS(0) {
		<-asked
	}
	for range 3 {
		_, out := r.send(t, miltertest.Message{Raw: from("a@example.net")})
		mustVerify(t, out, 1, map[string]int{"n": ed2})
	}
	close(release)
	hanging.Wait()
}

func TestAKeyThatFailsHoldsBackNoMailOfADomainThatIsNotRequired(t *testing.T) {
	r := start(t, files(t, keydir.Domain{Domain: "example.org", Keys: []keydir.Key{key(t, "s", ed1)}}))
	r.replaceKey(t, func() ([]byte, error) { return nil, errors.New("token is gone") })
	reply, out := r.send(t, miltertest.Message{Raw: from("a@example.org")})
	if !reply.Accepted || len(verdicts(t, out, nil)) > 0 {
		t.Errorf("%+v\n%s", reply, out)
	}
	if n := r.count(t, "messages_total", "accept", string(ReasonKeyFailed)); n != 1 {
		t.Errorf("%v messages counted", n)
	}
	if n := r.count(t, "unsigned_egress_total", string(ReasonKeyFailed)); n != 0 {
		t.Errorf("%v messages left without a signature that is required", n)
	}
}

func TestAFaultOfTheProgramIsCaughtAndFailsClosed(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	calls := 0
	r.signer().cfg.Now = func() time.Time { calls++; panic("the clock is broken") }
	c := r.dial(t, miltertest.Options{})
	for range 2 {
		reply, _, err := c.Send(miltertest.Message{Raw: from("a@example.org")})
		if err != nil || reply.Code() != 451 {
			t.Fatalf("%+v %v", reply, err)
		}
	}
	if n := r.count(t, "panics_total"); n != 2 || calls != 2 {
		t.Errorf("%v panics counted of %d", n, calls)
	}
	if n := r.count(t, "messages_total", "tempfail", "internal"); n != 2 {
		t.Errorf("%v messages counted", n)
	}
}

// takes hands commands to a session without a socket and returns what it answers, and the error of the last command.
func takes(t *testing.T, c *session, commands ...packet) (string, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	c.conn = ours
	answers := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(theirs)
		answers <- string(text)
	}()
	var err error
	for _, p := range commands {
		err = c.take(t.Context(), p)
	}
	_ = ours.Close()
	return <-answers, err
}

func TestAFaultInTheMiddleOfAMessageMakesItWait(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	c := newSession(r.Server, r.signer(), nil)
	c.negotiated, c.protocol = true, quiet
	c.message = &outgoing{signer: r.signer()} // Without a table, no decision is possible.
	answers, err := takes(t, c, packet{code: cmdEOH}, packet{code: cmdBody, data: []byte("Hi\r\n")}, packet{code: cmdEnd})
	if want := raw('y', "451 4.7.0 The signer is not ready; try again later\x00"); err != nil || answers != want {
		t.Errorf("%q %v", answers, err)
	}
	if n := r.count(t, "panics_total"); n != 1 {
		t.Errorf("%v panics counted", n)
	}
}

func TestAFaultIsNeverAnsweredWhereTheMTAWaitsForNoAnswer(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	for _, code := range []command{cmdMacro, cmdAbort, cmdQuitNew, cmdQuit} {
		c := newSession(r.Server, r.signer(), nil)
		c.message = &outgoing{}
		ours, theirs := net.Pipe()
		c.conn = ours
		_ = theirs.Close() // An answer is another error.
		if err := c.caught(t.Context(), packet{code: code}, "boom"); !errors.Is(err, errPanic) {
			t.Errorf("to %q: %v", code, err)
		}
	}
}

func TestWhatNoDecisionAllowsIsRefused(t *testing.T) {
	r := start(t, files(t), func(c *Config) { c.Policy.Actions = map[Reason]Action{ReasonNoFrom: "drop"} })
	r.live.Apply(source(files(t, domain(t, "example.org", key(t, "s", ed1)))), testNow)
	if reply, _ := r.send(t, miltertest.Message{Raw: []byte("Subject: Hi\r\n\r\n")}); reply.Code() != 451 {
		t.Errorf("%+v", reply)
	}
}

func TestNothingOfAnSMTPSessionOutlivesIt(t *testing.T) {
	listed := domain(t, "example.org", key(t, "s", ed1))
	listed.Senders = &keydir.Senders{Logins: []string{"alice"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	r := start(t, files(t, listed))
	fields, body := miltertest.Split(from("a@example.org"))
	for name, begin := range map[string]func(*miltertest.Conn) error{
		"a client": func(c *miltertest.Conn) error { return c.Begin(addr(t, "192.0.2.1")) },
		"a login of the connection": func(c *miltertest.Conn) error {
			return errors.Join(c.Macros('C', "{auth_authen}", "alice"), c.Command('C', []byte("h\x00U")))
		},
	} {
		for _, ended := range []bool{false, true} {
			c := r.dial(t, miltertest.Options{})
			if err := begin(c); err != nil {
				t.Fatal(err)
			}
			if ended { // And the next one says nothing of itself.
				if err := c.NewSession(); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Envelope(miltertest.Message{}); err != nil {
				t.Fatal(err)
			}
			if err := c.Header("From", " a@example.org"); err != nil {
				t.Fatal(err)
			}
			if reply, _, err := c.End(fields, body); err != nil || reply.Accepted == ended {
				t.Errorf("%s, ended %v: %+v %v", name, ended, reply, err)
			}
		}
	}
}

func TestASecondMailBeginsAnotherMessage(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	c := r.dial(t, miltertest.Options{})
	for _, step := range []func() error{
		func() error { return c.Begin(netip.Addr{}) },
		func() error { return c.Envelope(miltertest.Message{}) },
		func() error { return c.Header("From", " mallory@evil.example") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	reply, out, err := c.Send(miltertest.Message{Raw: from("a@example.org")}) // Without an abort.
	if err != nil || !reply.Accepted {
		t.Fatalf("%+v %v", reply, err)
	}
	mustVerify(t, out, 1, map[string]int{"s": ed1})
}

func TestAHeaderTooLargeToSignWaits(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	raw := []byte(strings.Repeat("References: <x@example.org>\r\n", 600) + string(from("a@example.org")))
	if reply, _ := r.send(t, miltertest.Message{Raw: raw}); reply.Code() != 451 {
		t.Errorf("%+v", reply)
	}
	if n := r.count(t, "messages_total", "tempfail", string(ReasonHeaderTooLarge)); n != 1 {
		t.Errorf("%v counted", n)
	}
	foreign := []byte(strings.Repeat("References: <x@example.org>\r\n", 600) + string(from("a@other.example")))
	if reply, _ := r.send(t, miltertest.Message{Raw: foreign}); !reply.Accepted {
		t.Errorf("what we do not sign has no limit: %+v", reply)
	}
}

func TestFragileMessagesAreSignedAndCounted(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	send := func(body string, params ...string) {
		t.Helper()
		_, out := r.send(t, miltertest.Message{Raw: []byte("From: a@example.org\r\n\r\n" + body), Params: params})
		mustVerify(t, out, 1, map[string]int{"s": ed1})
	}
	send("plain\r\n")
	send("gr\xc3\xbc\xc3\x9fe\r\n", "BODY=8BITMIME")
	send("gr\xc3\xbc\xc3\x9fe\r\n", "BODY=8BITMIME", "smtputf8")
	send(strings.Repeat("x", 999) + "\r\n")
	send("one\ntwo\n")
	send("one\rtwo\r\n")
	for flaw, want := range map[string]float64{"8bit": 1, "long_line": 1, "bare_lf": 1, "bare_cr": 1} {
		if got := r.count(t, "fragile_messages_total", flaw); got != want {
			t.Errorf("%s: %v, want %v", flaw, got, want)
		}
	}
}

func TestNoAddressAndNoBodyGoesIntoTheLog(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1)), keydir.Domain{Domain: "keyless.example", Required: true}))
	for _, domain := range []string{"example.org", "keyless.example", "other.example"} {
		r.send(t, miltertest.Message{
			Raw: []byte("From: alice@" + domain + "\r\nSubject: sekrit\r\n\r\nA sekrit.\r\n"), Login: "alice", QueueID: "4Q1",
			Sender: "<alice@" + domain + ">", Recipients: []string{"<bob@example.net>"}, Client: addr(t, "192.0.2.77"),
		})
	}
	text := r.log.String()
	for _, word := range []string{"alice", "bob", "sekrit", "192.0.2.77", "@"} {
		if strings.Contains(text, word) {
			t.Errorf("the log holds %q:\n%s", word, text)
		}
	}
	if strings.Count(text, `"queue_id":"4Q1"`) != 3 {
		t.Errorf("the log does not name each message:\n%s", text)
	}
}

func TestMemoryDoesNotGrowWithTheMessage(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	c := r.dial(t, miltertest.Options{})
	if err := c.Begin(netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Envelope(miltertest.Message{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Header("From", " a@example.org"); err != nil {
		t.Fatal(err)
	}
	piece := []byte(strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz \r\n", 1600))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1000 {
		if err := c.Command('B', piece); err != nil {
			t.Fatal(err)
		}
	}
	if reply, _, err := c.End([]miltertest.Field{{Name: "From", Value: " a@example.org"}}, nil); err != nil || !reply.Accepted {
		t.Errorf("%+v %v", reply, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d octets were allocated for a message of %d", used, 1000*len(piece))
	}
}
