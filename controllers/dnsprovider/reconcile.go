// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dnsprovider tries the credentials of DNSProviders and ClusterDNSProviders and opens their accounts.
package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/announce"
	"github.com/maildomain-operator/maildomain-operator/controllers/internal/index"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
	"github.com/maildomain-operator/maildomain-operator/internal/readiness"
)

// +kubebuilder:rbac:groups=maildomain.dev,resources=dnsproviders;clusterdnsproviders,verbs=get;list;watch
// +kubebuilder:rbac:groups=maildomain.dev,resources=dnsproviders/status;clusterdnsproviders/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

const (
	// recheck is how often credentials that work are tried again.
	recheck = 12 * time.Hour
	// maxZones bounds the list in status; zoneCount tells the rest.
	maxZones = 50
)

// Reconciler reconciles providers of one kind.
type Reconciler struct {
	Client   client.Client
	Live     client.Reader // credentials are read live, never through the label-filtered cache
	Clock    clock.PassiveClock
	Events   events.EventRecorder
	Accounts *dnsprovider.Accounts
	News     *index.News
	Settings Settings
	// Kind is DNSProvider or ClusterDNSProvider.
	Kind string
	// Retry is how often credentials that do not work are tried again.
	Retry time.Duration
}

// Settings are the operator's flags that concern providers.
type Settings struct {
	// OperatorNamespace holds the credentials of ClusterDNSProviders.
	OperatorNamespace string
	// AllowedEndpoints are the hosts that the providers of tenants may point at; empty allows all.
	AllowedEndpoints Endpoints
	// WireTime is what messages say that a server compares with its own clock (TSIG, RFC 8945); the Reconciler's clock if nil.
	WireTime func() time.Time
	// Transport carries requests to HTTP APIs; http.DefaultTransport if nil.
	Transport http.RoundTripper
}

func (r *Reconciler) wireTime() func() time.Time {
	if r.Settings.WireTime != nil {
		return r.Settings.WireTime
	}
	return r.Clock.Now
}

// Reconcile tries the credentials of one provider.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	key := dnsprovider.ProviderKey{Kind: r.Kind, Namespace: req.Namespace, Name: req.Name}
	p, err := r.get(ctx, req)
	if err != nil || p == nil {
		if p == nil && err == nil {
			r.Accounts.Delete(key)
		}
		return ctrl.Result{}, err
	}
	outcome, err := r.try(ctx, key, p)
	if err != nil {
		return ctrl.Result{}, err // unknown is not absent: an account that is open stays so
	}
	if outcome.open != nil {
		_, had := r.Accounts.Get(key)
		r.Accounts.Set(key, outcome.open)
		if !had {
			r.News.Tell(ctx, dnsprovider.Owner{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name})
		}
	} else {
		r.Accounts.Delete(key)
	}
	if err := r.report(ctx, p, outcome); err != nil {
		return ctrl.Result{}, err
	}
	if len(outcome.findings) > 0 {
		return ctrl.Result{RequeueAfter: r.Retry}, nil
	}
	return ctrl.Result{RequeueAfter: recheck}, nil
}

// forbiddenNameserver: what a tenant has the prober ask is as much our place in the network as what the driver talks to.
func (r *Reconciler) forbiddenNameserver(spec v1alpha1.DNSProviderSpec) string {
	if r.Kind == v1alpha1.KindClusterDNSProvider || spec.Verification == nil {
		return ""
	}
	for _, n := range spec.Verification.Nameservers {
		if !r.Settings.AllowedEndpoints.Allow(n) {
			return n
		}
	}
	return ""
}

// outcome is what came of trying a provider.
type outcome struct {
	open     *dnsprovider.Account // nil: must not be used
	zones    []dnsrecord.Name
	findings []readiness.Finding
	notes    []readiness.Note
}

