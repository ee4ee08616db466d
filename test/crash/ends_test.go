// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// abroad is where the domain moves to, another provider; above is the zone of its parent, at the same one.
var (
	abroad = site{"new", zoneName}
	above  = site{"dns", "example"}
)

// moving is where a domain is that moves, and the same stands at both.
var moving = all(places(abroad, home), equal(abroad, home))

// all expects everything that each of these does.
func all(ends ...func(*world) string) func(*world) string {
	return func(w *world) string {
		var wrong []string
		for _, end := range ends {
			wrong = append(wrong, end(w))
		}
		return strings.TrimSpace(strings.Join(wrong, "\n"))
	}
}

// phases expects the RSA keys to stand in these.
func phases(want ...string) func(*world) string {
	return func(w *world) string {
		var got []string
		for _, phase := range []v1alpha1.KeyPhase{"Pending", "Publishing", "Retiring", "Revoked", "Signing", "Standby"} {
			for range w.inPhase(phase) {
				got = append(got, string(phase))
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("the RSA keys are %v, not %v", got, want)
		}
		return ""
	}
}

// longer expects every RSA key that is not on its way out to have the size that the spec asks for.
func longer(w *world) string {
	for _, k := range append(w.inPhase("Signing"), w.inPhase("Standby")...) {
		if k.Status.Bits != 3072 {
			return fmt.Sprintf("%s has %d bits", k.Name, k.Status.Bits)
		}
	}
	return ""
}

// places expects the domain to be at one place, and others to be kept.
func places(inUse site, kept ...site) func(*world) string {
	want := []string{inUse.String() + " " + string(v1alpha1.PlaceInUse)}
	for _, s := range kept {
		want = append(want, s.String()+" "+string(v1alpha1.PlaceKept))
	}
	return func(w *world) string {
		var got []string
		for _, p := range w.domain().Status.Places {
			if p.State != v1alpha1.PlaceLeft {
				got = append(got, p.ProviderRef.Name+"/"+p.Zone+" "+string(p.State))
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Sprintf("the domain is at %v, not at %v", got, want)
		}
		return ""
	}
}

// equal expects both sites to hold the same, the marker left out: it counts its own changes.
func equal(a, b site) func(*world) string {
	return func(w *world) string {
		if here, there := w.standingAt(a), w.standingAt(b); !maps.Equal(here, there) || len(here) == 0 {
			return fmt.Sprintf("at %s stands %v, at %s %v", a, here, b, there)
		}
		return ""
	}
}

// clean expects nothing of ours to be left.
func clean(s site) func(*world) string {
	return func(w *world) string {
		for key, set := range w.dns.sites[s] {
			if len(set.Values) > 0 {
				return fmt.Sprintf("at %s %s is still %q", s, key.Name, set.Values)
			}
		}
		return ""
	}
}

// standingAt are the records of a site by name and type, without the marker.
func (w *world) standingAt(s site) map[string]string {
	found := map[string]string{}
	for key, set := range w.dns.sites[s] {
		if len(set.Values) > 0 && !strings.HasPrefix(key.Name.String(), "_maildomain.") {
			found[fmt.Sprint(key)] = fmt.Sprintf("%q", set.Values)
		}
	}
	return found
}
