// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
)

var (
	moment  = metav1.NewTime(time.Date(2026, 8, 1, 4, 0, 0, 0, time.UTC))
	settled = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady, LastTransitionTime: moment}}
)

// wholeStatus has every field of a MailDomain's status.
func wholeStatus() v1alpha1.MailDomainStatus {
	return v1alpha1.MailDomainStatus{
		ObservedGeneration: 1,
		Conditions:         settled,
		Zone:               "example.org",
		Keys: []v1alpha1.KeyStatus{
			{Name: "k2", Selector: "m20260901r", Algorithm: v1alpha1.AlgorithmRSA, Bits: 2048, Phase: v1alpha1.PhaseStandby, UsableTime: &moment},
			{Name: "k1", Selector: "m20260801r", Algorithm: v1alpha1.AlgorithmRSA, Bits: 2048, Phase: v1alpha1.PhaseSigning, UsableTime: &moment, SigningSinceTime: &moment},
			{Name: "k0", Selector: "m20260501r", Algorithm: v1alpha1.AlgorithmRSA, Phase: v1alpha1.PhaseRetiring, RetiredTime: &moment},
		},
		Rotation: &v1alpha1.RotationStatus{NextTime: &moment, LastTime: &moment, LastHandledRotateTime: "a", LastHandledRotateUndoTime: "b", WaitingFor: "caches, until 2026-11-01T04:31:00Z"},
		SPF:      &v1alpha1.SPFStatus{Lookups: 3, VoidLookups: 1, AnswerOctets: 300},
		DMARC: &v1alpha1.DMARCStatus{
			Published: v1alpha1.DMARCNone, PublishedTesting: true, Goal: v1alpha1.DMARCReject, StageSinceTime: &moment, Advice: "wait",
			Evidence: &v1alpha1.DMARCEvidence{
				UpdatedTime: &moment, FromTime: &moment, ToTime: &moment, Days: 1, Reporters: 2, Messages: 3, OwnMessages: 2, OwnAlignedMessages: 1,
				Findings: []v1alpha1.DMARCFinding{{Class: "OwnBroken", Source: "example.org", Messages: 1, Message: "changed after signing"}},
			},
		},
		Records: []v1alpha1.RecordStatus{
			{
				Name: "example.org", Purpose: v1alpha1.PurposeSPF, Value: strings.Repeat("v", v1alpha1.MaxRecordValueLength), PublishedValue: "a", ReplacedValue: "b",
				State: v1alpha1.RecordConflict, StateChangedTime: &moment, Message: strings.Repeat("m", v1alpha1.MaxMessageLength),
			},
			{Name: "example.org", Purpose: v1alpha1.PurposeNullMX, Type: "MX", State: v1alpha1.RecordVerified},
		},
		MarkerGeneration:        7,
		LastHandledTakeOver:     "other",
		LastHandledAllowRemoval: "now",
	}
}

func TestWhatTheOperatorWritesIntoStatusComesBackUnchanged(t *testing.T) {
	c := newClient(t)
	written := createWithStatus(t, c)
	read := &v1alpha1.MailDomain{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(written), read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wholeStatus(), read.Status); diff != "" {
		t.Errorf("written -, read +:\n%s", diff)
	}
}

func TestWhatKubectlGetShows(t *testing.T) {
	c := newClient(t)
	createWithStatus(t, c)
	clients, err := kubernetes.NewForConfig(shared.Get(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	table := func(resource string) metav1.Table {
		raw, err := clients.RESTClient().Get().AbsPath("/apis/maildomain.dev/v1alpha1/"+resource).
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(raw, &table); err != nil {
			t.Fatal(err)
		}
		return table
	}
	columns := func(table metav1.Table, wide bool) []string {
		var names []string
		for _, column := range table.ColumnDefinitions {
			if wide || column.Priority == 0 {
				names = append(names, column.Name)
			}
		}
		return names
	}
	for resource, want := range map[string][]string{
		"maildomains":         {"Name", "Domain", "Ready", "Reason", "Signing", "DMARC", "Next rotation", "Age"},
		"dkimkeys":            {"Name", "Domain", "Selector", "Algorithm", "Phase", "Ready", "Usable", "Age"},
		"dnsproviders":        {"Name", "Type", "Ready", "Reason", "Zones", "Age"},
		"clusterdnsproviders": {"Name", "Type", "Ready", "Reason", "Zones", "Age"},
	} {
		if diff := cmp.Diff(want, columns(table(resource), false)); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", resource, diff)
		}
	}
	domains := table("maildomains")
	row := domains.Rows[slices.IndexFunc(domains.Rows, func(row metav1.TableRow) bool { return row.Cells[0] == "with-status" })]
	want := []any{"with-status", "example.org", "True", "Ready", "m20260801r", "None", "2026-08-01T04:00:00Z", "caches, until 2026-11-01T04:31:00Z", "example.org", "dns"}
	if diff := cmp.Diff(want, row.Cells[:len(want)]); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func createWithStatus(t *testing.T, c client.Client) *v1alpha1.MailDomain {
	t.Helper()
	domain := &v1alpha1.MailDomain{
		ObjectMeta: metav1.ObjectMeta{Name: "with-status", Namespace: "default"},
		Spec:       v1alpha1.MailDomainSpec{Domain: "example.org", ProviderRef: v1alpha1.ProviderRef{Name: "dns"}},
	}
	if err := c.Create(t.Context(), domain); err != nil {
		t.Fatal(err)
	}
	deleteAfter(t, c, domain)
	domain.Status = wholeStatus()
	if err := c.Status().Update(t.Context(), domain); err != nil {
		t.Fatal(err)
	}
	return domain
}

func TestEveryVocabularyOfStatusIsAccepted(t *testing.T) {
	c := newClient(t)
	domain := createWithStatus(t, c)
	update := func() error { return c.Status().Update(t.Context(), domain) }
	for _, state := range []v1alpha1.RecordState{
		v1alpha1.RecordPending, v1alpha1.RecordPublished, v1alpha1.RecordVerified,
		v1alpha1.RecordConflict, v1alpha1.RecordDrifted, v1alpha1.RecordAwaitingSigning,
	} {
		domain.Status.Records[0].State = state
		noError(t, update())
	}
	for _, purpose := range []v1alpha1.RecordPurpose{
		v1alpha1.PurposeDKIM, v1alpha1.PurposeWildcardDKIM, v1alpha1.PurposeSPF, v1alpha1.PurposeHeloSPF,
		v1alpha1.PurposeDMARC, v1alpha1.PurposeReport, v1alpha1.PurposeMarker,
	} {
		domain.Status.Records[0].Purpose = purpose
		noError(t, update())
	}
	for _, phase := range []v1alpha1.KeyPhase{
		v1alpha1.PhasePending, v1alpha1.PhasePublishing, v1alpha1.PhaseStandby, v1alpha1.PhaseSigning, v1alpha1.PhaseRetiring, v1alpha1.PhaseRevoked,
	} {
		domain.Status.Keys[0].Phase = phase
		noError(t, update())
	}
}
