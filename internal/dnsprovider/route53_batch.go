// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsapi "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsplan"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	// Limits of one change batch (developer guide, "Quotas"): Value elements and their characters. Both would count
	// twice in an UPSERT.
	route53BatchRecords    = 1000
	route53BatchCharacters = 32000
	// route53MaxValue is the longest value of a TXT record, in quotation marks.
	route53MaxValue = 4000
)

// route53Part is one change in the words of Route 53.
type route53Part struct {
	at                  int
	changes             []types.Change
	records, characters int
}

func (p *route53Part) add(action types.ChangeAction, set types.ResourceRecordSet) {
	p.changes = append(p.changes, types.Change{Action: action, ResourceRecordSet: &set})
	p.records += len(set.ResourceRecords)
	for _, r := range set.ResourceRecords {
		p.characters += len(aws.ToString(r.Value))
	}
}

// Apply sends the changes in as few batches as they fit. What stands is deleted value by value as it was read and what
// should stand is created, in one batch: so Route 53 itself refuses if somebody was faster, and never shows a gap.
func (z *route53Zone) Apply(ctx context.Context, changes []dnsplan.Change) []error {
	errs := make([]error, len(changes))
	z.pending = nil
	if err := z.ensureRead(ctx, changes); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	groups, records, characters := [][]route53Part{nil}, 0, 0
	for i, c := range changes {
		p, err := z.plan(c)
		if err != nil {
			errs[i] = err
			continue
		}
		p.at = i
		records, characters = records+p.records, characters+p.characters
		if records > route53BatchRecords || characters > route53BatchCharacters {
			groups, records, characters = append(groups, nil), p.records, p.characters
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], p)
	}
	halving(groups, func(parts []route53Part) error { return z.send(ctx, parts) }, func(p route53Part, err error) { errs[p.at] = err })
	for _, c := range changes {
		delete(z.read, c.Name) // it is not so any more
	}
	return errs
}

// ensureRead reads the names that were not read since they were changed.
func (z *route53Zone) ensureRead(ctx context.Context, changes []dnsplan.Change) error {
	var questions []Question
	for _, c := range changes {
		if _, ok := z.read[c.Name]; !ok {
			questions = append(questions, c.Key())
		}
	}
	if len(questions) == 0 {
		return nil
	}
	_, err := z.Read(ctx, questions)
	return err
}

// plan makes one change of a record set. Values of others go back as they came.
func (z *route53Zone) plan(c dnsplan.Change) (route53Part, error) {
	var p route53Part
	now := z.sets().answer(z.name, []Question{c.Key()})
	if !now[c.Key()].SameValues(c.Prerequisite) || dnsplan.Obstacle(now, c.Key()) != "" {
		return p, ErrChanged
	}
	after := types.ResourceRecordSet{Name: aws.String(c.Name.FQDN()), Type: types.RRType(c.Type), TTL: aws.Int64(int64(c.TTL))}
	for _, set := range z.read[c.Name] {
		if string(set.Type) != string(c.Type) {
			continue
		}
		if set.SetIdentifier != nil || set.AliasTarget != nil {
			return p, z.fail(Refused, nil, "%s has a routing policy or is an alias in Route 53: records beside that are not written", c.Name)
		}
		p.add(types.ChangeActionDelete, set)
		keep(&after, set, c)
	}
	if err := z.create(&after, c); err != nil {
		return p, err
	}
	if len(after.ResourceRecords) > 0 {
		p.add(types.ChangeActionCreate, after)
	}
	if p.records > route53BatchRecords || p.characters > route53BatchCharacters {
		return p, z.fail(Refused, nil, "the records at %s are too many for Route 53 to change in one step: remove some by hand", c.Name)
	}
	return p, nil
}

// keep takes over what stays, with its TTL (RFC 2181 §5.2).
func keep(after *types.ResourceRecordSet, set types.ResourceRecordSet, c dnsplan.Change) {
	for _, r := range set.ResourceRecords {
		if !slices.Contains(c.Delete, route53Value(c.Type, aws.ToString(r.Value))) {
			after.ResourceRecords = append(after.ResourceRecords, r)
			after.TTL = set.TTL
		}
	}
}

// create adds what comes.
func (z *route53Zone) create(after *types.ResourceRecordSet, c dnsplan.Change) error {
	for _, value := range c.Add {
		text := value
		if c.Type == dnsrecord.TXT {
			text = formatRoute53TXT(value)
		}
		if len(text) > route53MaxValue {
			return z.fail(Refused, nil, "Route 53 takes no value of more than %d characters: the one for %s has %d", route53MaxValue, c.Name, len(text))
		}
		after.ResourceRecords = append(after.ResourceRecords, types.ResourceRecord{Value: aws.String(text)})
	}
	return nil
}

// What Route 53 says when a record set is not what a change was made for.
var route53Changed = []string{"but it was not found", "do not match the current values", "but it already exists"} //nolint:gochecknoglobals // a constant

func (z *route53Zone) send(ctx context.Context, parts []route53Part) error {
	id, err := z.idOf(ctx, z.name)
	if err != nil {
		return err
	}
	var changes []types.Change
	for _, p := range parts {
		changes = append(changes, p.changes...)
	}
	answer, err := z.api.ChangeResourceRecordSets(ctx, &awsapi.ChangeResourceRecordSetsInput{
		HostedZoneId: aws.String(id), ChangeBatch: &types.ChangeBatch{Changes: changes},
	})
	if refused, ok := errors.AsType[*types.InvalidChangeBatch](err); ok {
		said := strings.Join(refused.Messages, " ")
		if slices.ContainsFunc(route53Changed, func(words string) bool { return strings.Contains(said, words) }) {
			return ErrChanged
		}
	}
	if err != nil {
		return z.ids.judge(z.name, z.explain(err))
	}
	if answer.ChangeInfo == nil {
		return z.notOfTheAPI()
	}
	z.pending = append(z.pending, aws.ToString(answer.ChangeInfo.Id))
	return nil
}
