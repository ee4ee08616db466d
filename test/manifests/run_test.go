// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The manager runs as the ServiceAccount of the manifests, with their flags: a right that is missing shows up here, not
// in somebody's cluster.
func TestTheRightsSuffice(t *testing.T) {
	for name, c := range map[string]struct {
		objects    []unstructured.Unstructured
		namespaces []string // of MailDomains
	}{
		"the chart":                    {mustHelm(t), []string{"mail-everywhere"}},
		"the chart for two namespaces": {mustHelm(t, "watchNamespaces={mail-a,mail-b}"), []string{"mail-a", "mail-b"}},
		"config/namespaced":            {kustomize(t, "namespaced"), []string{operatorNamespace}},
	} {
		t.Run(name, func(t *testing.T) {
			k := connect(t, c.namespaces...)
			grant(t, k, c.objects)
			log := startManager(t, one[appsv1.Deployment](t, c.objects, "Deployment"))
			for _, namespace := range c.namespaces {
				liveThrough(t, k, namespace, log)
			}
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "forbidden") {
					t.Error(strings.TrimSpace(line))
				}
			}
		})
	}
}

// grant puts the roles into the cluster until the test ends.
func grant(t *testing.T, c client.Client, objects []unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if !slices.Contains([]string{"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"}, o.GetKind()) {
			continue
		}
		if err := c.Create(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.Background(), &o); err != nil {
				t.Error(err)
			}
		})
	}
}

// liveThrough takes a MailDomain from creation to deletion: every kind of object is written on the way.
func liveThrough(t *testing.T, c client.Client, namespace string, log *output) {
	t.Helper()
	object := func(kind, name string, spec map[string]any) *unstructured.Unstructured {
		o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		o.SetAPIVersion("maildomain.dev/v1alpha1")
		o.SetKind(kind)
		o.SetNamespace(namespace)
		o.SetName(name)
		return o
	}
	provider := object("DNSProvider", "by-hand", map[string]any{"manual": map[string]any{}, "zones": []any{namespace + ".example"}})
	domain := object("MailDomain", "mail", map[string]any{
		"domain":      namespace + ".example",
		"providerRef": map[string]any{"name": "by-hand"},
		"dkim":        map[string]any{},
		"spf":         map[string]any{"mechanisms": []any{"mx"}, "all": "SoftFail"},
		"dmarc":       map[string]any{"policy": "None"},
	})
	for _, o := range []*unstructured.Unstructured{provider, domain} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}

	eventually(t, log, namespace+": the MailDomain has a status", func(ctx context.Context) bool {
		err := c.Get(ctx, client.ObjectKeyFromObject(domain), domain)
		conditions, _, _ := unstructured.NestedSlice(domain.Object, "status", "conditions")
		return err == nil && len(conditions) > 0 && len(domain.GetFinalizers()) > 0
	})
	keys := &unstructured.UnstructuredList{}
	keys.SetAPIVersion("maildomain.dev/v1alpha1")
	keys.SetKind("DKIMKeyList")
	eventually(t, log, namespace+": a DKIMKey has its key pair", func(ctx context.Context) bool {
		if err := c.List(ctx, keys, client.InNamespace(namespace)); err != nil || len(keys.Items) == 0 {
			return false
		}
		sum, _, _ := unstructured.NestedString(keys.Items[0].Object, "status", "publicKeySHA256")
		return sum != ""
	})
	eventually(t, log, namespace+": the signing Secret is there", func(ctx context.Context) bool {
		return c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "mail-dkim"}, &corev1.Secret{}) == nil
	})
	for _, o := range []*unstructured.Unstructured{domain, provider} {
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		eventually(t, log, namespace+": the "+o.GetKind()+" goes when it is deleted", func(ctx context.Context) bool {
			return apierrors.IsNotFound(c.Get(ctx, client.ObjectKeyFromObject(o), o))
		})
	}
}

func eventually(t *testing.T, log *output, what string, done func(context.Context) bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 3*time.Minute, true,
		func(ctx context.Context) (bool, error) { return done(ctx), nil })
	if err != nil {
		t.Fatalf("not so: %s\n%s", what, log)
	}
}

// startManager runs cmd/manager as the pod of the Deployment would, until the test ends.
func startManager(t *testing.T, deployment appsv1.Deployment) *output {
	t.Helper()
	config, err := clientcmd.Load(shared.Get(t).Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	account := deployment.Spec.Template.Spec.ServiceAccountName
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + operatorNamespace + ":" + account
		user.ImpersonateGroups = []string{"system:serviceaccounts", "system:authenticated"}
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		t.Fatal(err)
	}

	args := []string{}
	for _, arg := range deployment.Spec.Template.Spec.Containers[0].Args {
		arg = strings.NewReplacer("$(OWNER_ID)", "test.example.org", "$(POD_NAMESPACE)", operatorNamespace).Replace(arg)
		args = append(args, arg)
	}
	// Ports are the machine's here, not the pod's; and a test asks nobody's name servers.
	args = append(args, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--dns-root=127.0.0.1:1")
	log := &output{}
	cmd := exec.CommandContext(t.Context(), buildManager(t), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "POD_NAMESPACE="+operatorNamespace)
	cmd.Stdout, cmd.Stderr = log, log
	// SIGTERM when the test ends, as the kubelet does it: the Lease is given back and the next test need not wait for it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait() // the context has ended; that is how it ends, too
	})
	return log
}

// output collects what a process prints, and may be read meanwhile.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}
