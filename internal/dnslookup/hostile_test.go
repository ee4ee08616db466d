// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnslookup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// rr makes a record.
func rr(tb testing.TB, text string) dns.RR {
	tb.Helper()
	record, err := dns.NewRR(text)
	if err != nil {
		tb.Fatal(err)
	}
	return record
}

// TestHostileAnswersAreBounded: each is a server that whoever sends a message may own.
func TestHostileAnswersAreBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(network string, q dns.Question, m *dns.Msg) bool
		want   func(values []string, err error) bool
	}{
		"more than fits into UDP comes over TCP": {
			func(network string, q dns.Question, m *dns.Msg) bool {
				if m.Truncated = network == "udp"; !m.Truncated {
					m.Answer = append(m.Answer, rr(t, q.Name+` 60 TXT "`+strings.Repeat("x", 250)+`"`))
				}
				return true
			},
			func(values []string, err error) bool { return err == nil && len(values[0]) == 250 },
		},
		"truncated over TCP, too": {
			func(_ string, _ dns.Question, m *dns.Msg) bool { m.Truncated = true; return true },
			func(_ []string, err error) bool { return temporary(err) },
		},
		"thousands of records": {
			func(network string, q dns.Question, m *dns.Msg) bool {
				m.Truncated = network == "udp"
				for i := range 2000 {
					if !m.Truncated {
						m.Answer = append(m.Answer, rr(t, fmt.Sprintf(`%s 60 TXT "%d"`, q.Name, i)))
					}
				}
				return true
			},
			func(_ []string, err error) bool { return temporary(err) && strings.Contains(err.Error(), "more than") },
		},
		"sixty kilobytes in one record": {
			func(network string, q dns.Question, m *dns.Msg) bool {
				if m.Truncated = network == "udp"; !m.Truncated {
					m.Answer = append(m.Answer, rr(t, q.Name+` 60 TXT`+strings.Repeat(` "`+strings.Repeat("x", 255)+`"`, 240)))
				}
				return true
			},
			func(values []string, err error) bool { return err == nil && len(values[0]) == 240*255 },
		},
		"an alias to itself": {
			func(_ string, q dns.Question, m *dns.Msg) bool {
				m.Answer = append(m.Answer, rr(t, q.Name+" 60 CNAME "+q.Name))
				return true
			},
			func(_ []string, err error) bool { return temporary(err) && strings.Contains(err.Error(), "aliases") },
		},
		"two aliases in a circle": {
			func(_ string, q dns.Question, m *dns.Msg) bool {
				m.Answer = append(m.Answer, rr(t, q.Name+" 60 CNAME b.example."), rr(t, "b.example. 60 CNAME "+q.Name))
				return true
			},
			func(_ []string, err error) bool { return temporary(err) && strings.Contains(err.Error(), "aliases") },
		},
		"a long chain of aliases": {
			func(_ string, q dns.Question, m *dns.Msg) bool {
				name := q.Name
				for i := range 12 {
					next := fmt.Sprintf("n%d.example.", i)
					m.Answer = append(m.Answer, rr(t, name+" 60 CNAME "+next))
					name = next
				}
				m.Answer = append(m.Answer, rr(t, name+` 60 TXT "far away"`))
				return true
			},
			func(_ []string, err error) bool { return temporary(err) && strings.Contains(err.Error(), "aliases") },
		},
		"records of another name": {
			func(_ string, _ dns.Question, m *dns.Msg) bool {
				m.Answer = append(m.Answer, rr(t, `victim.example. 60 TXT "poison"`))
				return true
			},
			func(values []string, err error) bool { return notFound(err) && len(values) == 0 },
		},
		"records of another class": {
			func(_ string, q dns.Question, m *dns.Msg) bool {
				m.Answer = append(m.Answer, rr(t, q.Name+` 60 CH TXT "chaos"`))
				return true
			},
			func(_ []string, err error) bool { return notFound(err) },
		},
		"an answer to another question": {
			func(network string, q dns.Question, m *dns.Msg) bool {
				m.Question[0].Name = "other.example."
				m.Answer = append(m.Answer, rr(t, q.Name+` 60 TXT "poison"`))
				m.Truncated = false
				return network == "tcp" || q.Name == "a.example." // never the right one
			},
			func(_ []string, err error) bool { return temporary(err) },
		},
		"a response code that does not exist": {
			func(_ string, _ dns.Question, m *dns.Msg) bool { m.Rcode = 14; return true },
			func(_ []string, err error) bool { return temporary(err) && strings.Contains(err.Error(), "code 14") },
		},
		"a TTL with its highest bit set": {
			func(_ string, q dns.Question, m *dns.Msg) bool {
				m.Answer = append(m.Answer, rr(t, q.Name+` 4294967295 TXT "v"`))
				return true
			},
			func(values []string, err error) bool { return err == nil && len(values) == 1 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newResolver(t, serve(t, tt.answer))
			if name == "an answer to another question" {
				r.cfg.Timeout = 20e6 // it waits in vain, so not for long
			}
			values, err := r.LookupTXT(t.Context(), "a.example")
			if !tt.want(values, err) {
				t.Errorf("%d values, %v", len(values), err)
			}
		})
	}
}

