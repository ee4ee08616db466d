// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// repository is what a person keeps in Git: a provider, a domain, and a key that signs elsewhere today.
const repository = `
apiVersion: maildomain.dev/v1alpha1
kind: DNSProvider
metadata: {name: dns, namespace: %[1]s}
spec:
  ttlSeconds: 60
  rateLimit: {requestsPerSecond: 500, burst: 1000}
  rfc2136:
    server: 127.0.0.3:%[2]d
    tsig: {keyName: op, secretRef: {name: dns, key: tsig}}
---
apiVersion: maildomain.dev/v1alpha1
kind: MailDomain
metadata: {name: example-org, namespace: %[1]s, labels: {team: mail}}
spec:
  domain: example.org
  providerRef: {name: dns}
  dkim: {}
  spf: {mechanisms: [mx], all: SoftFail}
  dmarc: {policy: None, aggregateReportsTo: ["mailto:dmarc@example.org"]}
---
apiVersion: maildomain.dev/v1alpha1
kind: DKIMKey
metadata: {name: imported, namespace: %[1]s}
spec:
  domain: example.org
  selector: mail2019
  algorithm: RSA
  providerRef: {name: dns}
  privateKeySecretName: imported
`

// gitops is a bench with that repository, and a key that signs already.
func gitops(t *testing.T) (*bench, string) {
	t.Helper()
	b := newBench(t, "example.org")
	b.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "dns", Namespace: b.namespace}, StringData: map[string]string{"tsig": tsigSecret}})
	pair, err := dkim.Generate(t.Context(), dkim.RSA, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text, err := pair.PEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.world.Zone("example.org").Add("mail2019._domainkey 60 TXT" + quote(pair.Record().String()) + "\n"); err != nil {
		t.Fatal(err)
	}
	b.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "imported", Namespace: b.namespace, Labels: map[string]string{v1alpha1.LabelAdopt: "true"}},
		Data:       map[string][]byte{v1alpha1.PrivateKeyEntry: text},
	})
	return b, fmt.Sprintf(repository, b.namespace, b.world.Port())
}

func TestAGitOpsToolThatAppliesAndOursNeverFight(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]client.ApplyOption{
		"a server-side apply":                    {client.FieldOwner("gitops")},
		"a server-side apply that forces fields": {client.FieldOwner("gitops"), client.ForceOwnership},
	} {
		t.Run(name, func(t *testing.T) {
			b, manifests := gitops(t)
			for _, o := range objects(t, manifests) {
				b.apply(o, options...)
			}
			d := &v1alpha1.MailDomain{ObjectMeta: metav1.ObjectMeta{Name: "example-org", Namespace: b.namespace}}
			b.awaitReady(d)
			b.awaitSpares(d)
			writes := b.countEveryWrite()
			b.awaitQuiet(writes, d)
			writes.reset()
			for _, o := range objects(t, manifests) {
				before := b.read(o)
				after := b.apply(o, options...)
				if before.GetResourceVersion() != after.GetResourceVersion() || before.GetGeneration() != after.GetGeneration() {
					t.Errorf("%s %s: applied once more, it changed", o.GetKind(), o.GetName())
				}
				b.onlySpecOf(after, "gitops")
			}
			b.awaitRounds(d, 1)
			if got := writes.seen(); len(got) > 0 {
				t.Errorf("we answered with %q", got)
			}
			if key := b.read(objects(t, manifests)[2]); intentOf(key) != string(v1alpha1.IntentSigning) {
				t.Errorf("the imported key has the intent %q", intentOf(key))
			}
		})
	}
}

