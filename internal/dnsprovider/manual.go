// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"fmt"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// manual is the driver of a person who pastes records. It reads and writes
// nothing; whether the records stand is for the DNS to say.
type manual struct{}

func openManual(context.Context, v1alpha1.DNSProviderSpec, OpenOptions) (*Account, error) {
	return &Account{Driver: manual{}, Fingerprint: "manual"}, nil
}

func (manual) Zones(context.Context) ([]dnsrecord.Name, error) { return nil, ErrUnsupported }
func (manual) Check(context.Context, []dnsrecord.Name) error   { return nil }
func (manual) Zone(dnsrecord.Name) Zone                        { return manual{} }
func (manual) MinimumTTL() uint32                              { return 0 }
func (manual) Apply(_ context.Context, changes []dnsplan.Change) []error {
	errs := make([]error, len(changes))
	for i := range errs {
		errs[i] = ErrByHand
	}
	return errs
}

func (manual) Read(context.Context, []Question) (map[Question]dnsrecord.Set, error) {
	return nil, ErrByHand
}

// byHand says what a person has to do for each wish.
func byHand(wishes []dnsplan.Wish) []dnsplan.Outcome {
	outcomes := make([]dnsplan.Outcome, len(wishes))
	for i, w := range wishes {
		o := dnsplan.Outcome{Name: w.Name, Type: w.Type, State: dnsplan.Pending}
		switch {
		case w.Value != "":
			o.Message = fmt.Sprintf("add this record by hand: %s %s %s", w.Name, w.Type, presentation(w.Type, w.Value))
		case len(w.Ours) > 0:
			o.Message = fmt.Sprintf("remove this record by hand: %s %s %s", w.Name, w.Type, presentation(w.Type, w.Ours[0]))
		default:
			o.State = dnsplan.Absent
		}
		outcomes[i] = o
	}
	return outcomes
}

func presentation(t dnsrecord.Type, value string) string {
	if t == dnsrecord.TXT {
		return dnsrecord.FormatTXT(value)
	}
	return value
}
