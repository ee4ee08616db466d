// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/dns/armdns"
	"github.com/libdns/azure"
	"github.com/libdns/libdns"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

// azureClient is libdns/azure with its three calls made anew, by the same SDK of the vendor. The module sends a text as one
// string, of which Azure takes 255 octets, so that no RSA key fits; it reads each string of a longer text as a record of its
// own, and a zone with a type that it does not know as empty; it deletes whatever has the name.
type azureClient struct {
	azure.Provider // its settings
	sets           *armdns.RecordSetsClient
}

func newAzure(settings map[string]string, opts OpenOptions) (libdnsClient, error) {
	a := &azureClient{}
	data, err := json.Marshal(settings)
	if err == nil {
		err = json.Unmarshal(data, &a.Provider)
	}
	if err != nil {
		return nil, err
	}
	options := policy.ClientOptions{
		Transport: httpClient(opts.Transport),
		Retry:     policy.RetryOptions{MaxRetries: -1}, // the queue tries again, after it has read
	}
	credential, err := a.credential(options)
	if err != nil {
		return nil, err
	}
	a.sets, err = armdns.NewRecordSetsClient(a.SubscriptionId, credential, &arm.ClientOptions{ClientOptions: options})
	return a, err
}

// credential is the application's of the settings, else what the operator's own pod is to Azure: settings comes here without
// a tenant for a ClusterDNSProvider alone.
func (a *azureClient) credential(options policy.ClientOptions) (azcore.TokenCredential, error) {
	if a.TenantId != "" {
		return azidentity.NewClientSecretCredential(a.TenantId, a.ClientId, a.ClientSecret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	}
	if workload, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: options}); err == nil {
		return workload, nil
	}
	return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: options})
}

// GetRecords lists the zone: text by its strings joined, every other type as far as it has to be told from another.
func (a *azureClient) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	var records []libdns.Record
	for pages := a.sets.NewListAllByDNSZonePager(a.ResourceGroupName, bare(zone), nil); pages.More(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, set := range page.Value {
			if set == nil || set.Name == nil || set.Type == nil || set.Properties == nil {
				return nil, errors.New("a record set without a name, a type or properties: nothing is concluded from the list")
			}
			all, err := azureRecords(*set)
			if err != nil {
				return nil, err
			}
			records = append(records, all...)
		}
	}
	return records, nil
}

// azureRecords are the values of a record set.
func azureRecords(set armdns.RecordSet) ([]libdns.Record, error) {
	p := set.Properties
	rr := libdns.RR{Name: *set.Name, Type: (*set.Type)[strings.LastIndex(*set.Type, "/")+1:], TTL: time.Duration(of(p.TTL)) * time.Second}
	var values []string
	switch {
	case p.TxtRecords != nil:
		for _, r := range p.TxtRecords {
			values = append(values, azureText(r))
		}
	case p.CnameRecord != nil:
		values = []string{of(p.CnameRecord.Cname)}
	case p.NsRecords != nil:
		for _, r := range p.NsRecords {
			values = append(values, of(r.Nsdname))
		}
	default: // also a type that this SDK does not know: something stands there
		data, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		values = []string{string(data)}
	}
	var records []libdns.Record
	for _, value := range values {
		one := rr
		one.Data = value
		records = append(records, one)
	}
	return records, nil
}

// AppendRecords adds text beside what stands at its name, as far as nobody has changed it in the meantime.
func (a *azureClient) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return records, a.each(ctx, zone, records, func(stands []*armdns.TxtRecord, value string) []*armdns.TxtRecord {
		added := &armdns.TxtRecord{}
		for _, part := range dnsrecord.SplitTXT(value) {
			added.Value = append(added.Value, &part)
		}
		return append(slices.Clone(stands), added)
	})
}

// DeleteRecords takes text away, and what else stands at its name stays, string by string.
func (a *azureClient) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return records, a.each(ctx, zone, records, func(stands []*armdns.TxtRecord, value string) []*armdns.TxtRecord {
		return slices.DeleteFunc(slices.Clone(stands), func(r *armdns.TxtRecord) bool { return azureText(r) == value })
	})
}

// each changes the record sets of texts one after the other: read, changed, and written if it is still what was read.
func (a *azureClient) each(ctx context.Context, zone string, records []libdns.Record, change func(stands []*armdns.TxtRecord, value string) []*armdns.TxtRecord) error {
	for _, r := range records {
		rr := r.RR()
		if rr.Type != "TXT" {
			return fmt.Errorf("%s %s: only text is written", rr.Name, rr.Type)
		}
		before, err := a.sets.Get(ctx, a.ResourceGroupName, bare(zone), rr.Name, armdns.RecordTypeTXT, nil)
		if refused := (*azcore.ResponseError)(nil); errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
			before, err = armdns.RecordSetsClientGetResponse{}, nil
		}
		if err != nil {
			return err
		}
		var stands []*armdns.TxtRecord
		if before.Properties != nil {
			stands = before.Properties.TxtRecords
		}
		after := change(stands, rr.Data)
		switch {
		case len(after) == len(stands):
		case len(after) == 0:
			_, err = a.sets.Delete(ctx, a.ResourceGroupName, bare(zone), rr.Name, armdns.RecordTypeTXT, &armdns.RecordSetsClientDeleteOptions{IfMatch: before.Etag})
		default:
			err = a.put(ctx, zone, rr, before.RecordSet, after)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put writes a set: one that stands there keeps its TTL and whatever people noted beside it, and must be what was read.
func (a *azureClient) put(ctx context.Context, zone string, rr libdns.RR, before armdns.RecordSet, after []*armdns.TxtRecord) error {
	nobody := "*"
	options := &armdns.RecordSetsClientCreateOrUpdateOptions{IfNoneMatch: &nobody}
	ttl := int64(rr.TTL / time.Second)
	set := armdns.RecordSet{Properties: &armdns.RecordSetProperties{TTL: &ttl, TxtRecords: after}}
	if before.Properties != nil {
		options = &armdns.RecordSetsClientCreateOrUpdateOptions{IfMatch: before.Etag}
		set.Properties.TTL, set.Properties.Metadata = before.Properties.TTL, before.Properties.Metadata
	}
	_, err := a.sets.CreateOrUpdate(ctx, a.ResourceGroupName, bare(zone), rr.Name, armdns.RecordTypeTXT, set, options)
	return err
}

func azureText(r *armdns.TxtRecord) string {
	var text strings.Builder
	if r != nil {
		for _, part := range r.Value {
			text.WriteString(of(part))
		}
	}
	return text.String()
}

func bare(zone string) string { return strings.TrimSuffix(zone, ".") }

// of is what a pointer leads to; the zero value if nowhere.
func of[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}
