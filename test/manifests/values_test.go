// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestAChartWithoutOwnerIDSaysWhatItIs(t *testing.T) {
	_, err := helm(t)
	if err == nil || !strings.Contains(err.Error(), "ownerID is needed") || !strings.Contains(err.Error(), "--set ownerID=") {
		t.Errorf("Helm said %v, want what the owner id is and how to give it", err)
	}
}

func TestAMisspeltValueIsRefused(t *testing.T) {
	for set, want := range map[string]string{
		"ownerId=a":                      "'ownerId' not allowed",
		"image.tga=a":                    "'tga' not allowed",
		"crds.enable=false":              "'enable' not allowed",
		"metrics.prot=1":                 "'prot' not allowed",
		"metrics.rule=true":              "'rule' not allowed",
		"metrics.port=8081":              "/metrics/port", // the health probes' port
		"watchNamespaces=team-a":         "/watchNamespaces",
		"watchNamespaces={Team}":         "/watchNamespaces/0",
		"replicas=two":                   "/replicas",
		"logLevel=verbose":               "/logLevel",
		"revocationGrace=soon":           "/revocationGrace",
		"massRemoval.limit=10":           "/massRemoval/limit",
		"image.digest=sha256:1":          "/image/digest",
		"serviceAccount.anotations.a=b":  "'anotations' not allowed",
		"rbac.creat=false":               "'creat' not allowed",
		"imagePullSecrets[0].nam=a":      "/imagePullSecrets/0",
		"providerEndpointAllow=10.0.0.1": "/providerEndpointAllow",
		"networkPolicy.egressPorts={0}":  "/networkPolicy/egressPorts/0",
		"metrics.dashboard.enable=true":  "'enable' not allowed",
		"podDisruptionBudget.enabled=2":  "/podDisruptionBudget/enabled",
	} {
		if _, err := helm(t, "ownerID=a", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: Helm said %v, want a refusal with %s", set, err, want)
		}
	}
}

// A value that the schema does not know could never be set, and one without a default would be undocumented.
func TestEveryValueHasADefaultAndASchema(t *testing.T) {
	type schema struct {
		Properties map[string]schema `json:"properties"`
		Closed     any               `json:"additionalProperties"`
	}
	var s schema
	data, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if data, err = os.ReadFile(filepath.Join(chart, "values.yaml")); err == nil {
		err = yaml.Unmarshal(data, &defaults)
	}
	if err != nil {
		t.Fatal(err)
	}

	var compare func(path string, s schema, defaults map[string]any)
	compare = func(path string, s schema, defaults map[string]any) {
		var inSchema, inDefaults []string
		for name, sub := range s.Properties {
			if path+name == "global" {
				continue // Helm's own
			}
			inSchema = append(inSchema, path+name)
			if len(sub.Properties) > 0 {
				if sub.Closed != false {
					t.Errorf("%s%s takes misspelt values", path, name)
				}
				nested, _ := defaults[name].(map[string]any)
				compare(path+name+".", sub, nested)
			}
		}
		for name := range defaults {
			inDefaults = append(inDefaults, path+name)
		}
		slices.Sort(inSchema)
		slices.Sort(inDefaults)
		if diff := cmp.Diff(inSchema, inDefaults); diff != "" {
			t.Error("values.schema.json (-), values.yaml (+):\n" + diff)
		}
	}
	compare("", s, defaults)
}

func TestTheChartCarriesTheGeneratedKinds(t *testing.T) {
	want := map[string]any{}
	bases, err := filepath.Glob(filepath.Join(root, "config/crd/bases/*.yaml"))
	if err != nil || len(bases) == 0 {
		t.Fatal("no CRDs in config/crd/bases", err)
	}
	for _, base := range bases {
		for _, o := range file(t, strings.TrimPrefix(base, root)) {
			want[o.GetName()] = o.Object["spec"]
		}
	}
	kinds := func(objects []unstructured.Unstructured) map[string]any {
		out := map[string]any{}
		for _, o := range pick(objects, "CustomResourceDefinition") {
			out[o.GetName()] = o.Object["spec"]
		}
		return out
	}
	if diff := cmp.Diff(want, kinds(mustHelm(t))); diff != "" {
		t.Error("run make generate: config/crd/bases (-), the chart (+):\n" + diff)
	}
	if diff := cmp.Diff(want, kinds(kustomize(t, "crd"))); diff != "" {
		t.Error("config/crd/kustomization.yaml names other files: bases (-), kustomize (+):\n" + diff)
	}
	if got := kinds(mustHelm(t, "crds.enabled=false")); len(got) > 0 {
		t.Errorf("with crds.enabled=false %d kinds were rendered", len(got))
	}
}

