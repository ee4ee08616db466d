// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
)

// object is what the two kinds of providers have in common.
type object struct {
	client.Object
	spec   *v1alpha1.DNSProviderSpec
	status *v1alpha1.DNSProviderStatus
}

// get reads the provider; nil if it is gone.
func (r *Reconciler) get(ctx context.Context, req ctrl.Request) (*object, error) {
	var p *object
	if r.Kind == v1alpha1.KindClusterDNSProvider {
		o := &v1alpha1.ClusterDNSProvider{}
		p = &object{o, &o.Spec.DNSProviderSpec, &o.Status}
	} else {
		o := &v1alpha1.DNSProvider{}
		p = &object{o, &o.Spec, &o.Status}
	}
	if err := r.Client.Get(ctx, req.NamespacedName, p.Object); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return p, nil
}

// missingSecretError says which credential a person has to provide.
type missingSecretError struct{ message string }

func (e *missingSecretError) Error() string { return e.message }

// unreadSecretError says that nobody knows what the Secret holds now.
type unreadSecretError struct{ error }

func (e *unreadSecretError) Unwrap() error { return e.error }

// secrets reads credentials from the provider's own namespace, or the operator's for the cluster kind: a tenant's
// reference never reaches another namespace.
func (r *Reconciler) secrets(key dnsprovider.ProviderKey) dnsprovider.SecretReader {
	namespace := key.Namespace
	if key.Kind == v1alpha1.KindClusterDNSProvider {
		namespace = r.Settings.OperatorNamespace
	}
	return func(ctx context.Context, ref v1alpha1.SecretKeyRef) ([]byte, error) {
		var secret corev1.Secret
		err := r.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &secret)
		if apierrors.IsNotFound(err) {
			return nil, &missingSecretError{fmt.Sprintf("Secret %s does not exist in namespace %s; create it with the entry %s", ref.Name, namespace, ref.Key)}
		}
		if apierrors.IsForbidden(err) {
			return nil, &missingSecretError{fmt.Sprintf("Secret %s of namespace %s may not be read; give the operator the right to get it", ref.Name, namespace)}
		}
		if err != nil {
			return nil, &unreadSecretError{fmt.Errorf("read Secret %s of namespace %s: %w", ref.Name, namespace, err)}
		}
		value, ok := secret.Data[ref.Key]
		if !ok {
			return nil, &missingSecretError{fmt.Sprintf("Secret %s in namespace %s has no entry %s; add it", ref.Name, namespace, ref.Key)}
		}
		return value, nil
	}
}

// SetupWithManager registers the controller for its kind.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, news *index.News) error {
	r.News = news
	o, name := client.Object(&v1alpha1.DNSProvider{}), "dnsprovider"
	if r.Kind == v1alpha1.KindClusterDNSProvider {
		o, name = &v1alpha1.ClusterDNSProvider{}, "clusterdnsprovider"
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(name).
		For(o, index.SpecChanged()).
		WatchesRawSource(news.Listen(r.concerned)).
		Complete(r)
}

// concerned: the queue found the credentials refused, so that they are read again.
func (r *Reconciler) concerned(_ context.Context, about dnsprovider.Owner) []reconcile.Request {
	key, ok := index.IsProvider(about)
	if !ok || key.Kind != r.Kind || !r.Accounts.IsStale(key) {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: key.Namespace, Name: key.Name}}}
}
