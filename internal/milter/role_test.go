// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

// scripted is a handler that notes what it is told and says what it is told to say.
type scripted struct {
	ask     terms
	say     verdict
	origins []origin
	told    []string
}

func (h *scripted) terms() terms { return h.ask }

func (h *scripted) begin(o origin, e envelope) transaction {
	h.origins = append(h.origins, o)
	h.told = append(h.told, "from "+e.sender)
	return h
}

func (h *scripted) field(name string, value []byte) { h.told = append(h.told, name+":"+string(value)) }
func (h *scripted) endHeader()                      { h.told = append(h.told, "body") }
func (h *scripted) body(p []byte) {
	if len(p) > 0 {
		h.told = append(h.told, string(p))
	}
}

func (h *scripted) size() int { return 0 }

func (h *scripted) end(_ context.Context, queueID string) verdict {
	h.told = append(h.told, "end "+queueID)
	return h.say
}

func (h *scripted) fail(context.Context, string) verdict { panic("it fails at that, too") }

// serve runs a session of a handler on a pipe and returns the MTA's end.
func (r *rig) serve(tb testing.TB, h handler, opt miltertest.Options) *miltertest.Conn {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := NewServer(r.cfg)
	server.handlers["scripted"] = h
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), l, "scripted") }()
	c, err := miltertest.Dial(tb.Context(), "tcp:"+l.Addr().String(), opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = c.Close()
		_ = l.Close()
		if err := <-served; err == nil {
			tb.Error("that somebody closed the listener is no error")
		}
	})
	return c
}

func TestAHandlerIsToldTheWholeMessageAndWhereItComesFrom(t *testing.T) {
	r := start(t, files(t))
	h := &scripted{ask: terms{actions: addHeaders | changeHeaders | quarantine, unneeded: noRcpt}, say: verdict{pass: true}}
	c := r.serve(t, h, miltertest.Options{})
	if c.Actions != uint32(addHeaders|changeHeaders|quarantine) || c.Protocol&miltertest.NoHelo != 0 {
		t.Errorf("negotiated: actions %#x protocol %#x", c.Actions, c.Protocol)
	}
	reply, _, err := c.Send(miltertest.Message{
		Raw: []byte("From: a@example.org\r\nTo: b@example.net\r\n\r\nHi\r\n"), Client: addr(t, "2001:db8::1"), Login: "alice", QueueID: "Q7", Sender: "<a@example.org>",
	})
	if err != nil || !reply.Accepted {
		t.Fatalf("%+v %v", reply, err)
	}
	want := []origin{{client: addr(t, "2001:db8::1"), host: "client.example", helo: "client.example", login: "alice", mta: "mx.example.net"}}
	if diff := cmp.Diff(want, h.origins, cmp.AllowUnexported(origin{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("origin (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("from a@example.org|From: a@example.org|To: b@example.net|body|Hi\r\n|end Q7", strings.Join(h.told, "|")); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestAVerdictEditsTheHeaderAndHoldsTheMessage(t *testing.T) {
	r := start(t, files(t))
	h := &scripted{ask: terms{actions: addHeaders | changeHeaders | quarantine}, say: verdict{
		pass: true, quarantine: "looks forged",
		edits: []edit{{resChangeHeader, 2, "X", ""}, {resChangeHeader, 1, "X", "new\r\n\tvalue"}, insertOnTop("Y", "first")},
	}}
	for _, opt := range []miltertest.Options{{}, {Protocol: 0x1fffff &^ miltertest.HeaderLeadSpace}} {
		reply, out, err := r.serve(t, h, opt).Send(miltertest.Message{Raw: []byte("X: 1\r\nFrom: a@b\r\nX: 2\r\n\r\n")})
		if err != nil || !reply.Accepted || reply.Quarantined != "looks forged" {
			t.Errorf("%+v %v", reply, err)
		}
		if want := "Y: first\r\nX: new\r\n\tvalue\r\nFrom: a@b\r\n\r\n"; string(out) != want {
			t.Errorf("with %#x:\n%q\nwant\n%q", opt.Protocol, out, want)
		}
	}
}

func TestAVerdictThatSaysNothingRefusesTheMessage(t *testing.T) {
	r := start(t, files(t))
	reply, _, err := r.serve(t, &scripted{ask: terms{actions: addHeaders}}, miltertest.Options{}).Send(miltertest.Message{Raw: from("a@b.example")})
	if err != nil || reply.Text != notReady {
		t.Errorf("%+v %v", reply, err)
	}
}

func TestAListenerOfNoRoleIsRefused(t *testing.T) {
	r := start(t, files(t))
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Serve(t.Context(), l, "dance"); err == nil || !strings.Contains(err.Error(), "nothing is set up to dance") {
		t.Errorf("error: %v", err)
	}
}
