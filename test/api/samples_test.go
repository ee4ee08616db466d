// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestEverySampleIsAccepted(t *testing.T) {
	c := newClient(t)
	createNamespace(t, "mail")
	files, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sample := object(t, string(data))
			kinds[sample.GetKind()] = true
			if err := c.Create(t.Context(), sample, dryRunStrict{}); err != nil {
				t.Error(err)
			}
			if !strings.HasPrefix(string(data), "# ") {
				t.Error("no comment in front that says what it is for")
			}
		})
	}
	for kind := range readCRDs(t) {
		if !kinds[kind] {
			t.Errorf("no sample of a %s", kind)
		}
	}
}

func createNamespace(t *testing.T, name string) {
	t.Helper()
	clients, err := kubernetes.NewForConfig(shared.Get(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err = clients.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}
