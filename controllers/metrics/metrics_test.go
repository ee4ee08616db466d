// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

// now is a round number, for the values to be read.
var now = time.Unix(1_800_000_000, 0).UTC()

// ago is a time of a status.
func ago(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(-d)} }

func key(selector string, phase v1alpha1.KeyPhase, age time.Duration, changes ...func(*v1alpha1.DKIMKey)) *v1alpha1.DKIMKey {
	k := &v1alpha1.DKIMKey{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "acme-" + selector, CreationTimestamp: *ago(age)},
		Spec:       v1alpha1.DKIMKeySpec{Domain: "acme.example", Selector: selector, Algorithm: v1alpha1.AlgorithmRSA},
		Status:     v1alpha1.DKIMKeyStatus{Phase: phase},
	}
	for _, change := range changes {
		change(k)
	}
	return k
}

func mailDomain(changes ...func(*v1alpha1.MailDomain)) *v1alpha1.MailDomain {
	d := &v1alpha1.MailDomain{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "acme"}, Spec: v1alpha1.MailDomainSpec{Domain: "acme.example"},
	}
	for _, change := range changes {
		change(d)
	}
	return d
}

func verified(k *v1alpha1.DKIMKey) { k.Status.RecordState = v1alpha1.RecordVerified }

func stalled(since time.Duration) func(*v1alpha1.DKIMKey) {
	return func(k *v1alpha1.DKIMKey) {
		k.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue, LastTransitionTime: *ago(since)}}
	}
}

func due(ago *metav1.Time) func(*v1alpha1.MailDomain) {
	return func(d *v1alpha1.MailDomain) { d.Status.Rotation = &v1alpha1.RotationStatus{NextTime: ago} }
}

// collector scrapes these objects.
func collector(t *testing.T, objects ...client.Object) *Collector {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return &Collector{
		Objects: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(), Clock: clocktesting.NewFakePassiveClock(now),
	}
}

