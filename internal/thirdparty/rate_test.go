// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package thirdparty

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/spf"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

// lookQuestions is what docs/probing.md computes with: a tree of ten lookups, each in a zone of its own.
const lookQuestions = 20

func TestALookTakesAsManyQuestionsAsIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/probing.md")
	if err != nil {
		t.Fatal(err)
	}
	interval := New(Options{}).options.Interval
	line := fmt.Sprintf("10,000 × %d questions / %.0f s = %.0f questions a second", lookQuestions, interval.Seconds(), 10000*lookQuestions/interval.Seconds())
	if !strings.Contains(string(text), line) {
		t.Errorf("docs/probing.md does not say %q", line)
	}

	var sites []nameserver.Site
	record := "v=spf1"
	for i := range spf.MaxLookups + 1 { // the first one is there to have the top-level zone known, as it is after any look
		zone := fmt.Sprintf("z%d.test", i)
		sites = append(sites, nameserver.Site{Zone: zone, Addrs: []string{"127.0.0.3", "127.0.0.4"}, Records: `@ TXT "v=spf1 -all"`})
		if i > 0 {
			record += " include:" + zone
		}
	}
	world, err := nameserver.StartWorld(t.Context(), nameserver.World{Sites: sites})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	prober := dnscheck.New(dnscheck.Options{Now: time.Now, Roots: world.Roots(), Port: world.Port(), Rate: 1e6, ServerRate: 1e6}) //nolint:forbidigo // time plays no part
	evaluate(t, prober.Inquiry(dnscheck.Policy{}), "v=spf1 include:z0.test -all")
	for _, s := range world.Servers() {
		s.ResetCounts()
	}
	tree := evaluate(t, prober.Inquiry(dnscheck.Policy{}), record+" -all")
	asked := 0
	for _, s := range world.Servers() {
		asked += s.Queries("", dns.TypeANY)
	}
	if tree.Lookups != spf.MaxLookups || tree.PermError != "" || asked != lookQuestions {
		t.Errorf("%d questions for %+v", asked, tree)
	}
}
