// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
)

// fails answers every read with the same error.
type fails struct {
	client.Reader
	err error
}

func (f fails) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return f.err
}

// An API server that stumbles says nothing of the credentials: a domain must not lose its provider by it.
func TestASecretThatCannotBeReadIsNotAMissingOne(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	spec := &v1alpha1.DNSProviderSpec{RFC2136: &v1alpha1.RFC2136{
		Server: "192.0.2.53", TSIG: &v1alpha1.TSIG{KeyName: "op", SecretRef: v1alpha1.SecretKeyRef{Name: "tsig", Key: "secret"}},
	}}
	stumbles := apierrors.NewTimeoutError("etcd", 1)
	for err, reason := range map[error]string{
		apierrors.NewNotFound(secrets, "tsig"):       v1alpha1.ReasonSecretMissing,
		apierrors.NewForbidden(secrets, "tsig", nil): v1alpha1.ReasonSecretMissing,
		stumbles: "",
	} {
		r := &Reconciler{Live: fails{err: err}, Clock: clocktesting.NewFakePassiveClock(time.Unix(0, 0)), Kind: v1alpha1.KindDNSProvider}
		got, unknown := r.try(t.Context(), dnsprovider.ProviderKey{Kind: r.Kind, Namespace: "mail", Name: "bind"}, &object{spec: spec})
		if reason == "" && (!errors.Is(unknown, stumbles) || len(got.findings) > 0) {
			t.Errorf("%v: %+v, %v", err, got, unknown)
		}
		if reason != "" && (unknown != nil || len(got.findings) != 1 || got.findings[0].Reason != reason) {
			t.Errorf("%v: %+v, %v", err, got, unknown)
		}
	}
}