func TestAScrapeTellsHowDomainsAndKeysStand(t *testing.T) {
	c := collector(
		t,
		mailDomain(func(d *v1alpha1.MailDomain) {
			d.Status.Rotation = &v1alpha1.RotationStatus{NextTime: ago(-time.Hour), LastTime: ago(2 * time.Hour)}
			d.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionMailHeld, Status: metav1.ConditionTrue}}
		}),
		&v1alpha1.MailDomain{
			ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "mueller"}, Spec: v1alpha1.MailDomainSpec{Domain: "Müller.example"},
			Status: v1alpha1.MailDomainStatus{Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionRecordsPublished, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRemovalHeld},
			}},
		},
		key("a", v1alpha1.PhaseSigning, 3*time.Hour, verified, func(k *v1alpha1.DKIMKey) { k.Status.SigningSinceTime = ago(2 * time.Hour) }),
		key("b", v1alpha1.PhaseRetiring, 9*time.Hour, verified, func(k *v1alpha1.DKIMKey) { k.Status.SigningSinceTime = ago(8 * time.Hour) }),
		key("c", v1alpha1.PhasePublishing, 2*time.Hour),
		key("d", "", 0),
	)
	const want = `
# HELP maildomain_dkim_key_created_timestamp_seconds When the DKIMKey was made.
# TYPE maildomain_dkim_key_created_timestamp_seconds gauge
maildomain_dkim_key_created_timestamp_seconds{algorithm="RSA",domain="acme.example",name="acme-a",namespace="mail",selector="a"} 1.7999892e+09
maildomain_dkim_key_created_timestamp_seconds{algorithm="RSA",domain="acme.example",name="acme-b",namespace="mail",selector="b"} 1.7999676e+09
maildomain_dkim_key_created_timestamp_seconds{algorithm="RSA",domain="acme.example",name="acme-c",namespace="mail",selector="c"} 1.7999928e+09
maildomain_dkim_key_created_timestamp_seconds{algorithm="RSA",domain="acme.example",name="acme-d",namespace="mail",selector="d"} 1.8e+09
# HELP maildomain_dkim_key_phase 1 for the phase in which the key is: Pending, Publishing, Standby, Signing, Retiring or Revoked.
# TYPE maildomain_dkim_key_phase gauge
maildomain_dkim_key_phase{algorithm="RSA",domain="acme.example",name="acme-a",namespace="mail",phase="Signing",selector="a"} 1
maildomain_dkim_key_phase{algorithm="RSA",domain="acme.example",name="acme-b",namespace="mail",phase="Retiring",selector="b"} 1
maildomain_dkim_key_phase{algorithm="RSA",domain="acme.example",name="acme-c",namespace="mail",phase="Publishing",selector="c"} 1
# HELP maildomain_dkim_key_record_verified 1 if every authoritative server answers the key's record as it should be, 0 if not.
# TYPE maildomain_dkim_key_record_verified gauge
maildomain_dkim_key_record_verified{algorithm="RSA",domain="acme.example",name="acme-a",namespace="mail",selector="a"} 1
maildomain_dkim_key_record_verified{algorithm="RSA",domain="acme.example",name="acme-b",namespace="mail",selector="b"} 1
maildomain_dkim_key_record_verified{algorithm="RSA",domain="acme.example",name="acme-c",namespace="mail",selector="c"} 0
maildomain_dkim_key_record_verified{algorithm="RSA",domain="acme.example",name="acme-d",namespace="mail",selector="d"} 0
# HELP maildomain_dkim_key_signing_since_timestamp_seconds Since when the key signs; only while it does.
# TYPE maildomain_dkim_key_signing_since_timestamp_seconds gauge
maildomain_dkim_key_signing_since_timestamp_seconds{algorithm="RSA",domain="acme.example",name="acme-a",namespace="mail",selector="a"} 1.7999928e+09
# HELP maildomain_dkim_key_stuck_since_timestamp_seconds Since when the key has not come further; only while that is too long or needs a person.
# TYPE maildomain_dkim_key_stuck_since_timestamp_seconds gauge
maildomain_dkim_key_stuck_since_timestamp_seconds{algorithm="RSA",domain="acme.example",name="acme-c",namespace="mail",selector="c"} 1.7999928e+09
# HELP maildomain_mail_held 1 if signers hold the mail of the domain (451) because no usable key is left, 0 if not.
# TYPE maildomain_mail_held gauge
maildomain_mail_held{domain="acme.example",name="acme",namespace="mail"} 1
maildomain_mail_held{domain="xn--mller-kva.example",name="mueller",namespace="mail"} 0
# HELP maildomain_removal_held 1 if the domain's records are to go together with so many others that a person has to agree first, 0 if not.
# TYPE maildomain_removal_held gauge
maildomain_removal_held{domain="acme.example",name="acme",namespace="mail"} 0
maildomain_removal_held{domain="xn--mller-kva.example",name="mueller",namespace="mail"} 1
# HELP maildomain_rotation_last_success_timestamp_seconds When a new key last began to sign in place of another one.
# TYPE maildomain_rotation_last_success_timestamp_seconds gauge
maildomain_rotation_last_success_timestamp_seconds{domain="acme.example",name="acme",namespace="mail"} 1.7999928e+09
# HELP maildomain_rotation_next_timestamp_seconds When the next rotation begins; only where one is planned.
# TYPE maildomain_rotation_next_timestamp_seconds gauge
maildomain_rotation_next_timestamp_seconds{domain="acme.example",name="acme",namespace="mail"} 1.8000036e+09
# HELP maildomain_rotation_stuck_since_timestamp_seconds Since when a rotation that is due, or the key for the next one, has not come further; only while it is stuck.
# TYPE maildomain_rotation_stuck_since_timestamp_seconds gauge
maildomain_rotation_stuck_since_timestamp_seconds{domain="acme.example",name="acme",namespace="mail"} 1.7999928e+09
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("against the naming conventions of Prometheus: %v %v", problems, err)
	}
}

func TestAKeyIsStuckWhenItNeedsAPersonOrTakesTooLong(t *testing.T) {
	for name, c := range map[string]struct {
		key  *v1alpha1.DKIMKey
		want *metav1.Time
	}{
		"that was just made":                        {key("a", "", time.Minute), nil},
		"that is being published for an hour":       {key("a", v1alpha1.PhasePublishing, time.Hour), nil},
		"that no controller has looked at":          {key("a", "", 2*time.Hour), ago(2 * time.Hour)},
		"whose key pair is missing for long":        {key("a", v1alpha1.PhasePending, 2*time.Hour), ago(2 * time.Hour)},
		"whose record a server lacks for long":      {key("a", v1alpha1.PhasePublishing, 3*time.Hour, published(2*time.Hour)), ago(2 * time.Hour)},
		"whose record was published just now":       {key("a", v1alpha1.PhasePublishing, 3*time.Hour, published(time.Minute)), nil},
		"that waits for caches, however long":       {key("a", v1alpha1.PhasePublishing, 48*time.Hour, waiting), nil},
		"that stands by":                            {key("a", v1alpha1.PhaseStandby, 9000*time.Hour), nil},
		"that signs":                                {key("a", v1alpha1.PhaseSigning, 9000*time.Hour), nil},
		"on its way out":                            {key("a", v1alpha1.PhaseRetiring, 9000*time.Hour), nil},
		"that is revoked":                           {key("a", v1alpha1.PhaseRevoked, 9000*time.Hour), nil},
		"whose selector somebody else has, at once": {key("a", v1alpha1.PhasePublishing, 2*time.Minute, stalled(time.Minute)), ago(time.Minute)},
		"that signs, and whose record was replaced": {key("a", v1alpha1.PhaseSigning, 9000*time.Hour, stalled(time.Minute)), ago(time.Minute)},
	} {
		if got := stuckSince(c.key, now); !got.Equal(c.want) {
			t.Errorf("a key %s is stuck since %v, want %v", name, got, c.want)
		}
	}
}

func published(since time.Duration) func(*v1alpha1.DKIMKey) {
	return func(k *v1alpha1.DKIMKey) {
		k.Status.RecordState, k.Status.RecordStateChangedTime = v1alpha1.RecordPublished, ago(since)
	}
}

func waiting(k *v1alpha1.DKIMKey) {
	k.Status.VerifiedTime, k.Status.UsableTime = ago(time.Hour), ago(-time.Hour)
}

func TestARotationIsStuckWhenItIsDueOrAKeyOfItsDomainIsStuck(t *testing.T) {
	elsewhere := key("z", v1alpha1.PhasePending, 9*time.Hour)
	elsewhere.Namespace = "other"
	for name, c := range map[string]struct {
		domain *v1alpha1.MailDomain
		key    *v1alpha1.DKIMKey
		want   *metav1.Time
	}{
		"without a plan":                         {mailDomain(), nil, nil},
		"that comes":                             {mailDomain(due(ago(-time.Hour))), nil, nil},
		"that is due just now":                   {mailDomain(due(ago(time.Minute))), nil, nil},
		"that is due for long":                   {mailDomain(due(ago(2 * time.Hour))), nil, ago(2 * time.Hour)},
		"whose spare is stuck":                   {mailDomain(due(ago(-time.Hour))), key("b", v1alpha1.PhasePending, 3*time.Hour), ago(3 * time.Hour)},
		"whose spare was stuck before":           {mailDomain(due(ago(2 * time.Hour))), key("b", v1alpha1.PhasePending, 3*time.Hour), ago(3 * time.Hour)},
		"whose spare became stuck after":         {mailDomain(due(ago(4 * time.Hour))), key("b", v1alpha1.PhasePending, 3*time.Hour), ago(4 * time.Hour)},
		"while a namesake of others has a fault": {mailDomain(), elsewhere, nil},
	} {
		objects := []client.Object{c.domain}
		if c.key != nil {
			objects = append(objects, c.key)
		}
		want := ""
		if c.want != nil {
			want = "# TYPE maildomain_rotation_stuck_since_timestamp_seconds gauge\n" +
				"# HELP maildomain_rotation_stuck_since_timestamp_seconds Since when a rotation that is due, or the key for the next one, has not come further; only while it is stuck.\n" +
				fmt.Sprintf("maildomain_rotation_stuck_since_timestamp_seconds{domain=%q,name=%q,namespace=%q} %d\n", "acme.example", "acme", "mail", c.want.Unix())
		}
		if err := testutil.CollectAndCompare(collector(t, objects...), strings.NewReader(want), "maildomain_rotation_stuck_since_timestamp_seconds"); err != nil {
			t.Errorf("a rotation %s: %v", name, err)
		}
	}
}

func TestHowMuchIsLeftOfAnSPFRecord(t *testing.T) {
	left := func(lookups, voids int32, permError string) func(*v1alpha1.MailDomain) {
		return func(d *v1alpha1.MailDomain) {
			d.Status.SPF = &v1alpha1.SPFStatus{LookupsLeft: &lookups, VoidLookups: voids, PermError: permError}
		}
	}
	for title, c := range map[string]struct {
		domain func(*v1alpha1.MailDomain)
		want   map[string]int
	}{
		"nobody has looked":          {func(d *v1alpha1.MailDomain) { d.Status.SPF = &v1alpha1.SPFStatus{AnswerOctets: 90} }, nil},
		"plenty":                     {left(6, 1, ""), map[string]int{"spf_lookups_left": 6, "spf_void_lookups_left": 1, "spf_permerror": 0}},
		"too many lookups":           {left(-1, 0, ""), map[string]int{"spf_lookups_left": -1, "spf_void_lookups_left": 2, "spf_permerror": 1}},
		"too many without answer":    {left(5, 3, ""), map[string]int{"spf_lookups_left": 5, "spf_void_lookups_left": -1, "spf_permerror": 1}},
		"broken by whoever is there": {left(9, 1, "gone.test has no SPF record"), map[string]int{"spf_lookups_left": 9, "spf_void_lookups_left": 1, "spf_permerror": 1}},
	} {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(collector(t, mailDomain(c.domain)))
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]int
		for _, f := range families {
			if name, ok := strings.CutPrefix(f.GetName(), "maildomain_spf_"); ok {
				if got == nil {
					got = map[string]int{}
				}
				got["spf_"+name] = int(f.GetMetric()[0].GetGauge().GetValue())
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", title, diff)
		}
	}
}

// Two DKIMKeys of one selector are a mistake of their writer; the scrape of everybody else must not fail for it.
func TestAMistakeOfATenantFailsNoScrape(t *testing.T) {
	twin := key("a", v1alpha1.PhaseSigning, time.Hour)
	twin.Name = "twin"
	rival := mailDomain(func(d *v1alpha1.MailDomain) { d.Name = "rival" })
	odd := mailDomain(func(d *v1alpha1.MailDomain) { d.Name, d.Spec.Domain = "odd", "..\\ü\"\n" })
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector(t, mailDomain(), rival, odd, key("a", v1alpha1.PhaseSigning, time.Hour), twin))
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
}

// unlistable is a cache that is not filled.
type unlistable struct{ client.Reader }

var errUnlistable = errors.New("the cache is not started")

func (unlistable) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errUnlistable
}

func TestWhatCannotBeListedFailsTheScrape(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&Collector{Objects: unlistable{}, Clock: clocktesting.NewFakePassiveClock(now)})
	if _, err := registry.Gather(); err == nil || !strings.Contains(err.Error(), errUnlistable.Error()) {
		t.Errorf("the scrape says %v", err)
	}
}