func TestTheKindsOutliveTheChartUnlessToldOtherwise(t *testing.T) {
	for set, want := range map[string]string{"crds.keep=true": "keep", "crds.keep=false": ""} {
		for _, crd := range pick(mustHelm(t, set), "CustomResourceDefinition") {
			if got := crd.GetAnnotations()["helm.sh/resource-policy"]; got != want {
				t.Errorf("%s: %s has helm.sh/resource-policy %q, want %q", set, crd.GetName(), got, want)
			}
		}
	}
}

func TestValuesReachTheProgram(t *testing.T) {
	args := one[appsv1.Deployment](t, mustHelm(t, "watchNamespaces={team-a,team-b}", "providerEndpointAllow={ns1.example.org}",
		"dnsRoots={192.0.2.1:53}", "logLevel=debug", "revocationGrace=10m", "massRemoval.floor=30", "metrics.port=9090"), "Deployment").Spec.Template.Spec.Containers[0].Args
	want := []string{
		"--owner-id=test.example.org", "--leader-elect", "--metrics-bind-address=:9090", "--health-probe-bind-address=:8081", "--log-level=debug",
		"--watch-namespace=team-a", "--watch-namespace=team-b", "--provider-endpoint-allow=ns1.example.org", "--dns-root=192.0.2.1:53",
		"--revocation-grace=10m", "--mass-removal-floor=30", "--mass-removal-limit=0.1", "--mass-removal-window=1h",
	}
	if diff := cmp.Diff(want, args); diff != "" {
		t.Error("want (-), got (+):\n" + diff)
	}
}

// The alerts are checked where they are written (test/monitoring); the chart must carry the very same.
func TestTheChartCarriesTheAlerts(t *testing.T) {
	want := pick(kustomize(t, "prometheus"), "PrometheusRule")[0]
	got := pick(mustHelm(t, "metrics.rules=true", "metrics.labels.release=prometheus"), "PrometheusRule")[0]
	if diff := cmp.Diff(want.Object["spec"], got.Object["spec"]); diff != "" {
		t.Error("run make generate: config/prometheus (-), the chart (+):\n" + diff)
	}
	if got.GetLabels()["release"] != "prometheus" {
		t.Errorf("metrics.labels did not reach the PrometheusRule: %v", got.GetLabels())
	}
	for _, kind := range []string{"PrometheusRule", "PodMonitor", "ServiceMonitor"} {
		if len(pick(mustHelm(t), kind)) > 0 {
			t.Errorf("without being asked for, the chart has a %s: where its kind is not installed, nothing can be", kind)
		}
	}
	if _, err := helm(t, "ownerID=a", "metrics.rules=true", "metrics.enabled=false"); err == nil || !strings.Contains(err.Error(), "need metrics.enabled") {
		t.Errorf("alerts without metrics: Helm said %v, want a refusal", err)
	}
}

func TestThePodMonitorFindsThePodAndItsPort(t *testing.T) {
	for name, objects := range map[string][]unstructured.Unstructured{
		"config":    slices.Concat(kustomize(t, "default"), kustomize(t, "prometheus")),
		"the chart": mustHelm(t, "metrics.podMonitor=true"),
	} {
		t.Run(name, func(t *testing.T) {
			pod := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template
			monitor := pick(objects, "PodMonitor")[0]
			labels, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
			if len(labels) == 0 {
				t.Error("it selects every pod")
			}
			for label, value := range labels {
				if pod.Labels[label] != value {
					t.Errorf("it selects %s=%s, which the pod has not: %v", label, value, pod.Labels)
				}
			}
			endpoints, _, _ := unstructured.NestedSlice(monitor.Object, "spec", "podMetricsEndpoints")
			port := endpoints[0].(map[string]any)["port"]
			if !slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == port }) {
				t.Errorf("it asks port %v, which the pod has not: %v", port, pod.Spec.Containers[0].Ports)
			}
		})
	}
}
