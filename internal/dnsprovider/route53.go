// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awsapi "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	route53Region = "us-east-1"
	// An AWS account may make 5 requests in any second, whoever makes them: 3 and a burst of 2 stay within.
	route53Rate, route53Burst = 3, 2
	// route53MinimumTTL: 0 would be taken, and no resolver would keep the record.
	route53MinimumTTL = 1
	// settleEvery is how often a change is asked after; most are INSYNC within a minute.
	settleEvery = 10 * time.Second
)

// route53 is the driver of an account at Amazon Route 53: AWS's own SDK (docs/adr/0005).
type route53 struct {
	api    *awsapi.Client
	zoneID string // of the specification
	ids    zoneIDs
	secret string
}

func openRoute53(ctx context.Context, spec v1alpha1.DNSProviderSpec, opts OpenOptions) (*Account, error) {
	s := spec.Route53
	d := &route53{zoneID: s.HostedZoneID}
	client := httpClient(turning{opts.Transport})
	cfg := aws.Config{Region: cmp.Or(s.Region, route53Region), HTTPClient: client, Retryer: noRetries}
	switch {
	case s.SecretAccessKeySecretRef != nil:
		secret, err := readToken(ctx, opts.Secrets, *s.SecretAccessKeySecretRef, "secret access key")
		if err != nil {
			return nil, err
		}
		d.secret = secret
		cfg.Credentials = credentials.NewStaticCredentialsProvider(s.AccessKeyID, secret, "")
	case !opts.AmbientIdentity:
		return nil, newError(Invalid, nil, "route53 needs accessKeyID and secretAccessKeySecretRef here: the identity of the operator's pod is for a ClusterDNSProvider alone")
	default:
		// What the pod has: a web identity, an instance role, the environment.
		ambient, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithRetryer(noRetries), config.WithRegion(cfg.Region))
		if err != nil {
			return nil, newError(Invalid, err, "the identity of the operator's pod cannot be used for AWS: "+err.Error())
		}
		cfg = ambient
	}
	if s.RoleARN != "" {
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), s.RoleARN))
	}
	d.api = awsapi.NewFromConfig(cfg)
	return &Account{
		Driver: d, Fingerprint: fingerprint("route53", cfg.Region, d.zoneID, s.AccessKeyID, d.secret, s.RoleARN),
		RequestsPerSecond: route53Rate, Burst: route53Burst,
	}, nil
}

// noRetries: the queue tries again, after it has read. A repeated request whose first answer was lost would be refused,
// and each try would cost one of five requests a second.
func noRetries() aws.Retryer { return aws.NopRetryer{} }

// turning takes a turn for each request.
type turning struct{ next http.RoundTripper }

func (t turning) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := turn(r.Context()); err != nil {
		return nil, err
	}
	if t.next == nil {
		return http.DefaultTransport.RoundTrip(r)
	}
	return t.next.RoundTrip(r)
}

// Zones lists the hosted zones, public and private.
func (d *route53) Zones(ctx context.Context) ([]dnsrecord.Name, error) {
	if d.zoneID != "" {
		return nil, ErrUnsupported
	}
	var zones []dnsrecord.Name
	for pages := awsapi.NewListHostedZonesPaginator(d.api, &awsapi.ListHostedZonesInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, d.explain(err)
		}
		if page.MaxItems == nil {
			return nil, d.notOfTheAPI()
		}
		for _, z := range page.HostedZones {
			if name, ok := route53Name(z.Name); ok {
				zones = append(zones, name)
			}
		}
	}
	return zones, nil
}

