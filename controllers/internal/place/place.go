// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package place finds where the records of an object go: the provider that its reference names, whether it may use it,
// and the zone that holds the name.
package place

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/grant"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// Place is where records go.
type Place struct {
	Provider dnsprovider.ProviderKey
	Spot
	TTL    uint32 // seconds
	Policy dnscheck.Policy
	// Manual: nothing is written; a person pastes the records.
	Manual bool
}

// Spot is a name and the zone that holds it.
type Spot struct{ Name, Zone dnsrecord.Name }

// Wanted is the record that a place is sought for.
type Wanted struct {
	Ref       v1alpha1.ProviderRef
	Namespace string // of the object
	// Domain is the mail domain. Grants are of domains, zones hold names.
	Domain, Name dnsrecord.Name
	// Known is what the object's status says, which saves the search; zero to look anew.
	Known Spot
	// Follow says that a CNAME or DNAME at the name is followed to where it leads.
	Follow bool
}

// Zones finds zones in the public DNS, and where a name leads.
type Zones interface {
	Zone(ctx context.Context, name dnsrecord.Name) (dnscheck.ZoneInfo, error)
	Trace(ctx context.Context, name dnsrecord.Name, policy dnscheck.Policy) (dnscheck.Trace, error)
}

// Finder finds places.
type Finder struct {
	Client   client.Reader
	Accounts *dnsprovider.Accounts
	Zones    Zones
	// ClusterScope is off in namespaced mode, where ClusterDNSProviders and Namespaces may not be read.
	ClusterScope bool
}

// ErrNotOpen says that the provider is Ready, but that this process, which may just have started, has not opened its account yet.
// Nothing is to be said of its users meanwhile, or each restart would write to every one of them: news of the provider
// follows.
var ErrNotOpen = errors.New("the account of the provider is not open yet")

// Find returns the place of a record. A finding says why there is none; the error is ErrNotOpen, or one of the API server.
func (f Finder) Find(ctx context.Context, w Wanted) (Place, *readiness.Finding, error) {
	w.Ref = w.Ref.WithDefaults()
	place, provider, finding, err := f.open(ctx, w)
	if finding != nil || err != nil {
		return Place{}, finding, err
	}
	place.Spot, finding, err = f.spot(ctx, *provider, w, place.Policy)
	return place, finding, err
}

// open finds the provider and whether it may be used; name and zone are still missing.
func (f Finder) open(ctx context.Context, w Wanted) (Place, *provider, *readiness.Finding, error) {
	ref := w.Ref
	if ref.Kind == v1alpha1.ProviderKindClusterDNSProvider && !f.ClusterScope {
		return Place{}, nil, deny(v1alpha1.ReasonProviderNotFound, true,
			"%s cannot be used: this operator works in chosen namespaces alone; name a DNSProvider in spec.providerRef", describe(ref)), nil
	}
	provider, err := f.provider(ctx, ref, w.Namespace)
	if err != nil {
		return Place{}, nil, nil, err
	}
	if provider == nil {
		return Place{}, nil, deny(v1alpha1.ReasonProviderNotFound, true, "%s does not exist; create it or correct spec.providerRef", describe(ref)), nil
	}
	if ref.Kind == v1alpha1.ProviderKindClusterDNSProvider {
		if finding, err := f.checkGrant(ctx, provider.grants, w, w.Domain); finding != nil || err != nil {
			return Place{}, nil, finding, err
		}
	}
	if finding := provider.unready(ref); finding != nil {
		return Place{}, nil, finding, nil
	}
	place := Place{Provider: Key(ref, w.Namespace), TTL: provider.spec.TTL(), Manual: provider.spec.Manual != nil}
	if _, ok := f.Accounts.Get(place.Provider); !ok {
		return Place{}, nil, nil, ErrNotOpen
	}
	if place.Policy, err = PolicyOf(provider.spec.Verification); err != nil {
		return Place{}, nil, deny(v1alpha1.ReasonProviderNotReady, true, "%s: spec.verification: %s", describe(ref), err), nil
	}
	return place, provider, nil, nil
}