// FuzzReadReply: whatever a server answers to a question of any type that mail asks, what is kept is bounded and of the
// name and type that was asked for.
func FuzzReadReply(f *testing.F) {
	types := []uint16{dns.TypeTXT, dns.TypeMX, dns.TypeA, dns.TypeAAAA, dns.TypePTR}
	asking := func(i uint8) *dns.Msg {
		query := new(dns.Msg)
		query.SetQuestion("a.example.", types[int(i)%len(types)])
		query.Id = 1
		return query
	}
	for i, records := range []string{
		"a.example. 60 TXT \"v=DKIM1; p=\" \"AAAA\"", "a.example. 60 MX 10 b.example.", "a.example. 60 A 192.0.2.1", "a.example. 60 AAAA 2001:db8::1",
		"a.example. 60 PTR b.example.", "a.example. 60 CNAME b.example.\nb.example. 60 TXT \"\\000\\255\"", "example. 60 SOA a. b. 1 2 3 4 5",
	} {
		m := new(dns.Msg)
		m.SetReply(asking(uint8(i)))
		for line := range strings.Lines(records) {
			if record := rr(f, line); record.Header().Rrtype == dns.TypeSOA {
				m.Ns = append(m.Ns, record)
			} else {
				m.Answer = append(m.Answer, record)
			}
		}
		m.Compress = true
		packet, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), packet)
	}
	f.Add(uint8(2), []byte("\x00\x01\x80\x00\x00\x01\x00\x00\x00\x01\x00\x00\x01a\x07example\x00\x00\x01\x00\x01\xc0\x0c\x00\x2f\x00\x01\x00\x00\x00\x3c\x00\x14\xc0\x0c\x00\x11\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80"))
	f.Add(uint8(0), []byte("\x00\x01\x80\x00\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0c\x00\x10\x00\x01"))
	f.Fuzz(func(t *testing.T, i uint8, packet []byte) {
		query := asking(i)
		m, mine := readReply(query, packet)
		if !mine {
			m, mine = readReply(query, addressed(t, query, packet))
		}
		if !mine || m == nil {
			return
		}
		a := readAnswer(question{name: "a.example.", rrtype: query.Question[0].Qtype}, m)
		values := len(a.texts) + len(a.hosts) + len(a.addrs) + len(a.names)
		asked := map[uint16]int{
			dns.TypeTXT: len(a.texts), dns.TypeMX: len(a.hosts), dns.TypeA: len(a.addrs), dns.TypeAAAA: len(a.addrs), dns.TypePTR: len(a.names),
		}[query.Question[0].Qtype]
		switch {
		case values != asked:
			t.Fatalf("%d values, %d of them of the type that was asked for", values, asked)
		case a.err == nil && values > maxRecords, a.err != nil && values > 0:
			t.Fatalf("%d values, %v", values, a.err)
		case a.noName && !errors.Is(a.err, errNotThere):
			t.Fatalf("there is no name, and yet %v", a.err)
		case a.ttl < 0 || a.ttl > maxPositive:
			t.Fatalf("remembered for %s", a.ttl)
		case a.size() > 64*len(packet)+4096:
			t.Fatalf("%d octets of %d", a.size(), len(packet))
		}
	})
}

// addressed makes of any packet one that answers a query: most of what a fuzzer thinks of is no reply to anything, and says
// nothing of what is made of replies.
func addressed(tb testing.TB, query *dns.Msg, packet []byte) []byte {
	tb.Helper()
	asked, err := query.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	const header = 12
	if len(packet) < header {
		return packet
	}
	reply := append(slices.Clone(asked), packet[header:]...)
	reply[2] = 0x80                         // a response, to a query
	reply[3] = packet[3]                    // its code
	copy(reply[6:header], packet[6:header]) // how many records it has
	return reply
}
