// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// timeline is the clock of an operator and of its API server, which a test turns forward: weeks pass at once.
type timeline struct {
	ahead atomic.Int64 // of real time
	skew  atomic.Int64 // of the API server's clock
}

func (c *timeline) Now() time.Time                  { return clock.RealClock{}.Now().Add(time.Duration(c.ahead.Load())) }
func (c *timeline) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// wrap has the API server tell this time.
func (c *timeline) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err == nil {
			told := c.Now().Add(time.Duration(c.skew.Load()))
			response.Header.Set("Date", told.UTC().Format(http.TimeFormat))
		}
		return response, err
	})
}

func (b *bench) time() *timeline { return b.settings.Clock.(*timeline) }

func (b *bench) now() time.Time { return b.time().Now() }

// pass lets time go by. Timers run in real time, so that whoever waits is woken.
func (b *bench) pass(d time.Duration) {
	b.Helper()
	b.time().ahead.Add(int64(d))
	b.poke()
}

// poke has every domain and key of the namespace looked at.
func (b *bench) poke() {
	b.Helper()
	tick := strconv.FormatInt(b.now().UnixNano(), 10)
	var domains v1alpha1.MailDomainList
	var keys v1alpha1.DKIMKeyList
	for _, list := range []client.ObjectList{&domains, &keys} {
		if err := b.List(b.Context(), list, client.InNamespace(b.namespace)); err != nil {
			b.Fatal(err)
		}
	}
	var all []client.Object
	for i := range domains.Items {
		all = append(all, &domains.Items[i])
	}
	for i := range keys.Items {
		all = append(all, &keys.Items[i])
	}
	for _, o := range all {
		before := o.DeepCopyObject().(client.Object)
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations["test/tick"] = tick
		o.SetAnnotations(annotations)
		if err := b.Patch(b.Context(), o, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			b.Fatal(err)
		}
	}
}

// says writes a person's word, with the time that it is now.
func (b *bench) word(d *v1alpha1.MailDomain, annotation string) string {
	b.Helper()
	value := b.now().UTC().Format(time.RFC3339)
	edit(b, d, func(d *v1alpha1.MailDomain) { metav1.SetMetaDataAnnotation(&d.ObjectMeta, annotation, value) })
	return value
}
