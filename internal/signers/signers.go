// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package signers asks the pods that sign which keys they hold, at the /keys that a milter serves.
//
// Whoever answers there is a tenant's pod: what it says is bounded, never followed elsewhere and never repeated to people.
// An answer that cannot be had says nothing: a pod that does not tell may still sign.
package signers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// Signer is a pod that signs.
type Signer struct {
	Name string
	Addr netip.AddrPort // where it serves /keys
}

// Bounds of a round of questions.
const (
	maxAnswer   = 1 << 20 // octets; a domain takes less than 1 KiB
	maxHeader   = 16 << 10
	patience    = 2 * time.Second // for one pod
	maxParallel = 16
)

// Asker asks. The zero value is ready for use.
type Asker struct{}

// Holding names the signers that hold a selector of a domain, or that do not tell, sorted; each with the reason in
// words that stay the same as long as the cause does.
func (Asker) Holding(ctx context.Context, all []Signer, domain dnsrecord.Name, selector string) []string {
	client := newClient()
	defer client.CloseIdleConnections()
	held := make([]string, len(all))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallel)
	for i, s := range all {
		group.Go(func() error {
			if why := judge(groupCtx, client, s, domain, selector); why != "" {
				held[i] = "pod " + s.Name + " " + why
			}
			return nil
		})
	}
	_ = group.Wait() // no question fails the round
	held = slices.DeleteFunc(held, func(why string) bool { return why == "" })
	slices.Sort(held)
	return held
}

// newClient goes straight to the pod: by no proxy, to no other place, and not through a connection of an earlier round.
func newClient() *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func judge(ctx context.Context, client *http.Client, s Signer, domain dnsrecord.Name, selector string) string {
	report, err := ask(ctx, client, s.Addr)
	switch {
	case err != nil:
		return err.Error()
	case report.Blind != "":
		return "cannot read all of its keys, so that it may hold " + selector
	case holds(report, domain, selector):
		return "still holds " + selector
	}
	return ""
}

func holds(report keydir.Report, domain dnsrecord.Name, selector string) bool {
	return slices.ContainsFunc(report.Domains, func(d keydir.ReportDomain) bool {
		return strings.EqualFold(d.Domain, domain.String()) && slices.ContainsFunc(d.Keys, func(k keydir.ReportKey) bool {
			return strings.EqualFold(k.Selector, selector)
		})
	})
}

var errTooLong = errors.New("answers with more than 1 MiB at /keys")

// ask reads one report. The errors are told to people: they hold nothing of what was answered, and no port of ours.
func ask(ctx context.Context, client *http.Client, addr netip.AddrPort) (keydir.Report, error) {
	var report keydir.Report
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+"/keys", nil)
	if err != nil {
		return report, fmt.Errorf("cannot be asked at %s", addr)
	}
	response, err := client.Do(request)
	if err != nil {
		return report, fmt.Errorf("does not answer at %s", addr)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return report, fmt.Errorf("answers %d at %s/keys, not which keys it holds", response.StatusCode, addr)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return report, fmt.Errorf("breaks its answer off at %s/keys", addr)
	}
	if len(body) > maxAnswer {
		return report, errTooLong
	}
	return parse(body)
}

// parse reads a report; one without a list of domains is no report at all.
func parse(body []byte) (keydir.Report, error) {
	var report keydir.Report
	if err := json.Unmarshal(body, &report); err != nil || report.Domains == nil {
		return keydir.Report{}, errors.New("does not say which keys it holds at /keys")
	}
	return report, nil
}
