// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// readCRDs returns our definitions by kind, as controller-gen wrote them.
func readCRDs(t *testing.T) map[string]apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	files, err := filepath.Glob("../../config/crd/bases/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	crds := map[string]apiextensionsv1.CustomResourceDefinition{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &crd); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		crds[crd.Spec.Names.Kind] = crd
	}
	if len(crds) != 4 {
		t.Fatalf("%d kinds in config/crd/bases, want MailDomain, DKIMKey, DNSProvider and ClusterDNSProvider", len(crds))
	}
	return crds
}

type field struct {
	path   string
	named  bool // a property, which kubectl explain shows; not an item of a list
	inItem bool // somewhere inside an item of a list
	schema apiextensionsv1.JSONSchemaProps
}

// fields returns every field below spec and status of every kind.
func fields(t *testing.T) []field {
	t.Helper()
	var all []field
	var walk func(f field)
	walk = func(f field) {
		all = append(all, f)
		for name, property := range f.schema.Properties {
			walk(field{f.path + "." + name, true, f.inItem, property})
		}
		if items := f.schema.Items; items != nil {
			walk(field{f.path + "[]", false, true, *items.Schema})
		}
		if values := f.schema.AdditionalProperties; values != nil {
			walk(field{f.path + "{}", false, f.inItem, *values.Schema})
		}
	}
	for kind, crd := range readCRDs(t) {
		for _, version := range crd.Spec.Versions {
			root := version.Schema.OpenAPIV3Schema
			walk(field{kind + ".spec", true, false, root.Properties["spec"]})
			walk(field{kind + ".status", true, false, root.Properties["status"]})
		}
	}
	if len(all) < 200 {
		t.Fatalf("only %d fields found: the walk is broken", len(all))
	}
	slices.SortFunc(all, func(a, b field) int { return strings.Compare(a.path, b.path) })
	return all
}

func TestEveryFieldIsExplainedToAPostmaster(t *testing.T) {
	goisms := []string{"nil", "struct", "pointer", "omitempty", "metav1", "TODO", "FIXME", "+optional", "+listType"}
	for _, f := range fields(t) {
		if !f.named || strings.Contains(f.path, ".conditions[]") { // those texts are Kubernetes' own
			continue
		}
		text := f.schema.Description
		switch {
		case len(text) < 6:
			t.Errorf("%s: kubectl explain shows nothing", f.path)
		case !strings.HasSuffix(text, "."):
			t.Errorf("%s: the explanation is no sentence: %q", f.path, text)
		}
		for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n.,:;()", r) }) {
			if slices.Contains(goisms, word) {
				t.Errorf("%s: %q is a word for programmers: %q", f.path, word, text)
			}
		}
	}
}

func TestEveryStringListAndMapIsBounded(t *testing.T) {
	for _, f := range fields(t) {
		s := f.schema
		switch s.Type {
		case "string":
			if s.MaxLength == nil && len(s.Enum) == 0 && s.Format != "date-time" {
				t.Errorf("%s: a string of any length", f.path)
			}
		case "array":
			if s.MaxItems == nil {
				t.Errorf("%s: a list of any length", f.path)
			}
		case "object":
			if s.AdditionalProperties != nil && s.MaxProperties == nil {
				t.Errorf("%s: a map of any size", f.path)
			}
			if s.XPreserveUnknownFields != nil {
				t.Errorf("%s: takes whatever it is given", f.path)
			}
		case "integer", "boolean":
		default:
			t.Errorf("%s: type %q", f.path, s.Type)
		}
	}
}

func TestEveryListSaysHowAppliersMergeIt(t *testing.T) {
	for _, f := range fields(t) {
		s := f.schema
		if s.Type != "array" {
			continue
		}
		if s.XListType == nil {
			t.Errorf("%s: no listType", f.path)
			continue
		}
		item := s.Items.Schema
		switch {
		case *s.XListType == "map" && len(s.XListMapKeys) == 0:
			t.Errorf("%s: no listMapKey", f.path)
		case *s.XListType == "set" && item.Type == "object":
			t.Errorf("%s: a set of objects", f.path)
		}
		for _, key := range s.XListMapKeys {
			if !slices.Contains(item.Required, key) {
				t.Errorf("%s: the key %s is not required, and a default would keep GitOps tools out of sync", f.path, key)
			}
		}
	}
}

// The status is written by nobody else, and by no tool compared.
func TestNothingInsideAListOfTheSpecHasADefault(t *testing.T) {
	for _, f := range fields(t) {
		if f.inItem && f.schema.Default != nil && !strings.Contains(f.path, ".status.") {
			t.Errorf("%s: default %s: Argo CD would stay out of sync", f.path, f.schema.Default.Raw)
		}
	}
}

func TestEveryRuleSaysWhatToWriteInstead(t *testing.T) {
	for _, f := range fields(t) {
		for _, rule := range f.schema.XValidations {
			if len(rule.Message) < 20 || strings.HasPrefix(rule.Message, "must ") {
				t.Errorf("%s: %q does not help who reads it", f.path, rule.Message)
			}
		}
	}
}

func TestEveryKindIsHandyInKubectl(t *testing.T) {
	short := map[string]string{"MailDomain": "md", "DKIMKey": "dk", "DNSProvider": "dnsp", "ClusterDNSProvider": "cdnsp"}
	for kind, crd := range readCRDs(t) {
		if got := crd.Spec.Names.ShortNames; !slices.Equal(got, []string{short[kind]}) {
			t.Errorf("%s: short names %v, want %s", kind, got, short[kind])
		}
		if got := crd.Spec.Names.Categories; !slices.Equal(got, []string{"mail"}) {
			t.Errorf("%s: categories %v, want mail", kind, got)
		}
		scope := apiextensionsv1.NamespaceScoped
		if kind == "ClusterDNSProvider" {
			scope = apiextensionsv1.ClusterScoped
		}
		if crd.Spec.Scope != scope {
			t.Errorf("%s: scope %s", kind, crd.Spec.Scope)
		}
		version := crd.Spec.Versions[0]
		if version.Subresources == nil || version.Subresources.Status == nil {
			t.Errorf("%s: no status subresource: who may write the spec could forge the status", kind)
		}
		if version.Schema.OpenAPIV3Schema.Description == "" {
			t.Errorf("%s: kubectl explain shows nothing about the kind", kind)
		}
	}
}
