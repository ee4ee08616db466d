// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What both ways of installing say of the pods is the same, but for names, and for flags whose defaults the chart spells out.
func TestTheChartAndConfigRunTheSamePods(t *testing.T) {
	spec := func(objects []unstructured.Unstructured) appsv1.DeploymentSpec {
		spec := one[appsv1.Deployment](t, objects, "Deployment").Spec
		container := &spec.Template.Spec.Containers[0]
		container.Args = slices.DeleteFunc(container.Args, func(arg string) bool {
			return strings.HasPrefix(arg, "--owner-id=") || arg == "--log-level=info" || strings.HasPrefix(arg, "--mass-removal-")
		})
		container.Env = slices.DeleteFunc(container.Env, func(e corev1.EnvVar) bool { return e.Name == "OWNER_ID" })
		container.ImagePullPolicy = ""
		for _, labels := range []map[string]string{spec.Selector.MatchLabels, spec.Template.Labels, spec.Template.Spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels} {
			delete(labels, "app.kubernetes.io/instance")
		}
		return spec
	}
	if diff := cmp.Diff(spec(kustomize(t, "default")), spec(mustHelm(t))); diff != "" {
		t.Error("config/default (-), the chart (+):\n" + diff)
	}
}

func TestTheDisruptionBudgetIsForThePods(t *testing.T) {
	for name, objects := range map[string][]unstructured.Unstructured{
		"config/default":    kustomize(t, "default"),
		"config/namespaced": kustomize(t, "namespaced"),
		"the chart":         mustHelm(t),
	} {
		budget := one[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget")
		selects(t, name, budget.Spec.Selector, objects)
		if budget.Spec.MaxUnavailable.IntValue() != 1 {
			t.Errorf("%s: %v may go at once", name, budget.Spec.MaxUnavailable)
		}
	}
	// With one replica it would keep the node from being drained, or say nothing.
	for _, set := range []string{"replicas=1", "replicas=0", "podDisruptionBudget.enabled=false"} {
		if n := len(pick(mustHelm(t, set), "PodDisruptionBudget")); n > 0 {
			t.Errorf("%s: %d budgets", set, n)
		}
	}
}

// selects holds a selector against the labels of the pods.
func selects(t *testing.T, what string, selector *metav1.LabelSelector, objects []unstructured.Unstructured) {
	t.Helper()
	labels := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Labels
	if selector == nil || len(selector.MatchLabels) == 0 {
		t.Errorf("%s: it selects every pod", what)
		return
	}
	for label, value := range selector.MatchLabels {
		if labels[label] != value {
			t.Errorf("%s: it selects %s=%s, which the pods have not: %v", what, label, value, labels)
		}
	}
}

func TestTheNetworkPolicyLetsTheOperatorWork(t *testing.T) {
	if n := len(pick(mustHelm(t), "NetworkPolicy")); n > 0 {
		t.Errorf("%d without being asked for", n)
	}
	objects := mustHelm(t, "networkPolicy.enabled=true", "networkPolicy.egressPorts={8081}", "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring")
	policy := one[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy").Spec
	selects(t, "the chart", &policy.PodSelector, objects)
	if len(policy.PolicyTypes) != 2 {
		t.Errorf("it is for %v, want both ways", policy.PolicyTypes)
	}

	var out []string
	for _, rule := range policy.Egress {
		if len(rule.To) > 0 {
			t.Errorf("name servers are anywhere, it names %v", rule.To)
		}
		out = append(out, ports(rule.Ports)...)
	}
	if diff := cmp.Diff([]string{"53/UDP", "53/TCP", "443/TCP", "6443/TCP", "8081/TCP"}, out); diff != "" {
		t.Error("egress, want (-), got (+):\n" + diff)
	}

	named := map[string]bool{}
	for _, port := range one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec.Containers[0].Ports {
		named[port.Name] = true
	}
	in := map[string]int{}
	for _, rule := range policy.Ingress {
		for _, port := range rule.Ports {
			if !named[port.Port.StrVal] {
				t.Errorf("the pods have no port %s", port.Port)
			}
			in[port.Port.StrVal] = len(rule.From)
		}
	}
	if diff := cmp.Diff(map[string]int{"health": 0, "metrics": 1}, in); diff != "" {
		t.Error("peers by port, want (-), got (+):\n" + diff)
	}
	// A port that the pods have not would open nothing, and some networks refuse it.
	without := one[networkingv1.NetworkPolicy](t, mustHelm(t, "networkPolicy.enabled=true", "metrics.enabled=false"), "NetworkPolicy").Spec
	if len(without.Ingress) != 1 {
		t.Errorf("without metrics: %v", without.Ingress)
	}
}

func ports(all []networkingv1.NetworkPolicyPort) []string {
	var out []string
	for _, p := range all {
		out = append(out, p.Port.String()+"/"+string(*p.Protocol))
	}
	return out
}

func TestTheServiceMonitorFindsTheService(t *testing.T) {
	objects := mustHelm(t, "metrics.serviceMonitor=true", "metrics.labels.release=prometheus")
	monitor, service := pick(objects, "ServiceMonitor")[0], one[corev1.Service](t, objects, "Service")
	labels, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	for label, value := range labels {
		if service.Labels[label] != value {
			t.Errorf("it selects %s=%s, which the Service has not: %v", label, value, service.Labels)
		}
	}
	endpoints, _, _ := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	if port := endpoints[0].(map[string]any)["port"]; len(labels) == 0 || port != service.Spec.Ports[0].Name {
		t.Errorf("it asks port %v by %v", port, labels)
	}
	if monitor.GetLabels()["release"] != "prometheus" {
		t.Errorf("metrics.labels did not reach it: %v", monitor.GetLabels())
	}
	for set, want := range map[string]string{
		"metrics.service=false":   "needs metrics.service",
		"metrics.podMonitor=true": "scraped twice",
		"metrics.enabled=false":   "need metrics.enabled",
	} {
		if _, err := helm(t, "ownerID=a", "metrics.serviceMonitor=true", set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Helm said %v, want %s", set, err, want)
		}
	}
}

func TestTheChartCarriesTheDashboard(t *testing.T) {
	config := one[corev1.ConfigMap](t, kustomize(t, "grafana"), "ConfigMap")
	chart := one[corev1.ConfigMap](t, mustHelm(t, "metrics.dashboard.enabled=true", "metrics.dashboard.annotations.grafana_folder=Mail"), "ConfigMap")
	if diff := cmp.Diff(slices.Collect(maps.Values(config.Data)), slices.Collect(maps.Values(chart.Data))); diff != "" {
		t.Error("run make generate: config/grafana (-), the chart (+):\n" + diff)
	}
	for _, labels := range []map[string]string{config.Labels, chart.Labels} {
		if labels["grafana_dashboard"] != "1" {
			t.Errorf("Grafana's sidecar looks for grafana_dashboard=1: %v", labels)
		}
	}
	if chart.Annotations["grafana_folder"] != "Mail" {
		t.Errorf("annotations: %v", chart.Annotations)
	}
	if n := len(pick(mustHelm(t), "ConfigMap")); n > 0 {
		t.Errorf("%d ConfigMaps without being asked for", n)
	}
}

func TestTheReplicasKeepApart(t *testing.T) {
	apart := func(set ...string) []corev1.TopologySpreadConstraint {
		objects := mustHelm(t, set...)
		all := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec.TopologySpreadConstraints
		for _, c := range all {
			selects(t, "the spread by "+c.TopologyKey, c.LabelSelector, objects)
		}
		return all
	}
	if all := apart(); len(all) != 1 || all[0].WhenUnsatisfiable != corev1.ScheduleAnyway {
		t.Errorf("by default: %v", all)
	}
	own := apart("topologySpreadConstraints[0].topologyKey=topology.kubernetes.io/zone", "topologySpreadConstraints[0].maxSkew=2", "topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule")
	if len(own) != 1 || own[0].TopologyKey != "topology.kubernetes.io/zone" || own[0].MaxSkew != 2 {
		t.Errorf("as asked for: %v", own)
	}
}

// The rest of what a pod's spec may be told arrives there as it is.
func TestThePodsAreRunAsAskedFor(t *testing.T) {
	objects := mustHelm(t, "priorityClassName=system-cluster-critical", "tolerations[0].operator=Exists", "nodeSelector.disk=ssd",
		"affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key=metadata.name",
		"extraEnv[0].name=AWS_REGION", "extraEnv[0].value=eu-west-1", "imagePullSecrets[0].name=registry", "podLabels.team=mail",
		"podAnnotations.note=hello", "resources.limits.memory=1Gi", "image.pullPolicy=Always", "image.tag=1.2.3", "replicas=3",
		"serviceAccount.annotations.role=arn")
	d := one[appsv1.Deployment](t, objects, "Deployment").Spec
	pod, container := d.Template.Spec, d.Template.Spec.Containers[0]
	for what, holds := range map[string]bool{
		"priority":       pod.PriorityClassName == "system-cluster-critical",
		"toleration":     len(pod.Tolerations) == 1 && pod.Tolerations[0].Operator == corev1.TolerationOpExists,
		"node selector":  pod.NodeSelector["disk"] == "ssd",
		"affinity":       pod.Affinity != nil && pod.Affinity.NodeAffinity != nil,
		"environment":    slices.Contains(container.Env, corev1.EnvVar{Name: "AWS_REGION", Value: "eu-west-1"}),
		"pull secret":    len(pod.ImagePullSecrets) == 1 && pod.ImagePullSecrets[0].Name == "registry",
		"label":          d.Template.Labels["team"] == "mail" && d.Selector.MatchLabels["team"] == "",
		"annotation":     d.Template.Annotations["note"] == "hello",
		"memory":         container.Resources.Limits.Memory().String() == "1Gi" && container.Resources.Requests.Cpu().String() == "50m",
		"pull policy":    container.ImagePullPolicy == corev1.PullAlways,
		"image":          strings.HasSuffix(container.Image, "maildomain-operator:1.2.3"),
		"replicas":       *d.Replicas == 3,
		"cloud identity": one[corev1.ServiceAccount](t, objects, "ServiceAccount").Annotations["role"] == "arn",
	} {
		if !holds {
			t.Errorf("the %s did not arrive", what)
		}
	}
	digest := "sha256:" + strings.Repeat("a", 64)
	image := one[appsv1.Deployment](t, mustHelm(t, "image.digest="+digest, "image.tag=1.2.3"), "Deployment").Spec.Template.Spec.Containers[0].Image
	if !strings.HasSuffix(image, "maildomain-operator@"+digest) {
		t.Errorf("the digest wins over the tag, the image is %s", image)
	}
	if n := len(pick(mustHelm(t, "serviceAccount.create=false", "serviceAccount.name=own"), "ServiceAccount")); n > 0 {
		t.Errorf("serviceAccount.create=false: %d were made", n)
	}
	for _, kind := range []string{"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} {
		if n := len(pick(mustHelm(t, "rbac.create=false"), kind)); n > 0 {
			t.Errorf("rbac.create=false: %d %ss", n, kind)
		}
	}
}

// config/argocd is applied to a ConfigMap that is somebody else's: it must hold one entry for each kind, and nothing besides.
func TestArgoCDLearnsTheHealthOfEveryKind(t *testing.T) {
	var want []string
	for _, crd := range pick(kustomize(t, "crd"), "CustomResourceDefinition") {
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		want = append(want, "resource.customizations.health.maildomain.dev_"+kind)
	}
	entries := one[corev1.ConfigMap](t, kustomize(t, "argocd"), "ConfigMap/argocd-cm").Data
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(entries))); diff != "" {
		t.Error("kinds (-), entries (+):\n" + diff)
	}
}
