// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func TestAbsentKeysMeanOneRSAKeyOf2048Bits(t *testing.T) {
	oneRSA := []WantedKey{{Algorithm: AlgorithmRSA, Bits: 2048}}
	for name, tc := range map[string]struct {
		dkim *DKIM
		want []WantedKey
	}{
		"no dkim":           {nil, nil},
		"dkim: {}":          {&DKIM{}, oneRSA},
		"RSA without bits":  {&DKIM{Keys: []WantedKey{{Algorithm: AlgorithmRSA}}}, oneRSA},
		"RSA of 4096 bits":  {&DKIM{Keys: []WantedKey{{Algorithm: AlgorithmRSA, Bits: 4096}}}, []WantedKey{{Algorithm: AlgorithmRSA, Bits: 4096}}},
		"Ed25519 beside it": {&DKIM{Keys: []WantedKey{{Algorithm: AlgorithmRSA}, {Algorithm: AlgorithmEd25519}}}, append(oneRSA, WantedKey{Algorithm: AlgorithmEd25519})},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.dkim.WantedKeys()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestFillingInDefaultsLeavesTheSpecAsItIs(t *testing.T) {
	dkim := &DKIM{Keys: []WantedKey{{Algorithm: AlgorithmRSA}}}
	dkim.WantedKeys()
	if dkim.Keys[0].Bits != 0 {
		t.Error("the object that a cache holds was changed")
	}
}

func TestTimesOfARotation(t *testing.T) {
	var absent *Rotation
	given := &Rotation{Overlap: &metav1.Duration{Duration: time.Hour}, Tombstone: &metav1.Duration{}}
	for name, tc := range map[string]struct{ got, want time.Duration }{
		"overlap without rotation":   {absent.OverlapOrDefault(), 336 * time.Hour},
		"tombstone without rotation": {absent.TombstoneOrDefault(), 720 * time.Hour},
		"overlap when absent":        {(&Rotation{}).OverlapOrDefault(), 336 * time.Hour},
		"overlap as given":           {given.OverlapOrDefault(), time.Hour},
		"tombstone of zero as given": {given.TombstoneOrDefault(), 0},
		"stage without rollout":      {(*Rollout)(nil).MinimumStageOrDefault(), 720 * time.Hour},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", name, tc.got, tc.want)
		}
	}
}

func TestNamesThatAreMadeUpWhereNoneIsGiven(t *testing.T) {
	domain := &MailDomain{ObjectMeta: metav1.ObjectMeta{Name: "example-org"}}
	if got := domain.SigningSecret(); got != "example-org-dkim" {
		t.Errorf("signing Secret %s", got)
	}
	domain.Spec.DKIM = &DKIM{SigningSecretName: "mail-signing", Selectors: &Selectors{Ring: []string{"a", "b", "c"}}}
	if got := domain.SigningSecret(); got != "mail-signing" {
		t.Errorf("signing Secret %s", got)
	}
	if got := domain.Spec.DKIM.SelectorPrefix(); got != "m" {
		t.Errorf("prefix %s", got)
	}
	if got := domain.Spec.DKIM.SelectorRing(); len(got) != 3 {
		t.Errorf("ring %v", got)
	}
	if got := (ProviderRef{Name: "dns"}).WithDefaults(); got.Kind != ProviderKindDNSProvider {
		t.Errorf("kind %s", got.Kind)
	}
}

func TestTheTypeOfAProviderIsItsBlock(t *testing.T) {
	for want, provider := range map[string]DNSProviderSpec{
		"cloudflare": {Cloudflare: &Cloudflare{}},
		"route53":    {Route53: &Route53{}},
		"rfc2136":    {RFC2136: &RFC2136{}},
		"powerdns":   {PowerDNS: &PowerDNS{}},
		"hetzner":    {Libdns: &Libdns{Name: "hetzner"}},
		"manual":     {Manual: &Manual{}},
		"":           {},
	} {
		if got := provider.Type(); got != want {
			t.Errorf("type %q, want %q", got, want)
		}
	}
}

// An object that no API server has seen must mean the same as one that it has defaulted.
func TestTheFunctionsAgreeWithTheSchemasDefaults(t *testing.T) {
	domain := schemaOf(t, "maildomains").Properties["spec"]
	provider := schemaOf(t, "dnsproviders").Properties["spec"]
	property := func(schema apiextensionsv1.JSONSchemaProps, path ...string) string {
		for _, name := range path {
			schema = schema.Properties[name]
		}
		if schema.Default == nil {
			t.Errorf("%v has no default", path)
			return ""
		}
		return string(schema.Default.Raw)
	}
	quoted := func(word string) string { return `"` + word + `"` }
	for _, tc := range []struct{ schema, code string }{
		{property(domain, "providerRef", "kind"), quoted(string(ProviderRef{}.WithDefaults().Kind))},
		{property(domain, "adoptionPolicy"), quoted(string((&MailDomainSpec{}).Adoption()))},
		{property(domain, "deletionPolicy"), quoted(string((&MailDomainSpec{}).Deletion()))},
		{property(domain, "spf", "all"), quoted(string((&SPF{}).AllOrDefault()))},
		{property(provider, "verification", "mode"), quoted(string((&DNSProviderSpec{}).VerificationMode()))},
		{property(provider, "ttlSeconds"), "300"},
	} {
		if tc.schema != tc.code {
			t.Errorf("the schema says %s, the code %s", tc.schema, tc.code)
		}
	}
	if ttl := (&DNSProviderSpec{}).TTL(); ttl != 300 {
		t.Errorf("TTL %d", ttl)
	}
}

func schemaOf(t *testing.T, plural string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	data, err := os.ReadFile("../../config/crd/bases/maildomain.dev_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema
}

func TestALabelSelectorMeansWhatKubernetesMakesOfIt(t *testing.T) {
	if got := (*LabelSelector)(nil).AsMeta(); got != nil {
		t.Errorf("absent became %v", got)
	}
	selector := &LabelSelector{
		MatchLabels:      map[string]LabelValue{"app": "postfix"},
		MatchExpressions: []LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpIn, Values: []LabelValue{"edge"}}, {Key: "old", Operator: metav1.LabelSelectorOpDoesNotExist}},
	}
	compiled, err := metav1.LabelSelectorAsSelector(selector.AsMeta())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := compiled.String(), "app=postfix,!old,tier in (edge)"; got != want {
		t.Errorf("selector %s, want %s", got, want)
	}
	everything, err := metav1.LabelSelectorAsSelector((&LabelSelector{}).AsMeta())
	if err != nil {
		t.Fatal(err)
	}
	if !everything.Empty() {
		t.Errorf("{} became %s, want everything", everything)
	}
}
