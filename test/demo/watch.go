// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

var domainKey = client.ObjectKey{Namespace: namespace, Name: "example-org"}

// witness tells events and conditions of the mail domain as they come.
type witness struct {
	*demo
	since      time.Time
	events     map[types.UID]bool
	conditions map[string]string
}

func (d *demo) newWitness() *witness {
	return &witness{demo: d, since: d.screen.now(), events: map[types.UID]bool{}, conditions: map[string]string{}}
}

// until tells what happens until done says yes to the domain.
func (w *witness) until(ctx context.Context, waitingFor string, done func(*v1alpha1.MailDomain) bool) error {
	return poll(ctx, func() (bool, error) {
		var domain v1alpha1.MailDomain
		if err := w.client.Get(ctx, domainKey, &domain); err != nil {
			return false, err
		}
		yes := done(&domain)
		if err := w.tell(ctx, &domain); err != nil {
			return false, err
		}
		if !yes {
			w.screen.wait(waitingFor)
		}
		return yes, nil
	})
}

// tell shows what is new. Events come first: they are why a condition changes.
func (w *witness) tell(ctx context.Context, domain *v1alpha1.MailDomain) error {
	var list eventsv1.EventList
	if err := w.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return err
	}
	slices.SortFunc(list.Items, func(a, b eventsv1.Event) int {
		return cmp.Or(a.EventTime.Compare(b.EventTime.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, e := range list.Items {
		if w.events[e.UID] {
			continue
		}
		w.events[e.UID] = true
		if e.Reason == v1alpha1.ReasonReady && e.Regarding.Kind != v1alpha1.KindDNSProvider {
			continue // the domain's condition tells it, and KeyUsable the key's
		}
		how := plain
		if e.Type == corev1.EventTypeWarning {
			how = yellow
		}
		w.row(e.EventTime.Time, how, e.Regarding.Name, e.Reason, e.Note)
	}
	conditions := slices.Clone(domain.Status.Conditions)
	slices.SortStableFunc(conditions, func(a, b metav1.Condition) int { return order(a) - order(b) })
	for _, c := range conditions {
		w.tellCondition(c)
	}
	return nil
}

// order puts Ready, which sums the others up, at the end.
func order(c metav1.Condition) int {
	if c.Type == v1alpha1.ConditionReady {
		return 1
	}
	return 0
}

// tellCondition shows Ready with each reason that it has on its way, and of the others that they became True.
// Reconciling is for programs: it says what Ready says.
func (w *witness) tellCondition(c metav1.Condition) {
	is := string(c.Status) + " " + c.Reason
	if w.conditions[c.Type] == is || c.Type == v1alpha1.ConditionReconciling {
		return
	}
	w.conditions[c.Type] = is
	positive := slices.Contains(normalTrue(), c.Type)
	switch {
	case c.Status == metav1.ConditionTrue && positive:
		w.row(w.screen.now(), green, domainKey.Name, c.Type+"=True", c.Message)
	case c.Status == metav1.ConditionTrue:
		w.row(w.screen.now(), yellow, domainKey.Name, c.Type+"=True", c.Message)
	case c.Type == v1alpha1.ConditionReady:
		w.row(w.screen.now(), dim, domainKey.Name, c.Type+"="+string(c.Status), c.Reason+": "+c.Message)
	}
}

func normalTrue() []string {
	return []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionKeysReady, v1alpha1.ConditionRecordsPublished,
		v1alpha1.ConditionRecordsVerified, v1alpha1.ConditionProviderReady,
	}
}

// row is one line of the report: when, who, what and why. A key is known by its selector.
func (w *witness) row(at time.Time, how style, who, what, why string) {
	when := fmt.Sprintf("%+5.1f s  ", max(0, at.Sub(w.since).Seconds()))
	rest := fmt.Sprintf("%-12s %-22s %s", strings.TrimPrefix(who, domainKey.Name+"-"), what, why)
	w.screen.line(indent + w.screen.paint(dim, when) + w.screen.paint(how, cut(rest, w.screen.width-len(indent)-len(when))))
}

// watch waits until the domain is Ready.
func (d *demo) watch(ctx context.Context) error {
	d.screen.note("A key signs only when every cache must have forgotten that its record was not there: here after %.0f seconds;"+
		" in real life after 15 minutes, or the zone's negative TTL if that is longer.", minimumWait.Seconds())
	w := d.newWitness()
	if err := w.until(ctx, "waiting for Ready=True", ready); err != nil {
		return fmt.Errorf("wait until MailDomain example-org is Ready: %w", err)
	}
	d.screen.ok("Ready after %.1f s", d.screen.now().Sub(w.since).Seconds())
	return nil
}

func ready(domain *v1alpha1.MailDomain) bool {
	c := meta.FindStatusCondition(domain.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == domain.Generation
}

// explain shows what a person needs to find the fault: the step's error, the conditions, and the end of a log.
func (d *demo) explain(err error) {
	s := d.screen
	for l := range strings.Lines(err.Error()) {
		s.bad("%s", l)
	}
	if errors.Is(err, errInterrupted) {
		return
	}
	d.explainObjects()
	switch lines := tail(d.culprit, 20); {
	case d.culprit == "":
	case len(lines) == 0:
		s.note("%s wrote nothing.", filepath.Base(d.culprit))
	default:
		s.note("the end of %s:", filepath.Base(d.culprit))
		for _, l := range lines {
			s.line(indent + s.paint(dim, "│ ") + cut(l, 400)) // here everything counts, not the picture
		}
	}
}

// explainObjects shows all conditions that are not as they should be; Reconciling only repeats them.
func (d *demo) explainObjects() {
	if d.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var providers v1alpha1.DNSProviderList
	var domains v1alpha1.MailDomainList
	var keys v1alpha1.DKIMKeyList
	for _, list := range []client.ObjectList{&providers, &domains, &keys} {
		if err := d.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return
		}
	}
	for _, o := range providers.Items {
		d.explainConditions(v1alpha1.KindDNSProvider, o.Name, o.Status.Conditions)
	}
	for _, o := range domains.Items {
		d.explainConditions(v1alpha1.KindMailDomain, o.Name, o.Status.Conditions)
	}
	for _, o := range keys.Items {
		d.explainConditions(v1alpha1.KindDKIMKey, o.Name, o.Status.Conditions)
	}
}

func (d *demo) explainConditions(kind, name string, conditions []metav1.Condition) {
	for _, c := range conditions {
		good := c.Status == metav1.ConditionTrue && slices.Contains(normalTrue(), c.Type)
		if !good && c.Type != v1alpha1.ConditionReconciling {
			d.screen.mark(yellow, "·", fmt.Sprintf("%s %s  %s=%s  %s: %s", kind, name, c.Type, c.Status, c.Reason, c.Message))
		}
	}
}
