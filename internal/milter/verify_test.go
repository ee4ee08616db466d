// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/maildomain-operator/maildomain-operator/internal/dmarc"
	"github.com/maildomain-operator/maildomain-operator/internal/mailauth"
	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

// texts is a DNS of TXT records; nobody answers for a name that has none but "FAIL".
type texts map[string]string

func (z texts) LookupTXT(_ context.Context, name string) ([]string, error) {
	switch value, found := z[name]; {
	case !found:
		return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	case value == "FAIL":
		return nil, &net.DNSError{Err: "no answer", Name: name, IsTemporary: true}
	default:
		return []string{value}, nil
	}
}

func (z texts) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

func (z texts) LookupIPAddr(_ context.Context, name string) ([]net.IPAddr, error) {
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

func (z texts) LookupAddr(_ context.Context, name string) ([]string, error) {
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

func (z texts) Exists(_ context.Context, name string) (bool, error) {
	_, found := z[name]
	return found, nil
}

// verifying starts a milter with a verifying listener.
func verifying(tb testing.TB, v Verification) (*rig, string) {
	tb.Helper()
	v.Timeout = time.Minute
	r := start(tb, files(tb, domain(tb, "example.org", key(tb, "sel", ed1))), func(c *Config) { c.Verification = &v })
	return r, "unix:" + r.listen(tb, RoleVerify)
}

// world publishes example.org's key and policy.
func world(tb testing.TB) texts {
	tb.Helper()
	return texts{
		"sel._domainkey.example.org": pair(tb, ed1).Record().String(),
		"_dmarc.example.org":         "v=DMARC1; p=reject",
		"example.org":                "v=spf1 ip4:192.0.2.1 -all",
	}
}

func receive(tb testing.TB, socket string, m miltertest.Message, opt miltertest.Options) (miltertest.Reply, string) {
	tb.Helper()
	c, err := miltertest.Dial(tb.Context(), socket, opt)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	reply, out, err := c.Send(m)
	if err != nil {
		tb.Fatal(err)
	}
	return reply, string(out)
}

// inbound is mail of example.org's from elsewhere.
func inbound(tb testing.TB, raw []byte) miltertest.Message {
	tb.Helper()
	return miltertest.Message{Raw: raw, Client: addr(tb, "198.51.100.9"), Sender: "<alice@example.org>", QueueID: "Q1"}
}

func TestMailThatComesInIsToldWhatWasFound(t *testing.T) {
	r, socket := verifying(t, Verification{Resolver: world(t)})
	_, signed := r.send(t, miltertest.Message{Raw: from("alice@example.org")})

	reply, out := receive(t, socket, inbound(t, signed), miltertest.Options{})
	want := `Authentication-Results: mx.example.net;
	dkim=pass (Ed25519 key) header.d=example.org header.s=sel
	header.a=ed25519-sha256 header.b=X;
	spf=fail (example.org does not allow 198.51.100.9 to send)
	smtp.mailfrom=example.org;
	spf=none (client.example has no SPF record) smtp.helo=client.example;
	dmarc=pass header.from=example.org policy.dmarc=reject
`
	field, rest, _ := strings.Cut(strings.ReplaceAll(out, "\r\n", "\n"), "DKIM-Signature")
	if at := strings.Index(field, "header.b="); at > 0 {
		end := strings.IndexByte(field[at:], ';')
		field = field[:at] + "header.b=X" + field[at+end:]
	}
	if diff := cmp.Diff(want, field); diff != "" || !reply.Accepted {
		t.Errorf("%+v want (-), got (+):\n%s", reply, diff)
	}
	if "DKIM-Signature"+rest != strings.ReplaceAll(string(signed), "\r\n", "\n") {
		t.Errorf("something else was changed:\n%s", rest)
	}
	for _, result := range [][]string{{"dkim", "pass"}, {"spf", "fail"}, {"dmarc", "pass"}} {
		if n := r.count(t, "results_total", result...); n != 1 {
			t.Errorf("%v: %v", result, n)
		}
	}
	if n := r.count(t, "messages_total", "tag", "judged"); n != 1 {
		t.Errorf("messages: %v", n)
	}
	if log := r.log.String(); !strings.Contains(log, `"queue_id":"Q1","action":"tag","reason":"judged","dkim":"pass","spf":"fail","dmarc":"pass","domain":"example.org"`) ||
		strings.Contains(log, "alice") || strings.Contains(log, "198.51.100.9") {
		t.Error(log)
	}
}

func TestAMessageIsJudgedTheSameWhateverTheMTANegotiates(t *testing.T) {
	r, socket := verifying(t, Verification{Resolver: world(t)})
	_, signed := r.send(t, miltertest.Message{Raw: from("alice@example.org")})
	for _, opt := range []miltertest.Options{{Version: 2, Protocol: 0x7f}, {Version: 6}, {Protocol: 0x1fffff &^ miltertest.HeaderLeadSpace}} {
		if _, out := receive(t, socket, inbound(t, signed), opt); !strings.Contains(out, "dkim=pass") || !strings.Contains(out, "dmarc=pass") {
			t.Errorf("%+v:\n%s", opt, out)
		}
	}
}

func TestAMessageThatIsAbortedLeavesNothingToJudge(t *testing.T) {
	r, socket := verifying(t, Verification{Resolver: world(t)})
	_, signed := r.send(t, miltertest.Message{Raw: from("alice@example.org")})
	signed = append([]byte("Authentication-Results: other.example; none\r\n"), signed...)
	stages := []func(*miltertest.Conn) error{
		func(c *miltertest.Conn) error { return c.Begin(addr(t, "198.51.100.9")) },
		func(c *miltertest.Conn) error {
			return c.Envelope(miltertest.Message{Sender: "<mallory@evil.example>"})
		},
		func(c *miltertest.Conn) error {
			return c.Header("Authentication-Results", " mx.example.net; dkim=pass")
		},
		func(c *miltertest.Conn) error { return c.Header("From", " mallory@evil.example") },
		func(c *miltertest.Conn) error { return c.Command('N', nil) },
		func(c *miltertest.Conn) error { return c.Command('B', []byte("evil\r\n")) },
	}
	for _, opt := range protocols {
		c, err := miltertest.Dial(t.Context(), socket, opt) // One connection for all.
		if err != nil {
			t.Fatal(err)
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
			reply, out, err := c.Send(inbound(t, signed))
			field, rest, _ := strings.Cut(string(out), "Authentication-Results: other.example; none\r\n")
			if err != nil || !reply.Accepted || !strings.Contains(field, "smtp.mailfrom=example.org") || !strings.Contains(field, "dmarc=pass header.from=example.org") ||
				!strings.HasPrefix(rest, "DKIM-Signature:") {
				t.Errorf("version %d with %#x, after an abort at stage %d: %+v %v\n%s", opt.Version, opt.Protocol, last, reply, err, out)
			}
		}
		_ = c.Close()
	}
	if n := r.count(t, "forged_results_total"); n != 0 {
		t.Errorf("%v forged", n)
	}
}

func TestForgedResultsAreRemovedAndOthersStay(t *testing.T) {
	r, socket := verifying(t, Verification{Resolver: world(t)})
	raw := "Authentication-Results: mx.example.net; dkim=pass header.d=bank.example\r\n" +
		"Authentication-Results: other.example; spf=pass\r\n" +
		"ARC-Authentication-Results: i=1; mx.example.net; dkim=pass\r\n" +
		"AUTHENTICATION-RESULTS:\r\n\t(a (nested) comment)\r\n \"MX.example.net\" 1;\r\n dmarc=pass\r\n" +
		string(from("alice@example.org"))
	raw = strings.Replace(raw, "Subject:", "authentication-results: MX.EXAMPLE.NET. ; none\r\nAuthentication-Results: third.example; none\r\nSubject:", 1)
	reply, out := receive(t, socket, inbound(t, []byte(raw)), miltertest.Options{})
	if !reply.Accepted {
		t.Fatalf("%+v", reply)
	}
	_, rest, _ := strings.Cut(out, "policy.dmarc=reject\r\n")
	want := "Authentication-Results: other.example; spf=pass\r\n" +
		"ARC-Authentication-Results: i=1; mx.example.net; dkim=pass\r\n" +
		strings.Replace(string(from("alice@example.org")), "Subject:", "Authentication-Results: third.example; none\r\nSubject:", 1)
	if diff := cmp.Diff(want, rest); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if n := r.count(t, "forged_results_total"); n != 3 {
		t.Errorf("%v forged", n)
	}
}

func TestWhatIsDoneAboutWhatIsFound(t *testing.T) {
	z := world(t)
	z["_dmarc.open.example"] = "FAIL"
	for _, tt := range []struct {
		name    string
		actions map[Finding]Action
		author  string
		want    string // reply, "hold: …" or ""
	}{
		{"nothing is done unless told", nil, "alice@example.org", ""},
		{"reject", map[Finding]Action{FindingDMARCReject: Reject}, "alice@example.org", "550 5.7.26 example.org asks to reject mail that neither its signature nor SPF proves to be its own"},
		{"quarantine", map[Finding]Action{FindingDMARCReject: Quarantine}, "alice@example.org", "hold: example.org asks to reject mail that neither its signature nor SPF proves to be its own"},
		{"another finding", map[Finding]Action{FindingDMARCQuarantine: Reject}, "alice@example.org", ""},
		{"SPF alone", map[Finding]Action{"spf_fail": Reject}, "alice@example.org", "550 5.7.23 example.org does not allow this client to send"},
		{"the strictest", map[Finding]Action{"spf_fail": Reject, FindingDMARCReject: Quarantine}, "alice@example.org", "550 5.7.23 example.org does not allow this client to send"},
		{"what is open may wait", map[Finding]Action{"dmarc_temperror": Tempfail}, "a@open.example", "451 4.7.0 The DNS does not say now whether this is of open.example; try again later"},
		{"an author that cannot be read", map[Finding]Action{"dmarc_permerror": Reject}, "alice", "550 5.7.26 The author or its DMARC record cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, socket := verifying(t, Verification{Resolver: z, Actions: tt.actions})
			reply, out := receive(t, socket, inbound(t, from(tt.author)), miltertest.Options{})
			got := reply.Text
			if reply.Quarantined != "" {
				got = "hold: " + reply.Quarantined
			}
			if got != tt.want || reply.Accepted != strings.Contains(out, "Authentication-Results: mx.example.net;") {
				t.Errorf("got  %q\nwant %q\n%s", got, tt.want, out)
			}
		})
	}
}

func TestFindings(t *testing.T) {
	failed := mailauth.Author{Result: mailauth.Fail, Domain: "example.org"}
	with := func(p dmarc.Policy) mailauth.Author { a := failed; a.Policy = p; return a }
	spf := func(r mailauth.Result) []mailauth.Sender {
		return []mailauth.Sender{{Result: r, Domain: "example.org"}}
	}
	signed := func(r mailauth.Result, testing bool) []mailauth.Signature {
		return []mailauth.Signature{{Result: r, Testing: testing}}
	}
	for _, tt := range []struct {
		name string
		v    mailauth.Verdict
		want []Finding
	}{
		{"an aligned pass excuses all", mailauth.Verdict{DMARC: mailauth.Author{Result: mailauth.Pass}, SPF: spf(mailauth.Fail), DKIM: signed(mailauth.Fail, false)}, nil},
		{"by policy", mailauth.Verdict{DMARC: with(dmarc.Reject)}, []Finding{FindingDMARCReject}},
		{"by policy", mailauth.Verdict{DMARC: with(dmarc.Quarantine)}, []Finding{FindingDMARCQuarantine}},
		{"by policy", mailauth.Verdict{DMARC: with(dmarc.None)}, []Finding{FindingDMARCFail}},
		{"nothing to check is no finding", mailauth.Verdict{DMARC: mailauth.Author{Result: mailauth.None}, SPF: spf(mailauth.None)}, nil},
		{"SPF that says nothing is no finding", mailauth.Verdict{DMARC: mailauth.Author{Result: mailauth.None}, SPF: spf(mailauth.Neutral)}, nil},
		{"a broken signature", mailauth.Verdict{DMARC: mailauth.Author{Result: mailauth.None}, DKIM: signed(mailauth.Fail, false)}, []Finding{"dkim_fail"}},
		{"a broken signature of who tests", mailauth.Verdict{DMARC: mailauth.Author{Result: mailauth.None}, DKIM: signed(mailauth.Fail, true)}, nil},
		{
			"all at once",
			mailauth.Verdict{DMARC: mailauth.Author{Result: mailauth.TempError}, SPF: spf(mailauth.SoftFail), DKIM: signed(mailauth.Unacceptable, false)},
			[]Finding{"dmarc_temperror", "spf_softfail", "dkim_policy"},
		},
	} {
		known, _ := Findings()
		got := slices.DeleteFunc(found(tt.v), func(f Finding) bool { return !slices.Contains(known, f) })
		if diff := cmp.Diff(tt.want, got); diff != "" && len(got)+len(tt.want) > 0 {
			t.Errorf("%s: want (-), got (+):\n%s", tt.name, diff)
		}
	}
}

func TestNothingIsLostWhereTheJudgeFails(t *testing.T) {
	r, socket := verifying(t, Verification{Resolver: nil}) // It panics when it is asked.
	reply, _ := receive(t, socket, inbound(t, from("alice@example.org")), miltertest.Options{})
	if reply.Accepted || reply.Text != notReady {
		t.Errorf("%+v", reply)
	}
	if n := r.count(t, "panics_total"); n != 1 {
		t.Errorf("%v panics", n)
	}
}

func TestAServerWithoutANameJudgesNothing(t *testing.T) {
	r, _ := verifying(t, Verification{Resolver: world(t)})
	m := r.handlers[RoleVerify].begin(origin{mta: "localhost"}, envelope{})
	if v := m.end(t.Context(), "Q1"); v.pass || !strings.HasPrefix(v.reply, "451 4.3.5 ") || !strings.Contains(r.log.String(), "--authserv-id is not set") {
		t.Errorf("%+v\n%s", v, r.log)
	}
	r, socket := verifying(t, Verification{Resolver: world(t), AuthservID: "example.net"})
	if _, out := receive(t, socket, inbound(t, from("alice@example.org")), miltertest.Options{}); !strings.HasPrefix(out, "Authentication-Results: example.net;") {
		t.Errorf("%s\n%s", out, r.log)
	}
}

// listen serves another socket of the rig's in a role.
func (r *rig) listen(tb testing.TB, role Role) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "s")
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(context.Background(), l, role) }()
	tb.Cleanup(func() {
		_ = l.Close()
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) {
			tb.Error(err)
		}
	})
	return path
}
