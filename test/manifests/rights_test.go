// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// rights spells rules out: "verb group/resource", sorted.
func rights(rules []rbacv1.PolicyRule) []string {
	var out []string
	for _, r := range rules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					out = append(out, verb+" "+group+"/"+resource)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestBothWaysToInstallGiveTheGeneratedRights(t *testing.T) {
	generated := file(t, "config/rbac/role.yaml")
	everywhere := rights(one[rbacv1.ClusterRole](t, generated, "ClusterRole").Rules)
	home := rights(one[rbacv1.Role](t, generated, "Role").Rules)

	for name, c := range map[string]struct {
		objects     []unstructured.Unstructured
		clusterRole string
	}{
		"config/default":              {kustomize(t, "default"), "maildomain-operator"},
		"config/namespaced":           {kustomize(t, "namespaced"), "maildomain-operator"},
		"the chart":                   {mustHelm(t), "maildomain-system-maildomain-operator"},
		"the chart for one namespace": {mustHelm(t, "watchNamespaces={team-a}"), "maildomain-system-maildomain-operator"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(everywhere, rights(one[rbacv1.ClusterRole](t, c.objects, "ClusterRole/"+c.clusterRole).Rules)); diff != "" {
				t.Error("where it watches: generated (-), installed (+):\n" + diff)
			}
			if diff := cmp.Diff(home, rights(one[rbacv1.Role](t, c.objects, "Role").Rules)); diff != "" {
				t.Error("in its own namespace: generated (-), installed (+):\n" + diff)
			}
		})
	}
}

// Every write but that of a Lease is a patch: it names what changes, and a stale copy never takes the place of an object.
func TestNothingButALeaseMayBeReplacedAndNoRightIsAWildcard(t *testing.T) {
	var all []rbacv1.PolicyRule
	generated := file(t, "config/rbac/role.yaml")
	all = append(all, one[rbacv1.ClusterRole](t, generated, "ClusterRole").Rules...)
	all = append(all, one[rbacv1.Role](t, generated, "Role").Rules...)
	for _, right := range rights(all) {
		if strings.Contains(right, "*") || strings.HasPrefix(right, "update ") && right != "update coordination.k8s.io/leases" {
			t.Error(right)
		}
	}
}

func TestAnOperatorOfSomeNamespacesHasNoRightsElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		objects []unstructured.Unstructured
		watched []string
	}{
		"config/namespaced": {kustomize(t, "namespaced"), []string{operatorNamespace}},
		"the chart":         {mustHelm(t, "watchNamespaces={team-a,team-b}"), []string{"team-a", "team-b"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, b := range pick(c.objects, "ClusterRoleBinding") {
				t.Errorf("ClusterRoleBinding %s gives it rights everywhere", b.GetName())
			}
			var bound []string
			for _, b := range pick(c.objects, "RoleBinding") {
				if kind, _, _ := unstructured.NestedString(b.Object, "roleRef", "kind"); kind == "ClusterRole" {
					bound = append(bound, b.GetNamespace())
				}
			}
			slices.Sort(bound)
			if diff := cmp.Diff(c.watched, bound); diff != "" {
				t.Error("watched (-), bound (+):\n" + diff)
			}
		})
	}
}

func TestEveryBindingIsForTheAccountOfThePod(t *testing.T) {
	for name, objects := range map[string][]unstructured.Unstructured{
		"config/default":    kustomize(t, "default"),
		"config/namespaced": kustomize(t, "namespaced"),
		"the chart":         mustHelm(t, "watchNamespaces={team-a}", "serviceAccount.name=other"),
	} {
		t.Run(name, func(t *testing.T) {
			account, _, _ := unstructured.NestedString(pick(objects, "Deployment")[0].Object, "spec", "template", "spec", "serviceAccountName")
			if len(pick(objects, "ServiceAccount/"+account)) != 1 {
				t.Errorf("the pod's ServiceAccount %q is not among the objects", account)
			}
			for _, b := range append(pick(objects, "RoleBinding"), pick(objects, "ClusterRoleBinding")...) {
				subjects, _, _ := unstructured.NestedSlice(b.Object, "subjects")
				want := []any{map[string]any{"kind": "ServiceAccount", "name": account, "namespace": operatorNamespace}}
				if diff := cmp.Diff(want, subjects); diff != "" {
					t.Errorf("%s %s: want (-), got (+):\n%s", b.GetKind(), b.GetName(), diff)
				}
				role, _, _ := unstructured.NestedString(b.Object, "roleRef", "name")
				kind, _, _ := unstructured.NestedString(b.Object, "roleRef", "kind")
				if len(pick(objects, kind+"/"+role)) != 1 {
					t.Errorf("%s %s binds %s %s, which is not among the objects", b.GetKind(), b.GetName(), kind, role)
				}
			}
		})
	}
}