func TestKubectlFindsNothingToDoAfterReconcile(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string][]string{
		"client-side": nil,
		"server-side": {"--server-side", "--field-manager=gitops"},
	} {
		t.Run(name, func(t *testing.T) {
			b, manifests := gitops(t)
			kubectl := newKubectl(t)
			file := filepath.Join(t.TempDir(), "mail.yaml")
			if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
				t.Fatal(err)
			}
			kubectl.run(append([]string{"apply", "-f", file}, mode...)...)
			kubectl.run("wait", "-n", b.namespace, "--for=condition=Ready", "--timeout=90s", "maildomain/example-org", "dnsprovider/dns", "dkimkey/imported")
			d := &v1alpha1.MailDomain{ObjectMeta: metav1.ObjectMeta{Name: "example-org", Namespace: b.namespace}}
			b.awaitReady(d)
			b.awaitSpares(d)
			before := b.objectsAsRead(manifests)

			if out := kubectl.run(append([]string{"diff", "-f", file}, mode...)...); out != "" {
				t.Errorf("kubectl diff:\n%s", out)
			}
			kubectl.run(append([]string{"apply", "-f", file}, mode...)...)
			for i, after := range b.objectsAsRead(manifests) {
				if after.GetGeneration() != before[i].GetGeneration() {
					t.Errorf("%s %s, applied once more: generation %d became %d", after.GetKind(), after.GetName(), before[i].GetGeneration(), after.GetGeneration())
				}
			}
			table := kubectl.run("get", "-n", b.namespace, "mail")
			if !strings.Contains(table, "example-org") || !strings.Contains(table, "True") {
				t.Errorf("kubectl get mail:\n%s", table)
			}
		})
	}
}

// objects reads manifests.
func objects(t *testing.T, manifests string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for text := range strings.SplitSeq(manifests, "---\n") {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(text), &content); err != nil {
			t.Fatal(err)
		}
		all = append(all, &unstructured.Unstructured{Object: content})
	}
	return all
}

// apply applies an object as a GitOps tool does, and returns what came of it.
func (b *bench) apply(o *unstructured.Unstructured, options ...client.ApplyOption) *unstructured.Unstructured {
	b.Helper()
	after := o.DeepCopy()
	if err := b.Apply(b.Context(), client.ApplyConfigurationFromUnstructured(after), options...); err != nil {
		b.Fatalf("apply %s %s: %v", o.GetKind(), o.GetName(), err)
	}
	return b.read(o)
}

func (b *bench) read(o *unstructured.Unstructured) *unstructured.Unstructured {
	b.Helper()
	now := &unstructured.Unstructured{}
	now.SetGroupVersionKind(o.GroupVersionKind())
	if err := b.Get(b.Context(), client.ObjectKeyFromObject(o), now); err != nil {
		b.Fatal(err)
	}
	return now
}

func (b *bench) objectsAsRead(manifests string) []*unstructured.Unstructured {
	b.Helper()
	all := objects(b.T, manifests)
	for i, o := range all {
		all[i] = b.read(o)
	}
	return all
}

// onlySpecOf makes sure that the spec is the person's alone, but for the intent and the revocation of a key.
func (b *bench) onlySpecOf(o *unstructured.Unstructured, manager string) {
	b.Helper()
	for _, m := range o.GetManagedFields() {
		var fields map[string]json.RawMessage
		if m.FieldsV1 == nil || json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		spec, ok := fields["f:spec"]
		if !ok || m.Manager == manager {
			continue
		}
		if o.GetKind() == v1alpha1.KindDKIMKey && string(spec) == `{"f:intent":{}}` {
			continue
		}
		b.Errorf("%s %s: manager %s writes into spec: %s", o.GetKind(), o.GetName(), m.Manager, spec)
	}
}

func intentOf(o *unstructured.Unstructured) string {
	intent, _, _ := unstructured.NestedString(o.Object, "spec", "intent")
	return intent
}

// kubectl is the real one, as a cluster administrator.
type kubectl struct {
	*testing.T
	path, config string
}

func newKubectl(t *testing.T) kubectl {
	t.Helper()
	path, err := shared.Options.Program("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(config, shared.Get(t).Kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return kubectl{T: t, path: path, config: config}
}

// run fails the test unless kubectl succeeds; `kubectl diff` also exits with 1 where there is a difference.
func (k kubectl) run(args ...string) string {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), patience+patience)
	defer cancel()
	command := exec.CommandContext(ctx, k.path, append([]string{"--kubeconfig", k.config}, args...)...)
	command.Env = append(os.Environ(), "HOME="+k.TempDir(), "KUBECTL_EXTERNAL_DIFF=diff -u -N")
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil && (args[0] != "diff" || out.Len() == 0) {
		k.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, problems.String(), out.String())
	}
	return out.String()
}