// try opens the account and asks the provider whether the credentials work. An error is one of the API server, which says
// nothing of them.
func (r *Reconciler) try(ctx context.Context, key dnsprovider.ProviderKey, p *object) (outcome, error) {
	deny := func(reason, message string, person bool) outcome {
		return outcome{findings: []readiness.Finding{{Reason: reason, Message: message, Person: person}}}
	}
	forbidden := r.forbiddenNameserver(*p.spec)
	account, err := dnsprovider.Open(ctx, *p.spec, dnsprovider.OpenOptions{
		Secrets: r.secrets(key), Now: r.wireTime(), Transport: r.Settings.Transport,
		AmbientIdentity: r.Kind == v1alpha1.KindClusterDNSProvider, // a tenant is not the operator's pod
		EndpointAllowed: func(hostport string) bool {
			// The cluster kind is written by who runs the operator.
			if r.Kind == v1alpha1.KindClusterDNSProvider || r.Settings.AllowedEndpoints.Allow(hostport) {
				return true
			}
			forbidden = hostport
			return false
		},
	})
	if forbidden != "" {
		return deny(v1alpha1.ReasonEndpointNotAllowed,
			"endpoint "+forbidden+" is not allowed; ask who runs the operator to allow it with --provider-endpoint-allow", true), nil
	}
	if _, ok := errors.AsType[*unreadSecretError](err); ok {
		return outcome{}, err
	}
	if err != nil {
		return refused(err), nil
	}
	zones, err := zonesOf(*p.spec)
	if err != nil {
		return deny(v1alpha1.ReasonInvalidConfiguration, err.Error(), true), nil
	}
	if err := account.Driver.Check(ctx, zones); err != nil {
		o := refused(err)
		var e *dnsprovider.Error
		if errors.As(err, &e) && e.Temporary() {
			o.open = account // what was live stays live: the queue tries on by itself
		}
		return o, nil
	}
	if len(zones) == 0 {
		// A list is a help, not a need: many servers have none.
		if listed, err := account.Driver.Zones(ctx); err == nil {
			zones = listed
		}
	}
	return outcome{open: account, zones: zones, notes: notesOf(account)}, nil
}

// notesOf are what people should know of an account that works.
func notesOf(account *dnsprovider.Account) []readiness.Note {
	if account.Experimental == "" {
		return nil
	}
	return []readiness.Note{{Condition: v1alpha1.ConditionExperimental, Reason: v1alpha1.ReasonNotConformant, Message: account.Experimental}}
}

// refused says what an error of the provider means.
func refused(err error) outcome {
	finding := readiness.Finding{Reason: v1alpha1.ReasonInvalidConfiguration, Message: err.Error(), Person: true}
	var missing *missingSecretError
	var e *dnsprovider.Error
	switch {
	case errors.As(err, &missing):
		finding.Reason = v1alpha1.ReasonSecretMissing
	case errors.As(err, &e):
		finding.Person = !e.Temporary()
		reasons := map[dnsprovider.Reason]string{
			dnsprovider.Unauthorized: v1alpha1.ReasonInvalidCredentials, dnsprovider.Unreachable: v1alpha1.ReasonServerUnreachable,
			dnsprovider.ZoneNotFound: v1alpha1.ReasonZoneNotFound, dnsprovider.Throttled: v1alpha1.ReasonThrottled,
			dnsprovider.Refused: v1alpha1.ReasonInvalidCredentials, dnsprovider.Unknown: v1alpha1.ReasonServerUnreachable,
		}
		if reason, ok := reasons[e.Reason]; ok {
			finding.Reason = reason
		}
	}
	return outcome{findings: []readiness.Finding{finding}}
}

func zonesOf(spec v1alpha1.DNSProviderSpec) ([]dnsrecord.Name, error) {
	zones := make([]dnsrecord.Name, 0, len(spec.Zones))
	for i, z := range spec.Zones {
		zone, err := dnsrecord.ParseName(z)
		if err != nil {
			return nil, fmt.Errorf("spec.zones[%d]: %w", i, err)
		}
		zones = append(zones, zone)
	}
	return zones, nil
}

// report writes the status if it changed.
func (r *Reconciler) report(ctx context.Context, p *object, o outcome) error {
	before := *p.status
	after := *before.DeepCopy()
	after.ObservedGeneration, after.Type = p.GetGeneration(), p.spec.Type()
	if o.open != nil && len(o.findings) == 0 {
		after.Zones, after.ZoneCount = listed(o.zones), int32(min(len(o.zones), math.MaxInt32))
	}
	after.Conditions = readiness.Conditions(before.Conditions, p.GetGeneration(), nil, o.findings, o.notes, r.Clock.Now())
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	unchanged := p.DeepCopyObject().(client.Object)
	*p.status = after
	err := r.Client.Status().Patch(ctx, p.Object, client.MergeFromWithOptions(unchanged, client.MergeFromWithOptimisticLock{}))
	if err == nil {
		announce.Conditions(ctx, r.Events, unchanged, before.Conditions, after.Conditions)
	}
	return client.IgnoreNotFound(err)
}

func listed(zones []dnsrecord.Name) []string {
	var names []string
	for _, z := range zones {
		names = append(names, string(z))
	}
	slices.Sort(names)
	return names[:min(len(names), maxZones)]
}