// Check reads the first records of each zone: whether the credentials may write too is seen when they do.
func (d *route53) Check(ctx context.Context, zones []dnsrecord.Name) error {
	if len(zones) == 0 && d.zoneID == "" {
		_, err := d.api.ListHostedZones(ctx, &awsapi.ListHostedZonesInput{MaxItems: aws.Int32(1)})
		return d.explain(err)
	}
	var errs []error
	for _, name := range zones {
		_, err := (&route53Zone{route53: d, name: name}).page(ctx, name)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// MinimumTTL is one second.
func (d *route53) MinimumTTL() uint32 { return route53MinimumTTL }

// Batch is that of lists.
func (d *route53) Batch() int { return listedBatch }

// Zone returns a hosted zone of the account.
func (d *route53) Zone(name dnsrecord.Name) Zone { return &route53Zone{route53: d, name: name} }

// idOf returns the id of a hosted zone. Several may have one name: of those, the public one is meant.
func (d *route53) idOf(ctx context.Context, name dnsrecord.Name) (string, error) {
	if d.zoneID != "" {
		return d.zoneID, nil
	}
	if id, ok := d.ids.get(name); ok {
		return id, nil
	}
	answer, err := d.api.ListHostedZonesByName(ctx, &awsapi.ListHostedZonesByNameInput{DNSName: aws.String(name.FQDN())})
	if err != nil {
		return "", d.explain(err)
	}
	if answer.MaxItems == nil {
		return "", d.notOfTheAPI()
	}
	var public, private []string
	for _, z := range answer.HostedZones {
		found, ok := route53Name(z.Name)
		id := strings.TrimPrefix(aws.ToString(z.Id), "/hostedzone/")
		switch {
		case !ok || found != name:
		case z.Config != nil && z.Config.PrivateZone:
			private = append(private, id)
		default:
			public = append(public, id)
		}
	}
	candidates := public
	if len(public) == 0 {
		candidates = private
	}
	switch len(candidates) {
	case 0:
		return "", d.fail(ZoneNotFound, nil, "this account of Route 53 has no hosted zone %s", name)
	case 1:
		d.ids.put(name, candidates[0])
		return candidates[0], nil
	}
	return "", d.fail(ZoneNotFound, nil, "this account of Route 53 has several hosted zones %s: say in hostedZoneID which of %s is meant", name, strings.Join(candidates, ", "))
}

// What the API's error codes mean; others are refusals.
var route53Reasons = map[string]Reason{ //nolint:gochecknoglobals // a constant
	"Throttling": Throttled, "ThrottlingException": Throttled, "TooManyRequestsException": Throttled, "RequestLimitExceeded": Throttled,
	// The zone is still busy with the batch before.
	"PriorRequestNotComplete": Throttled,
	"NoSuchHostedZone":        ZoneNotFound,
	"AccessDenied":            Unauthorized, "AccessDeniedException": Unauthorized, "InvalidClientTokenId": Unauthorized,
	"SignatureDoesNotMatch": Unauthorized, "MissingAuthenticationToken": Unauthorized, "ExpiredToken": Unauthorized,
	"UnrecognizedClientException": Unauthorized, "OptInRequired": Unauthorized, "RequestExpired": Unauthorized,
	"InternalFailure": Unreachable, "InternalError": Unreachable, "ServiceUnavailable": Unreachable,
}

// explain puts an error of the SDK into words; nil stays nil.
func (d *route53) explain(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok { // from turn
		return e
	}
	if batch, ok := errors.AsType[*types.InvalidChangeBatch](err); ok {
		said := strings.Join(batch.Messages, "; ")
		if said == "" {
			said = batch.ErrorMessage()
		}
		return d.fail(Refused, err, "Route 53 refuses the change: %s", said)
	}
	var said smithy.APIError
	var status interface{ HTTPStatusCode() int }
	serverError := errors.As(err, &status) && status.HTTPStatusCode() >= http.StatusInternalServerError
	switch {
	case serverError:
		return d.fail(Unreachable, err, "Route 53 answers %d", status.HTTPStatusCode())
	case errors.As(err, &said):
		reason, ok := route53Reasons[said.ErrorCode()]
		if !ok {
			reason = Refused
		}
		message := said.ErrorMessage()
		if said.ErrorCode() == "SignatureDoesNotMatch" { // goes on for pages about canonical strings
			message = "the secret access key does not belong to the access key id, or the clock is wrong"
		}
		return d.fail(reason, err, "Route 53 answers %s: %s", said.ErrorCode(), message)
	}
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		return d.fail(Unreachable, err, "the answer of Route 53 broke off or is not of its API")
	}
	return d.fail(Unreachable, err, "Route 53 did not answer: %s", plain(err))
}

// notOfTheAPI is an answer without what every answer has. The SDK makes an empty list of any page that some proxy sends,
// and what is missing from a list would be taken for absent.
func (d *route53) notOfTheAPI() error {
	return d.fail(Unknown, nil, "the answer of Route 53 is not of its API: does something stand in between?")
}

func (d *route53) fail(reason Reason, cause error, format string, args ...any) error {
	return newError(reason, cause, fmt.Sprintf(format, args...), d.secret)
}
