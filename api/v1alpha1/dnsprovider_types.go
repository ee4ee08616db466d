// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DNSProviderSpec is one account at a DNS provider or one DNS server.
//
// +kubebuilder:validation:XValidation:rule="[has(self.cloudflare), has(self.route53), has(self.rfc2136), has(self.powerdns), has(self.libdns), has(self.manual)].filter(b, b).size() == 1",message="write exactly one of cloudflare, route53, rfc2136, powerdns, libdns and manual"
type DNSProviderSpec struct {
	// Zones that are used at this provider, such as example.org. Absent: found in the DNS, then in the provider's own list.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Zones []ZoneName `json:"zones,omitempty"`

	// Time to live of our records in seconds. A name that holds records of others keeps theirs.
	//
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	TTLSeconds int32 `json:"ttlSeconds,omitempty"`

	// Cloudflare.
	//
	// +optional
	Cloudflare *Cloudflare `json:"cloudflare,omitempty"`

	// Amazon Route 53.
	//
	// +optional
	Route53 *Route53 `json:"route53,omitempty"`

	// A DNS server that takes dynamic updates (RFC 2136): BIND, Knot, PowerDNS and others.
	//
	// +optional
	RFC2136 *RFC2136 `json:"rfc2136,omitempty"`

	// PowerDNS through its HTTP API.
	//
	// +optional
	PowerDNS *PowerDNS `json:"powerdns,omitempty"`

	// Another provider through its libdns module. Experimental until it passes the conformance tests.
	//
	// +optional
	Libdns *Libdns `json:"libdns,omitempty"`

	// Nothing is written: the status of each MailDomain says what to paste, and the DNS shows when it is done.
	//
	// +optional
	Manual *Manual `json:"manual,omitempty"`

	// How published records are proven. Absent: at the authoritative servers.
	//
	// +optional
	Verification *Verification `json:"verification,omitempty"`

	// How many calls the provider is asked to bear. Absent: what the provider is known to allow.
	//
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
}

// Cloudflare is an account at Cloudflare.
type Cloudflare struct {
	// Entry of a Secret that holds an API token with the permissions Zone:Read and DNS:Edit.
	//
	// +required
	APITokenSecretRef SecretKeyRef `json:"apiTokenSecretRef"`

	// Id of the zone, for tokens that may not list zones.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[0-9a-f]{32}$')`,message="not a zone id of Cloudflare: write the 32 hexadecimal digits that the zone's overview page shows"
	ZoneID string `json:"zoneID,omitempty"`
}

// Route53 is an account at Amazon Route 53.
//
// +kubebuilder:validation:XValidation:rule="has(self.accessKeyID) == has(self.secretAccessKeySecretRef)",message="accessKeyID and secretAccessKeySecretRef belong together: write both, or neither for the identity of the operator's pod (ClusterDNSProvider only)"
type Route53 struct {
	// AWS region of the API, such as us-east-1.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[a-z]{2}(-[a-z]+)+-[0-9]+$')`,message="not an AWS region: write one such as us-east-1"
	Region string `json:"region,omitempty"`

	// Id of the hosted zone, where several have the same name or zones may not be listed.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^Z[A-Z0-9]+$')`,message="not the id of a hosted zone: write it as Z0123456789ABCDEFGHIJ, without /hostedzone/"
	HostedZoneID string `json:"hostedZoneID,omitempty"`

	// Access key id. Absent: the identity of the operator's pod, for a ClusterDNSProvider only.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[A-Z0-9]+$')`,message="not an access key id: write capital letters and digits, such as AKIAIOSFODNN7EXAMPLE"
	AccessKeyID string `json:"accessKeyID,omitempty"`

	// Entry of a Secret that holds the secret access key.
	//
	// +optional
	SecretAccessKeySecretRef *SecretKeyRef `json:"secretAccessKeySecretRef,omitempty"`

	// Role to take on with these credentials.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$')`,message="not the ARN of a role: write it as arn:aws:iam::123456789012:role/name"
	RoleARN string `json:"roleARN,omitempty"`
}

// RFC2136 is a DNS server that takes dynamic updates.
type RFC2136 struct {
	// The primary server: a name or an IP address, with a port where it is not 53, such as ns1.example.org,
	// 192.0.2.53:5353 or [2001:db8::53]:53.
	//
	// +required
	// +kubebuilder:validation:MaxLength=261
	// +kubebuilder:validation:XValidation:rule=`isIP(self) || self.matches(r'^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?(:[0-9]{1,5})?$') || (self.matches(r'^\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?$') && isIP(self.substring(1, self.indexOf(']'))))`,message="write the primary server as a name or an IP address, with a port where it is not 53: ns1.example.org, 192.0.2.53:5353 or [2001:db8::53]:53; no scheme"
	Server string `json:"server"`

	// The key that signs our updates (TSIG, RFC 8945). Absent: updates are not signed, and the server must know us by our
	// address.
	//
	// +optional
	TSIG *TSIG `json:"tsig,omitempty"`

	// TCP (when absent) or UDP.
	//
	// +optional
	Transport Transport `json:"transport,omitempty"`
}

// Transport carries DNS messages.
//
// +kubebuilder:validation:Enum=TCP;UDP
type Transport string

// The transports.
const (
	TransportTCP Transport = "TCP"
	TransportUDP Transport = "UDP"
)

