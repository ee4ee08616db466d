// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsapi "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// route53Zone is one hosted zone. It keeps the record sets as they were read: a deletion has to name every value as
// Route 53 has it, which makes it a compare-and-swap.
type route53Zone struct {
	*route53
	name    dnsrecord.Name
	read    map[dnsrecord.Name][]types.ResourceRecordSet // an entry for each name that was looked at
	pending []string                                     // batches of the last Apply that may not have reached every name server
}

// Read asks for a page that begins at the first name, goes on at the first name that the page did not reach, and so on:
// names that are neighbours share requests, and what lies between others is jumped over.
func (z *route53Zone) Read(ctx context.Context, questions []Question) (map[Question]dnsrecord.Set, error) {
	wanted := names(z.name, questions)
	slices.SortFunc(wanted, func(a, b dnsrecord.Name) int { return cmp.Compare(route53Order(a), route53Order(b)) })
	read := map[dnsrecord.Name][]types.ResourceRecordSet{}
	for _, name := range wanted {
		read[name] = nil
	}
	for left := wanted; len(left) > 0; {
		page, err := z.page(ctx, left[0])
		if err != nil {
			return nil, err
		}
		z.collect(read, page)
		if !page.IsTruncated {
			break
		}
		left = unreached(left, page, questions)
	}
	if z.read == nil {
		z.read = map[dnsrecord.Name][]types.ResourceRecordSet{}
	}
	maps.Copy(z.read, read)
	return z.sets().answer(z.name, questions), nil
}

// collect takes the sets of the names that are wanted; one that two pages hold counts once.
func (z *route53Zone) collect(read map[dnsrecord.Name][]types.ResourceRecordSet, page *awsapi.ListResourceRecordSetsOutput) {
	for _, set := range page.ResourceRecordSets {
		name, ok := route53Name(set.Name)
		if _, wanted := read[name]; !ok || !wanted {
			continue
		}
		same := func(o types.ResourceRecordSet) bool {
			return o.Type == set.Type && aws.ToString(o.SetIdentifier) == aws.ToString(set.SetIdentifier)
		}
		read[name] = append(slices.DeleteFunc(read[name], same), set)
	}
}

// unreached are the names that come after the page. Where Route 53 puts an escaped name is not documented: a wildcard
// that is asked for is taken to be absent only by a page that began at it.
func unreached(wanted []dnsrecord.Name, page *awsapi.ListResourceRecordSetsOutput, questions []Question) []dnsrecord.Name {
	next, ok := route53Name(page.NextRecordName)
	for i, name := range wanted {
		asked := slices.ContainsFunc(questions, func(q Question) bool { return q.Name == name })
		if i > 0 && (!ok || route53Order(name) >= route53Order(next) || asked && strings.HasPrefix(string(name), "*.")) {
			return wanted[i:]
		}
	}
	return nil
}

// page lists from a name on.
func (z *route53Zone) page(ctx context.Context, from dnsrecord.Name) (*awsapi.ListResourceRecordSetsOutput, error) {
	id, err := z.idOf(ctx, z.name)
	if err != nil {
		return nil, err
	}
	page, err := z.api.ListResourceRecordSets(ctx, &awsapi.ListResourceRecordSetsInput{HostedZoneId: aws.String(id), StartRecordName: aws.String(from.FQDN())})
	if err != nil {
		return nil, z.ids.judge(z.name, z.explain(err))
	}
	if page.MaxItems == nil {
		return nil, z.notOfTheAPI()
	}
	for _, set := range page.ResourceRecordSets {
		if name, ok := route53Name(set.Name); ok && !name.In(z.name) {
			return nil, z.fail(ZoneNotFound, nil, "hostedZoneID is that of another zone than %s: it holds %s", z.name, name)
		}
	}
	return page, nil
}

// sets is what was read, in our words.
func (z *route53Zone) sets() listing {
	l := listing{}
	for name, sets := range z.read {
		for _, s := range sets {
			k := Question{Name: name, Type: dnsrecord.Type(s.Type)}
			set := l[k]
			set.Name, set.Type = k.Name, k.Type
			if s.TTL != nil && *s.TTL >= 0 {
				set.TTL = uint32(*s.TTL) //nolint:gosec // at most 2147483647
			}
			for _, r := range s.ResourceRecords {
				set.Values = append(set.Values, route53Value(k.Type, aws.ToString(r.Value)))
			}
			if s.AliasTarget != nil {
				set.Values = append(set.Values, "alias of "+aws.ToString(s.AliasTarget.DNSName))
			}
			l[k] = set
		}
	}
	return l
}

func route53Value(t dnsrecord.Type, text string) string {
	switch t { //nolint:exhaustive // the others are compared as they are
	case dnsrecord.TXT:
		if value, ok := parseRoute53TXT(text); ok {
			return value
		}
	case dnsrecord.CNAME, dnsrecord.NS, dnsrecord.MX:
		return strings.TrimSuffix(text, ".") + "."
	}
	return text
}

// Settle returns when every change has reached all name servers of the zone (INSYNC). The last one is asked after first:
// once it is there, the earlier ones mostly are too.
func (z *route53Zone) Settle(ctx context.Context) error {
	for len(z.pending) > 0 {
		last := len(z.pending) - 1
		answer, err := z.api.GetChange(ctx, &awsapi.GetChangeInput{Id: aws.String(z.pending[last])})
		switch {
		case err != nil:
			return z.explain(err)
		case answer.ChangeInfo == nil:
			return z.notOfTheAPI()
		case answer.ChangeInfo.Status == types.ChangeStatusInsync:
			z.pending = z.pending[:last]
		case !waited(ctx, settleEvery):
			return newError(Unreachable, ctx.Err(), "the change has not reached every name server of Route 53 yet")
		}
	}
	return nil
}

// waited is false if the context ended first.
func waited(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
