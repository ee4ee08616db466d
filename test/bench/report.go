// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// names is the order of the table.
var names = []string{withOpenSSL, pureGo, openDKIM}

// print writes the table and the lines that others read.
func (b *bench) print() {
	fmt.Printf("\nmedians of n = %d turns of %s for each contestant, in rounds; RSS after the run\n\n", b.rounds, b.slice)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "key\tmessage\tsessions\tmilter\tmsgs/s\tp50 ms\tp99 ms\tCPU ms\tRSS MB\tto OpenDKIM\tof openssl speed\t")
	for _, c := range b.cases() {
		for _, name := range names {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t\n", keyName(c.algorithm), sizeName(c.size), c.sessions, name, strings.Join(b.row(c, name), "\t"))
		}
	}
	_ = w.Flush()
	for _, name := range names {
		if s, ok := b.soaks[name]; ok {
			fmt.Printf("\n%s: RSS in MB after each tenth of %d messages of %s: %s", name, s.messages, sizeName(target.size), trim(s.resident))
		}
	}
	fmt.Printf("\nopenssl speed, %d cores: rsa2048 %.0f, ed25519 %.0f signatures/s\n\n", runtime.NumCPU(), median(b.speed[dkim.RSA]), median(b.speed[dkim.Ed25519]))

	t := b.turns[target]
	fmt.Printf("processor time for a message of %s: OpenDKIM spends %.2f times what %s does, and %.2f times what %s does\n\n",
		sizeName(target.size), 1/ratio(t[withOpenSSL], t[openDKIM], cpuOf), withOpenSSL, 1/ratio(t[pureGo], t[openDKIM], cpuOf), pureGo)
	fmt.Printf("ratio_openssl_10k_c8 %.2f\n", ratio(t[withOpenSSL], t[openDKIM], rateOf))
	fmt.Printf("ratio_pure_10k_c8 %.2f\n", ratio(t[pureGo], t[openDKIM], rateOf))
	fmt.Printf("share_of_openssl_speed %.2f\n", share(t[withOpenSSL], b.speed[dkim.RSA]))
	fmt.Printf("p99_ratio_10k_c8 %.2f\n", ratio(t[withOpenSSL], t[openDKIM], p99Of))
	fmt.Printf("rss_mb %.1f\n", b.residentAtTheEnd(withOpenSSL, dkim.RSA))
	fmt.Printf("sign_1mb_vs_sha256 %.2f\n", bodyRatio(b.body))
	fmt.Printf("cpu_ifma %s\n", hasIFMA())
}

// row is what the table says of one contestant in one case.
func (b *bench) row(c benchCase, name string) []string {
	turns := b.turns[c][name]
	if len(turns) == 0 {
		return slices.Repeat([]string{"n/a"}, 7) // OpenDKIM has no Ed25519
	}
	peer, speed := "n/a", ""
	if len(b.turns[c][openDKIM]) > 0 {
		peer = fmt.Sprintf("%.2f", ratio(turns, b.turns[c][openDKIM], rateOf))
	}
	if c.size == target.size && c.sessions == target.sessions {
		speed = fmt.Sprintf("%.2f", share(turns, b.speed[c.algorithm]))
	}
	return []string{
		fmt.Sprintf("%.0f", median(each(turns, rateOf))), fmt.Sprintf("%.2f", median(each(turns, p50Of))), fmt.Sprintf("%.2f", median(each(turns, p99Of))),
		fmt.Sprintf("%.3f", median(each(turns, cpuOf))),
		fmt.Sprintf("%.1f", b.residentAtTheEnd(name, c.algorithm)), peer, speed,
	}
}

// residentAtTheEnd is the memory of a contestant now that it has done everything.
func (b *bench) residentAtTheEnd(name string, a dkim.Algorithm) float64 {
	for _, x := range b.contestants {
		if x.name == name && x.algorithm == a {
			return x.residentMB()
		}
	}
	return 0
}

func rateOf(t turnResult) float64 { return t.rate }
func p50Of(t turnResult) float64  { return t.p50 }
func p99Of(t turnResult) float64  { return t.p99 }

func cpuOf(t turnResult) float64 { return t.cpu }

func each(turns []turnResult, of func(turnResult) float64) []float64 {
	values := make([]float64, len(turns))
	for i, t := range turns {
		values[i] = of(t)
	}
	return values
}

// ratio is the median over the rounds of what two had side by side.
func ratio(a, b []turnResult, of func(turnResult) float64) float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = of(a[i]) / of(b[i])
	}
	return median(ratios)
}

// share is the median over the rounds of a contestant's rate as a part of all that the cores can sign.
func share(turns []turnResult, speed []float64) float64 {
	shares := make([]float64, min(len(turns), len(speed)))
	for i := range shares {
		shares[i] = turns[i].rate / speed[i]
	}
	return median(shares)
}

func bodyRatio(rounds []bodyRound) float64 {
	ratios := make([]float64, len(rounds))
	for i, r := range rounds {
		ratios[i] = float64(r.ours) / float64(r.sha256)
	}
	return median(ratios)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// latest is the rates of the round that has just ended.
func latest(field []*contestant, results map[string][]turnResult) string {
	var out []string
	for _, x := range field {
		turns := results[x.name]
		out = append(out, fmt.Sprintf("%s %.0f/s", x.name, turns[len(turns)-1].rate))
	}
	return strings.Join(out, ", ")
}

func trim(values []float64) string {
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprintf("%.1f", v))
	}
	return strings.Join(out, " ")
}

func keyName(a dkim.Algorithm) string {
	if a == dkim.RSA {
		return "RSA 2048"
	}
	return string(a)
}

func sizeName(octets int) string {
	if octets >= 1<<20 {
		return fmt.Sprintf("%d MB", octets>>20)
	}
	return fmt.Sprintf("%d KB", octets>>10)
}