// TSIG is a key that signs DNS messages (RFC 8945).
type TSIG struct {
	// Name of the key, as the server knows it.
	//
	// +required
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$')`,message="not the name of a TSIG key: write it as the server's configuration has it, such as operator or operator.example.org"
	KeyName string `json:"keyName"`

	// hmac-sha256 (when absent), hmac-sha224, hmac-sha384 or hmac-sha512.
	//
	// +optional
	Algorithm TSIGAlgorithm `json:"algorithm,omitempty"`

	// Entry of a Secret that holds the key in base64, as the server's configuration has it.
	//
	// +required
	SecretRef SecretKeyRef `json:"secretRef"`
}

// TSIGAlgorithm is the algorithm of a TSIG key.
//
// +kubebuilder:validation:Enum=hmac-sha224;hmac-sha256;hmac-sha384;hmac-sha512
type TSIGAlgorithm string

// The algorithms of TSIG keys. MD5 and SHA-1 are left out: RFC 8945 section 6 advises against them.
const (
	TSIGHMACSHA224 TSIGAlgorithm = "hmac-sha224"
	TSIGHMACSHA256 TSIGAlgorithm = "hmac-sha256"
	TSIGHMACSHA384 TSIGAlgorithm = "hmac-sha384"
	TSIGHMACSHA512 TSIGAlgorithm = "hmac-sha512"
)

// PowerDNS is a PowerDNS server with its HTTP API.
type PowerDNS struct {
	// Where the API answers, such as https://pdns.example.org:8081.
	//
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname().size() > 0 && !self.contains('@')",message="write the address of the API as an http or https URL without a user name, such as https://pdns.example.org:8081"
	URL string `json:"url"`

	// Id of the server in the API: localhost when absent.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[A-Za-z0-9][A-Za-z0-9._-]*$')`,message="not the id of a server: write it as the API's /servers list has it, such as localhost"
	ServerID string `json:"serverID,omitempty"`

	// Entry of a Secret that holds the API key.
	//
	// +required
	APIKeySecretRef SecretKeyRef `json:"apiKeySecretRef"`
}

// Libdns is a provider through its libdns module.
type Libdns struct {
	// Name of the module, such as hetzner.
	//
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')`,message="not the name of a libdns module: write it as in github.com/libdns/<name>, such as hetzner"
	Name string `json:"name"`

	// Settings of the module that are no secrets, by the names of its JSON fields. Each module allows a few.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	Config map[string]LibdnsValue `json:"config,omitempty"`

	// Secret whose entries are the settings of the module that are secrets, by the names of its JSON fields.
	//
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
}

// LibdnsValue is one setting of a libdns module.
//
// +kubebuilder:validation:MaxLength=1024
type LibdnsValue string

// Settings returns the settings as plain strings.
func (l *Libdns) Settings() map[string]string {
	settings := make(map[string]string, len(l.Config))
	for name, value := range l.Config {
		settings[name] = string(value)
	}
	return settings
}

// Manual is a person who pastes records.
type Manual struct{}

// Verification says how published records are proven.
type Verification struct {
	// Authoritative (when absent): every authoritative server is asked, found from the root. Recursive: the nameservers
	// given here are asked. None: what the provider says suffices.
	//
	// +optional
	// +kubebuilder:default=Authoritative
	Mode VerificationMode `json:"mode,omitempty"`

	// Servers to ask instead of those that the DNS names, for split horizon and networks without Internet: IP addresses,
	// with a port where it is not 53.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	Nameservers []Nameserver `json:"nameservers,omitempty"`

	// A server that cannot be reached holds a key back for as long as it takes. False (when absent): for one hour, if all
	// others agree.
	//
	// +optional
	Strict bool `json:"strict,omitempty"`
}

// VerificationMode says who is asked for proof.
//
// +kubebuilder:validation:Enum=Authoritative;Recursive;None
type VerificationMode string

// The ways of verification.
const (
	VerificationAuthoritative VerificationMode = "Authoritative"
	VerificationRecursive     VerificationMode = "Recursive"
	VerificationNone          VerificationMode = "None"
)

// RateLimit bounds the calls to a provider.
type RateLimit struct {
	// Calls in each second, in the long run.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	RequestsPerSecond int32 `json:"requestsPerSecond,omitempty"`

	// Calls that may follow each other at once.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Burst int32 `json:"burst,omitempty"`
}

// DNSProviderStatus is how a provider stands.
type DNSProviderStatus struct {
	// The generation of the spec that this status speaks of.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// How things stand. Ready: the credentials were tried and work.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Which provider this is: cloudflare, route53, rfc2136, powerdns, manual or the name of a libdns module.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Type string `json:"type,omitempty"`

	// The zones that the provider may write, as far as is known.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=253
	Zones []string `json:"zones,omitempty"`

	// How many zones there are, where there are more than the list holds too.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ZoneCount int32 `json:"zoneCount,omitempty"`
}

// DNSProvider is an account at a DNS provider for the MailDomains of its namespace. Its credentials are in a Secret of the same namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=dnsproviders,singular=dnsprovider,shortName=dnsp,categories=mail
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.status.type`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Zones",type=integer,JSONPath=`.status.zoneCount`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DNSProvider struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The account that is used.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.route53) || has(self.route53.accessKeyID) || has(self.route53.secretAccessKeySecretRef)",message="route53 needs accessKeyID and secretAccessKeySecretRef in a DNSProvider: the identity of the operator's pod is for a ClusterDNSProvider alone"
	Spec DNSProviderSpec `json:"spec"`

	// How the account stands, written by the operator.
	//
	// +optional
	Status DNSProviderStatus `json:"status,omitzero"`
}

// DNSProviderList is a list of DNSProviders.
//
// +kubebuilder:object:root=true
type DNSProviderList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []DNSProvider `json:"items"`
}
