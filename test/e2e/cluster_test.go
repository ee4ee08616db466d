// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/test/env/site"
)

// kubectlApply applies a manifest of a story and shows it.
func (e *environment) kubectlApply(t *testing.T, manifest string) {
	t.Helper()
	e.tell(t, "$ kubectl apply --server-side -f - <<EOF\n%sEOF", manifest)
	if err := e.ApplyManifest(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
}

// mailDomain waits until a MailDomain is as wanted and returns it.
func (e *environment) mailDomain(t *testing.T, namespace, name, what string, is func(*v1alpha1.MailDomain) bool) *v1alpha1.MailDomain {
	t.Helper()
	d := &v1alpha1.MailDomain{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	e.await(t, d, what, func() bool { return is(d) })
	return d
}

// patience bounds every wait of a story.
const patience = 90 * time.Second

// await reads an object again and again until it is as wanted.
func (e *environment) await(t *testing.T, o client.Object, what string, is func() bool) {
	t.Helper()
	err := eventually(t.Context(), func(ctx context.Context) error {
		if err := e.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		if !is() {
			return errors.New("not so yet")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%T %s never came to be %s: %v\n%s\nthe manager's last lines:\n%s", o, o.GetName(), what, err, describe(o), e.Manager.Tail(20))
	}
}

// eventually asks until check returns nil, or patience ends.
func eventually(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		// What the end of the wait makes of a call says nothing.
		if last == nil || ctx.Err() == nil && !strings.Contains(err.Error(), "context deadline") {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// describe is what `kubectl describe` says that matters here.
func describe(o client.Object) string {
	var lines []string
	for _, c := range conditionsOf(o) {
		lines = append(lines, fmt.Sprintf("  %-20s %-7s %-22s %s", c.Type, c.Status, c.Reason, c.Message))
	}
	if d, ok := o.(*v1alpha1.MailDomain); ok {
		for _, k := range d.Status.Keys {
			lines = append(lines, fmt.Sprintf("  key     %-14s %-8s %s", k.Selector, k.Algorithm, k.Phase))
		}
		for _, r := range d.Status.Records {
			lines = append(lines, strings.TrimRight(fmt.Sprintf("  record  %-40s %-8s %-9s %s", r.Name, r.Purpose, r.State, r.Message), " "))
		}
	}
	return strings.Join(lines, "\n")
}

func conditionsOf(o client.Object) []metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.MailDomain:
		return o.Status.Conditions
	case *v1alpha1.DKIMKey:
		return o.Status.Conditions
	case *v1alpha1.DNSProvider:
		return o.Status.Conditions
	}
	return nil
}

// has tells whether a condition stands for the object's present generation. An empty reason is any.
func has(o client.Object, kind string, status metav1.ConditionStatus, reasons ...string) bool {
	c := meta.FindStatusCondition(conditionsOf(o), kind)
	return c != nil && c.Status == status && c.ObservedGeneration == o.GetGeneration() && (len(reasons) == 0 || slices.Contains(reasons, c.Reason))
}

func ready(d *v1alpha1.MailDomain) bool { return has(d, v1alpha1.ConditionReady, metav1.ConditionTrue) }

// signs tells whether a key of each algorithm signs.
func signs(d *v1alpha1.MailDomain, algorithms ...v1alpha1.Algorithm) bool {
	for _, a := range algorithms {
		if !slices.ContainsFunc(d.Status.Keys, func(k v1alpha1.KeyStatus) bool {
			return k.Algorithm == a && k.Phase == v1alpha1.PhaseSigning
		}) {
			return false
		}
	}
	return true
}

// event waits for an event about an object with one of the reasons and shows it.
func (e *environment) event(t *testing.T, o client.Object, reasons ...string) {
	t.Helper()
	var found string
	var seen []string
	err := eventually(t.Context(), func(ctx context.Context) error {
		var list eventsv1.EventList
		if err := e.List(ctx, &list, client.InNamespace(o.GetNamespace())); err != nil {
			return err
		}
		seen = nil
		for _, ev := range list.Items {
			if ev.Regarding.Name != o.GetName() || ev.Regarding.UID != o.GetUID() {
				continue
			}
			line := fmt.Sprintf("%s %s: %s", ev.Type, ev.Reason, ev.Note)
			seen = append(seen, line)
			if slices.Contains(reasons, ev.Reason) {
				found = line
			}
		}
		if found == "" {
			return fmt.Errorf("no event %s about %s; there are:\n  %s", strings.Join(reasons, " or "), o.GetName(), strings.Join(seen, "\n  "))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
		return
	}
	e.tell(t, "event of %s: %s", o.GetName(), found)
}

// milterKeys is what the milter says it holds.
func (e *environment) milterKeys(ctx context.Context) (string, error) {
	return site.Get(ctx, site.MilterURL+"/keys")
}