// Key names the provider that ref means for an object in namespace.
func Key(ref v1alpha1.ProviderRef, namespace string) dnsprovider.ProviderKey {
	ref = ref.WithDefaults()
	if ref.Kind == v1alpha1.ProviderKindClusterDNSProvider {
		namespace = ""
	}
	return dnsprovider.ProviderKey{Kind: string(ref.Kind), Namespace: namespace, Name: ref.Name}
}

// provider is what the two kinds have in common.
type provider struct {
	spec       v1alpha1.DNSProviderSpec
	status     v1alpha1.DNSProviderStatus
	generation int64
	grants     []v1alpha1.Grant
}

func (f Finder) provider(ctx context.Context, ref v1alpha1.ProviderRef, namespace string) (*provider, error) {
	if ref.Kind == v1alpha1.ProviderKindClusterDNSProvider {
		var p v1alpha1.ClusterDNSProvider
		if err := f.Client.Get(ctx, types.NamespacedName{Name: ref.Name}, &p); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		return &provider{p.Spec.DNSProviderSpec, p.Status, p.Generation, p.Spec.Grants}, nil
	}
	var p v1alpha1.DNSProvider
	if err := f.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, &p); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return &provider{p.Spec, p.Status, p.Generation, nil}, nil
}

func (f Finder) checkGrant(ctx context.Context, grants []v1alpha1.Grant, w Wanted, name dnsrecord.Name) (*readiness.Finding, error) {
	var ns corev1.Namespace
	if err := f.Client.Get(ctx, types.NamespacedName{Name: w.Namespace}, &ns); err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	allowed, err := grant.Allows(grants, labels.Set(ns.Labels), name)
	if err != nil {
		return deny(v1alpha1.ReasonProviderNotReady, true, "%s: spec.%s", describe(w.Ref), err), nil
	}
	if !allowed {
		return deny(v1alpha1.ReasonProviderNotGranted, true,
			"%s does not grant %s to namespace %s; ask who runs it for an entry in spec.grants", describe(w.Ref), name, w.Namespace), nil
	}
	return nil, nil //nolint:nilnil // no finding is a good answer
}

// unready repeats what the provider's own status says, so that nobody has to look there first.
func (p *provider) unready(ref v1alpha1.ProviderRef) *readiness.Finding {
	ready := meta.FindStatusCondition(p.status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil || ready.ObservedGeneration < p.generation || ready.Status == metav1.ConditionUnknown:
		return &readiness.Finding{
			Condition: v1alpha1.ConditionProviderReady, Reason: v1alpha1.ReasonProviderNotReady, Unknown: true,
			Message: describe(ref) + " has not been checked yet",
		}
	case ready.Status == metav1.ConditionFalse:
		stalled := meta.IsStatusConditionTrue(p.status.Conditions, v1alpha1.ConditionStalled)
		reason := ready.Reason
		if !slices.Contains([]string{v1alpha1.ReasonInvalidCredentials, v1alpha1.ReasonServerUnreachable, v1alpha1.ReasonZoneNotFound}, reason) {
			reason = v1alpha1.ReasonProviderNotReady
		}
		return deny(reason, stalled, "%s: %s", describe(ref), ready.Message)
	}
	return nil
}

// PolicyOf reads how published records are to be proven.
func PolicyOf(v *v1alpha1.Verification) (dnscheck.Policy, error) {
	if v == nil {
		return dnscheck.Policy{}, nil
	}
	policy := dnscheck.Policy{Mode: dnscheck.Mode(v.Mode), Strict: v.Strict}
	for _, n := range v.Nameservers {
		server, err := address(n)
		if err != nil {
			return dnscheck.Policy{}, err
		}
		policy.Nameservers = append(policy.Nameservers, server)
	}
	return policy, nil
}

// address reads 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 and [2001:db8::53]:5353.
func address(text string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(ip, 53), nil
	}
	server, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("nameserver %q is neither an address nor an address with a port", text)
	}
	return server, nil
}

func describe(ref v1alpha1.ProviderRef) string { return string(ref.Kind) + " " + ref.Name }

func deny(reason string, person bool, format string, args ...any) *readiness.Finding {
	return &readiness.Finding{
		Condition: v1alpha1.ConditionProviderReady, Reason: reason, Message: fmt.Sprintf(format, args...), Person: person,
	}
}
