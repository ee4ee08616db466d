// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
)

var shared apiserver.Shared

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

// connect returns a client that refuses fields which do not exist, and has the namespaces ready.
func connect(t *testing.T, namespaces ...string) client.Client {
	t.Helper()
	c, err := client.New(shared.Get(t).Config, client.Options{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(namespaces, operatorNamespace) {
		err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name:   name,
			Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
		}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	return c
}

// apply does what `kubectl apply --server-side --dry-run=server` does.
func apply(t *testing.T, c client.Client, o unstructured.Unstructured) error {
	t.Helper()
	return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o.DeepCopy()),
		client.DryRunAll, client.ForceOwnership, client.FieldOwner("manifests-test"))
}

func TestTheAPIServerTakesEveryObject(t *testing.T) {
	c := connect(t, "team-a", "team-b")
	for name, objects := range map[string][]unstructured.Unstructured{
		"config/crd":        kustomize(t, "crd"),
		"config/default":    kustomize(t, "default"),
		"config/namespaced": kustomize(t, "namespaced"),
		"config/grafana":    kustomize(t, "grafana"),
		"the chart":         mustHelm(t, "networkPolicy.enabled=true", "metrics.dashboard.enabled=true"),
		"the chart for two namespaces": mustHelm(t, "watchNamespaces={team-a,team-b}", "replicas=2", "metrics.enabled=false",
			"image.digest=sha256:"+strings.Repeat("a", 64), "podAnnotations.a=b", "podLabels.a=b", "nodeSelector.a=b", "revocationGrace=10m",
			"providerEndpointAllow={ns1.example.org}", "dnsRoots={192.0.2.1:53}", "serviceAccount.annotations.a=b",
			"networkPolicy.enabled=true", "networkPolicy.egressPorts={8081}",
			"tolerations[0].operator=Exists", "extraEnv[0].name=AWS_REGION", "extraEnv[0].value=eu-west-1", "imagePullSecrets[0].name=a"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range objects {
				if err := apply(t, c, o); err != nil {
					t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
		})
	}
}

func TestAMisspeltFieldInAManifestIsSeen(t *testing.T) {
	c := connect(t)
	deployment := pick(kustomize(t, "default"), "Deployment")[0]
	if err := unstructured.SetNestedField(deployment.Object, int64(1), "spec", "replica"); err != nil {
		t.Fatal(err)
	}
	if err := apply(t, c, deployment); err == nil || !strings.Contains(err.Error(), "replica") {
		t.Errorf("spec.replica was taken (error %v): the test above proves nothing", err)
	}
}

func TestThePodMeetsTheRestrictedStandard(t *testing.T) {
	c := connect(t)
	create := func(spec corev1.PodSpec) error {
		return c.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "operator", Namespace: operatorNamespace},
			Spec:       spec,
		}, client.DryRunAll)
	}
	for name, objects := range map[string][]unstructured.Unstructured{
		"config/default": kustomize(t, "default"),
		"the chart":      mustHelm(t),
	} {
		t.Run(name, func(t *testing.T) {
			pod := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec
			if err := create(pod); err != nil {
				t.Errorf("refused in a namespace that enforces it: %v", err)
			}
			pod.Containers[0].SecurityContext.Capabilities = nil
			if err := create(pod); !apierrors.IsForbidden(err) {
				t.Errorf("with its capabilities: %v, want forbidden: the check above proves nothing", err)
			}
		})
	}
}
