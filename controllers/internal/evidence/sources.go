// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"

	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/thirdparty"
)

// Queue publishes records and tells what the provider said; see dnsprovider.Queue.
type Queue interface {
	Submit(dnsprovider.Submission)
	Recheck(dnsprovider.Owner)
	Result(dnsprovider.Owner) (dnsprovider.Result, bool)
	Forget(dnsprovider.Owner)
	RemovalHeld(ctx context.Context, keys []dnsplan.Key, agreed bool) (string, error)
}

// Prober tells what the authoritative servers say; see dnscheck.Prober.
type Prober interface {
	Watch(owner string, policy dnscheck.Policy, targets []dnscheck.Target)
	Forget(owner string)
	Verdict(target dnscheck.Target) (dnscheck.Verdict, bool)
	Sweep(target dnscheck.Target)
}

// ThirdParty tells what the records of others mean to ours; see thirdparty.Watch.
type ThirdParty interface {
	Watch(owner string, s thirdparty.Subject, known bool)
	Forget(owner string)
	Findings(owner string, s thirdparty.Subject) (thirdparty.Findings, bool)
}
