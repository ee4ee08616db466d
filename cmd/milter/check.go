// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
	"github.com/maildomain-operator/maildomain-operator/internal/milter"
	"github.com/maildomain-operator/maildomain-operator/internal/rsasign"
)

// runCheck shows what would sign, never a private key, and fails if something is wrong.
func (o *options) runCheck(stdout io.Writer) error {
	if !o.watches() {
		fmt.Fprintln(stdout, "no key directory is given: nothing would be signed")
		return nil
	}
	live := &milter.Live{RequireSenders: o.requireSenders}
	now := time.Now()
	live.Apply(keydir.Watcher{Dirs: o.keys}.LoadAll(), now)
	report := live.Table().Report(now)

	fmt.Fprintf(stdout, "RSA signatures by %s\n", rsasign.Current())
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DOMAIN\tSTATE\tREQUIRED\tSUBDOMAINS\tSENDERS\tSELECTOR\tALGORITHM\tPUBLIC KEY SHA-256")
	entries := live.Table().Entries()
	for i, d := range report.Domains {
		line := fmt.Sprintf("%s\t%s\t%t\t%t\t%s", d.Domain, d.State, d.Required, d.Subdomains, senders(entries[i]))
		if len(d.Keys) == 0 {
			fmt.Fprintf(w, "%s\t-\t-\t-\n", line)
		}
		for _, k := range d.Keys {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", line, k.Selector, k.Algorithm, k.PublicKeySHA256)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var errs []error
	for _, f := range report.Faults {
		errs = append(errs, fmt.Errorf("%s: %s", f.Subject, f.Message))
	}
	for _, d := range report.Domains {
		if d.Required && len(d.Keys) == 0 && d.Fault == "" {
			errs = append(errs, fmt.Errorf("%s: is required and has no key, so its mail would wait", d.Domain))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("the key tree has %d faults:\n%w", len(errs), errors.Join(errs...))
	}
	return nil
}

// senders says who may send as a domain, without naming anybody.
func senders(e *milter.Entry) string {
	switch s := e.Senders; {
	case e.Unread:
		return "-"
	case s == nil:
		return "everybody"
	default:
		return fmt.Sprintf("%d logins, %d networks", len(s.Logins), len(s.Networks))
	}
}
