// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package bind

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// Dig runs dig at a server and returns what it prints. An answer that is an error, or none, is an error here.
func Dig(ctx context.Context, server netip.Addr, args ...string) (string, error) {
	dig, err := process.Find("dig", "bind9-dnsutils")
	if err != nil {
		return "", err
	}
	args = append([]string{"@" + server.String(), "+time=2", "+tries=2"}, args...)
	out, err := exec.CommandContext(ctx, dig, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("dig %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Serial is the serial of a zone's SOA at a server.
func Serial(ctx context.Context, server netip.Addr, zone string) (string, error) {
	out, err := Dig(ctx, server, "+short", "SOA", zone)
	if err != nil {
		return "", err
	}
	fields := strings.Fields(out)
	if len(fields) < 3 {
		return "", fmt.Errorf("%s has no SOA of %s: %q", server, zone, out)
	}
	return fields[2], nil
}

// Transfer is all that the primary has of a zone, a record a line, sorted, without the SOA.
func Transfer(ctx context.Context, zone string) ([]string, error) {
	out, err := Dig(ctx, Primary, "+noall", "+answer", "+onesoa", "AXFR", zone)
	if err != nil {
		return nil, err
	}
	var records []string
	soa := false
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 4 || strings.HasPrefix(line, ";"):
		case fields[3] == "SOA":
			soa = true
		default:
			records = append(records, strings.TrimRight(line, "\n"))
		}
	}
	if !soa {
		return nil, fmt.Errorf("the transfer of %s failed: %s", zone, out)
	}
	slices.Sort(records)
	return records, nil
}

// Edit changes a zone as a person with an editor would: lines are commands of nsupdate, such as `add NAME TTL TXT "…"`.
func (w *World) Edit(ctx context.Context, zone string, lines ...string) error {
	nsupdate, err := process.Find("nsupdate", "bind9-dnsutils")
	if err != nil {
		return err
	}
	script := slices.Concat([]string{"server " + Primary.String(), "zone " + zone}, lines, []string{"send", ""})
	command := exec.CommandContext(ctx, nsupdate, "-k", filepath.Join(w.dir, "named-primary", "person.key"))
	command.Stdin = strings.NewReader(strings.Join(script, "\n"))
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nsupdate %s: %w: %s", zone, err, out)
	}
	return nil
}
