// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
)

// startAPI starts the API server and installs what `kubectl apply -k config/default` would, but for the Deployment.
func (s *Site) startAPI(ctx context.Context) error {
	log, err := os.Create(filepath.Join(s.options.Dir, "apiserver.log"))
	if err != nil {
		return err
	}
	if s.api, err = apiserver.Start(ctx, apiserver.Options{Log: log}); err != nil {
		return err
	}
	s.stops = append(s.stops, s.api.Stop)
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	if s.Client, err = client.New(s.api.Config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for _, name := range append([]string{Namespace, OperatorNamespace}, s.options.Namespaces...) {
		if err := s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	if err := s.grant(ctx); err != nil {
		return fmt.Errorf("grant the operator its rights: %w", err)
	}
	return s.Provider(ctx, Namespace, "bind", bind.Primary, s.DNS.Secret)
}

// grant gives the operator exactly the rights of config/rbac, and writes a kubeconfig that has no others.
func (s *Site) grant(ctx context.Context) error {
	for _, file := range []string{"role.yaml", "role_binding.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "config", "rbac", file))
		if err != nil {
			return err
		}
		if err := s.ApplyManifest(ctx, strings.ReplaceAll(string(text), "namespace: system", "namespace: "+OperatorNamespace)); err != nil {
			return err
		}
	}
	config, err := clientcmd.Load(s.api.Kubeconfig)
	if err != nil {
		return err
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + OperatorNamespace + ":maildomain-operator"
		user.ImpersonateGroups = []string{"system:serviceaccounts", "system:serviceaccounts:" + OperatorNamespace, "system:authenticated"}
	}
	s.kubeconfig = filepath.Join(s.options.Dir, "kubeconfig")
	return clientcmd.WriteToFile(*config, s.kubeconfig)
}

// Provider writes a DNSProvider and the Secret with its TSIG key. Without zones they are found in the DNS.
func (s *Site) Provider(ctx context.Context, namespace, name string, server netip.Addr, tsig string, zones ...string) error {
	zoneList := "[" + strings.Join(zones, ", ") + "]"
	return s.ApplyManifest(ctx, fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: %[1]s-tsig, namespace: %[2]s}
stringData: {secret: %[3]q}
---
apiVersion: maildomain.dev/v1alpha1
kind: DNSProvider
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  zones: %[6]s
  ttlSeconds: 5
  rfc2136:
    server: %[4]s
    tsig: {keyName: %[5]s, algorithm: hmac-sha256, secretRef: {name: %[1]s-tsig, key: secret}}
`, name, namespace, tsig, server, bind.OperatorKey, zoneList))
}

// ApplyManifest writes the objects of a manifest, as `kubectl apply --server-side` does.
func (s *Site) ApplyManifest(ctx context.Context, manifest string) error {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w in manifest:\n%s", err, manifest)
		}
		if len(o.Object) == 0 {
			continue
		}
		if err := s.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kubectl"), client.ForceOwnership); err != nil {
			return err
		}
	}
}
