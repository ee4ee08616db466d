// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

func TestAGrantGivesExactlyWhatItNames(t *testing.T) {
	mail := labels.Set{"mail": "yes"}
	to := func(match map[string]v1alpha1.LabelValue, domains ...v1alpha1.GrantedDomain) []v1alpha1.Grant {
		return []v1alpha1.Grant{{NamespaceSelector: v1alpha1.LabelSelector{MatchLabels: match}, Domains: domains}}
	}
	yes := map[string]v1alpha1.LabelValue{"mail": "yes"}
	for name, c := range map[string]struct {
		grants    []v1alpha1.Grant
		namespace labels.Set
		domain    dnsrecord.Name
		want      bool
	}{
		"no grants allow nothing":                       {nil, mail, "example.org", false},
		"the name itself":                               {to(yes, "example.org"), mail, "example.org", true},
		"a name is not a pattern for what is below it":  {to(yes, "example.org"), mail, "a.example.org", false},
		"a wildcard stands for names below":             {to(yes, "*.example.org"), mail, "a.b.example.org", true},
		"a wildcard does not stand for the name above":  {to(yes, "*.example.org"), mail, "example.org", false},
		"labels are compared, not letters":              {to(yes, "*.example.org"), mail, "notexample.org", false},
		"case does not matter":                          {to(yes, "Example.ORG"), mail, "example.org", true},
		"another namespace has nothing":                 {to(yes, "example.org"), labels.Set{"mail": "no"}, "example.org", false},
		"a namespace whose labels are not known":        {to(yes, "example.org"), nil, "example.org", false},
		"an empty selector is everyone":                 {to(nil, "example.org"), nil, "example.org", true},
		"a U-label in the grant stands for its A-label": {to(yes, "bücher.example"), mail, "xn--bcher-kva.example", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Allows(c.grants, c.namespace, c.domain)
			if err != nil || got != c.want {
				t.Errorf("got %v (%v), want %v", got, err, c.want)
			}
		})
	}
}
