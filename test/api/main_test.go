// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package api proves the schema on a real API server: what it accepts, what it
// refuses and in which words.
package api

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
)

var shared apiserver.Shared

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(shared.Main(m))
}

// newClient returns a client that knows our kinds.
func newClient(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(shared.Get(t).Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// object returns a manifest as an object, with JSON merge patches (as YAML) applied.
func object(t *testing.T, manifest string, patches ...string) *unstructured.Unstructured {
	t.Helper()
	merged := asJSON(t, manifest)
	for _, patch := range patches {
		var err error
		if merged, err = jsonpatch.MergePatch(merged, asJSON(t, patch)); err != nil {
			t.Fatalf("merge %s: %v", patch, err)
		}
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(merged); err != nil {
		t.Fatal(err)
	}
	return out
}

func asJSON(t *testing.T, manifest string) []byte {
	t.Helper()
	data, err := yaml.YAMLToJSONStrict([]byte(manifest))
	if err != nil {
		t.Fatalf("not YAML: %v\n%s", err, manifest)
	}
	return data
}

// refusal is a change that the API server must refuse, with words of its message.
type refusal struct {
	name, patch, want string
}

// acceptance is a change that the API server must accept.
type acceptance struct {
	name, patch string
}

func mustRefuseNew(t *testing.T, manifest string, cases []refusal) {
	t.Helper()
	c := newClient(t)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			checkRefusal(t, c.Create(t.Context(), object(t, manifest, tc.patch), client.DryRunAll), tc.want)
		})
	}
}

func mustAcceptNew(t *testing.T, manifest string, cases []acceptance) {
	t.Helper()
	c := newClient(t)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if err := c.Create(t.Context(), object(t, manifest, tc.patch), client.DryRunAll); err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

// change is an update of an object that stands: before and after are patches of the manifest.
// With status, a patch of the status in between.
type change struct {
	name, before, status, after string
	want                        string // words of the refusal; accepted when empty
}

func checkChanges(t *testing.T, manifest string, cases []change) {
	t.Helper()
	c := newClient(t)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			standing := object(t, manifest, orEmpty(tc.before))
			if err := c.Create(t.Context(), standing); err != nil {
				t.Fatalf("the object before the change was refused: %v", err)
			}
			deleteAfter(t, c, standing)
			if tc.status != "" {
				if err := c.Status().Patch(t.Context(), standing, client.RawPatch("application/merge-patch+json", asJSON(t, tc.status))); err != nil {
					t.Fatal(err)
				}
			}
			wanted := object(t, manifest, orEmpty(tc.before), tc.after)
			wanted.SetResourceVersion(standing.GetResourceVersion())
			err := c.Update(t.Context(), wanted)
			if tc.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			checkRefusal(t, err, tc.want)
		})
	}
}

// deleteAfter deletes an object when the test is over; the test's own context has ended by then.
func deleteAfter(t *testing.T, c client.Client, standing client.Object) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Delete(context.WithoutCancel(t.Context()), standing); err != nil {
			t.Error(err)
		}
	})
}

// dryRunStrict tries a creation and refuses fields that the schema does not know, as kubectl does.
type dryRunStrict struct{}

func (dryRunStrict) ApplyToCreate(options *client.CreateOptions) {
	client.DryRunAll.ApplyToCreate(options)
	client.FieldValidation("Strict").ApplyToCreate(options)
}

func orEmpty(patch string) string {
	if patch == "" {
		return "{}"
	}
	return patch
}

// checkRefusal wants exactly one complaint, in these words: a person who reads two does not know which to follow.
func checkRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		t.Fatalf("not refused by validation: %v", err)
	}
	complaints := 0
	for _, cause := range status.Status().Details.Causes {
		// The server says so when a rule of OpenAPI, a required field or an enumeration, keeps it from trying CEL's.
		if !strings.Contains(cause.Message, "some validation rules were not checked") {
			complaints++
		}
	}
	if complaints != 1 {
		t.Errorf("%d complaints, want one: %v", complaints, err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("refused with\n%v\nwant the words\n%s", err, want)
	}
}
