// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"regexp"
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

// generatedRights are those that `make generate` wrote: wherever it watches, and in its own namespace.
func generatedRights(t *testing.T) (everywhere, home []string) {
	t.Helper()
	generated := file(t, "config/rbac/role.yaml")
	return rights(one[rbacv1.ClusterRole](t, generated, "ClusterRole").Rules), rights(one[rbacv1.Role](t, generated, "Role").Rules)
}

func TestBothWaysToInstallGiveTheGeneratedRights(t *testing.T) {
	everywhere, home := generatedRights(t)
	for name, c := range map[string]struct {
		objects            []unstructured.Unstructured
		clusterRole, local string
	}{
		"config/default": {kustomize(t, "default"), "maildomain-operator", "maildomain-operator"},
		"the chart":      {mustHelm(t), "maildomain-system-maildomain-operator", "maildomain-operator"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(everywhere, rights(one[rbacv1.ClusterRole](t, c.objects, "ClusterRole/"+c.clusterRole).Rules)); diff != "" {
				t.Error("where it watches: generated (-), installed (+):\n" + diff)
			}
			if diff := cmp.Diff(home, rights(one[rbacv1.Role](t, c.objects, "Role/"+c.local).Rules)); diff != "" {
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

// What is bound in a namespace that is watched alone are the rights for that namespace: nothing of the cluster.
func TestAnOperatorOfSomeNamespacesHasNoRightsElsewhere(t *testing.T) {
	everywhere, home := generatedRights(t)
	ofTheCluster := regexp.MustCompile(`/(namespaces|clusterdnsproviders(/status)?)$`)
	watched := slices.DeleteFunc(slices.Clone(everywhere), ofTheCluster.MatchString)
	if len(watched) == len(everywhere) {
		t.Fatal("nothing of the cluster is among the generated rights: this test proves nothing")
	}
	for name, c := range map[string]struct {
		objects []unstructured.Unstructured
		role    string
		watched []string
	}{
		"config/namespaced": {kustomize(t, "namespaced"), "maildomain-operator-watched", []string{operatorNamespace}},
		"the chart":         {mustHelm(t, "watchNamespaces={team-a,team-b}"), "maildomain-system-maildomain-operator", []string{"team-a", "team-b"}},
		"the chart beside its domains": {
			mustHelm(t, "watchNamespaces={"+operatorNamespace+"}"), "maildomain-system-maildomain-operator", []string{operatorNamespace},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range append(pick(c.objects, "ClusterRole"), pick(c.objects, "ClusterRoleBinding")...) {
				t.Errorf("%s %s reaches beyond the namespaces", o.GetKind(), o.GetName())
			}
			want := map[string][]string{operatorNamespace + "/maildomain-operator": home}
			for _, namespace := range c.watched {
				want[namespace+"/"+c.role] = watched
			}
			if diff := cmp.Diff(want, granted(t, c.objects)); diff != "" {
				t.Error("want (-), granted (+):\n" + diff)
			}
		})
	}
}

// granted are the rights of each RoleBinding, by namespace and name of the Role that it binds.
func granted(t *testing.T, objects []unstructured.Unstructured) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, b := range pick(objects, "RoleBinding") {
		kind, _, _ := unstructured.NestedString(b.Object, "roleRef", "kind")
		name, _, _ := unstructured.NestedString(b.Object, "roleRef", "name")
		here := slices.DeleteFunc(slices.Clone(objects), func(o unstructured.Unstructured) bool { return o.GetNamespace() != b.GetNamespace() })
		out[b.GetNamespace()+"/"+name] = rights(one[rbacv1.Role](t, here, kind+"/"+name).Rules)
	}
	return out
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
