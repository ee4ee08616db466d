// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// The names below are aliases: Go sees a plain string, the schema sees the
// bounds and the rule, written once.

// DomainName is a mail domain: two labels or more.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="!isIP(self)",message="this is an IP address, not a mail domain: write the name after the @ of your mail addresses, such as example.org"
// +kubebuilder:validation:XValidation:rule="isIP(self) || self.contains('.')",message="a single label is not a mail domain: write the whole name, such as example.org"
// +kubebuilder:validation:XValidation:rule=`isIP(self) || !self.contains('.') || (self.matches(r'^([\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?\.)*[\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?$') && !self.matches(r'\.[0-9]+$') && self.split('.').all(l, size(l) <= 63))`,message="not a mail domain: write labels of letters, digits and inner hyphens, at most 63 characters each, joined by single dots, such as example.org or bücher.example; no scheme, no @, no underscore, no wildcard, no final dot"
type DomainName = string

// ZoneName is the name of a DNS zone.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches(r'^([\p{L}\p{N}_]([\p{L}\p{N}\p{M}_-]*[\p{L}\p{N}\p{M}])?\.)*[\p{L}\p{N}_]([\p{L}\p{N}\p{M}_-]*[\p{L}\p{N}\p{M}])?$') && self.split('.').all(l, size(l) <= 63)`,message="not the name of a zone: write it as example.org or _domainkey.example.org, without scheme, wildcard or final dot"
type ZoneName = string

// GrantedDomain is a mail domain, or *. and a domain for all names below it.
//
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule=`self.matches(r'^(\*\.)?([\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?\.)+[\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?$') && !self.matches(r'\.[0-9]+$')`,message="write a domain (example.org) or all names below one (*.example.org); a * may only stand alone as the first label, and to grant a domain and the names below it takes both entries"
type GrantedDomain = string

// SelectorName is a DKIM selector: one DNS label in lower case.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')`,message="a selector is one DNS label: write lower-case letters, digits and inner hyphens only, such as m20260801r, without ._domainkey and without the domain"
type SelectorName = string

// ObjectName is the name of an object in Kubernetes.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="not the name of an object: write lower-case letters, digits, inner hyphens and dots"
type ObjectName = string

// SecretKeyName is the name of an entry in a Secret.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.matches(r'^[-._a-zA-Z0-9]+$')`,message="not the name of an entry in a Secret: write letters, digits, '-', '_' and '.' only, such as token"
type SecretKeyName = string

// Network is an IPv4 or IPv6 network in CIDR form.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="write a network as address/prefix length, such as 192.0.2.0/24 or 2001:db8::/32; a single address is 192.0.2.1/32 or 2001:db8::1/128"
type Network = string

// ReportAddress is where DMARC reports go.
//
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule=`((self.matches(r'^mailto:([\p{L}\p{N}\p{M}!#$&*+/=^_{|}~-]|%(2[13-7aAbBdDfF]|3[dDfF]|5[eEfF]|60|7[bBcCdDeE]))+(\.([\p{L}\p{N}\p{M}!#$&*+/=^_{|}~-]|%(2[13-7aAbBdDfF]|3[dDfF]|5[eEfF]|60|7[bBcCdDeE]))+)*@([\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?\.)+[\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?(\?[^@,\s]*)?$') || self.matches(r'^https://([\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?\.)+[\p{L}\p{N}]([\p{L}\p{N}\p{M}-]*[\p{L}\p{N}\p{M}])?(:[0-9]{1,5})?([/?][^@,\s]*)?$')) && !self.matches(r'^(mailto:[^@]*@|https://)[^/?:]*\.[0-9]+([/?:].*)?$')) || self.matches(r'![0-9]+[kmgtKMGT]?$')`,message="a report address is a URI: write mailto:dmarc@example.org or https://example.org/dmarc, one address in each item"
// +kubebuilder:validation:XValidation:rule=`!self.matches(r'![0-9]+[kmgtKMGT]?$')`,message="a size limit after the address (!10m) is not part of DMARC any more (RFC 9989): leave it out"
type ReportAddress = string

// Mechanism is one SPF mechanism (RFC 7208 section 5).
//
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:XValidation:rule=`!self.matches(r'(?i)^[-+?~]?all$')`,message="leave all out of the mechanisms: it comes last and is written as spf.all: Fail, SoftFail or Neutral (+all would let the whole Internet send as this domain and cannot be had)"
// +kubebuilder:validation:XValidation:rule=`!self.matches(r'(?i)^[-+?~]?ptr([:/].*)?$')`,message="ptr must not be used (RFC 7208 section 5.5): write the networks with ip4: or ip6:, or the hosts with a: or mx"
// +kubebuilder:validation:XValidation:rule=`!self.matches(r'(?i)^[-+?~]?(a|mx|ip4|ip6)([:/].*)?/0+(//.*)?$')`,message="a prefix length of 0 lets every address send as this domain: write a longer one, such as /24"
// +kubebuilder:validation:XValidation:rule=`!self.matches(r'(?i)^[a-z][a-z0-9_.-]*=')`,message="this is a modifier, not a mechanism: in place of redirect=example.net write include:example.net; exp= cannot be had; a full record (v=spf1 ...) is written as its single mechanisms"
// +kubebuilder:validation:XValidation:rule=`!self.matches(r'(?i)^[-+?~]?ip4:') || (isIP(self.substring(self.indexOf(':') + 1)) && ip(self.substring(self.indexOf(':') + 1)).family() == 4) || (isCIDR(self.substring(self.indexOf(':') + 1)) && cidr(self.substring(self.indexOf(':') + 1)).ip().family() == 4)`,message="ip4: takes an IPv4 address or network: write ip4:192.0.2.1 or ip4:192.0.2.0/24"
// +kubebuilder:validation:XValidation:rule=`!self.matches(r'(?i)^[-+?~]?ip6:') || (isIP(self.substring(self.indexOf(':') + 1)) && ip(self.substring(self.indexOf(':') + 1)).family() == 6) || (isCIDR(self.substring(self.indexOf(':') + 1)) && cidr(self.substring(self.indexOf(':') + 1)).ip().family() == 6)`,message="ip6: takes an IPv6 address or network: write ip6:2001:db8::1 or ip6:2001:db8::/32"
// +kubebuilder:validation:XValidation:rule=`self.matches(r'(?i)^[-+?~]?(all$|ptr([:/]|$)|ip[46]:)') || self.matches(r'(?i)^[a-z][a-z0-9_.-]*=') || (!self.contains('..') && !self.contains(':.') && (self.matches(r'(?i)^[-+?~]?(a|mx)(:(([a-z0-9_.+,=-]|%[%_-]|%\{[slodiphv]([1-9][0-9]{0,2})?r?[.+,/_=-]*\})+\.([0-9]*[a-z]([a-z0-9-]*[a-z0-9])?|[0-9]+-[a-z0-9-]*[a-z0-9])\.?|([a-z0-9_.+,=-]|%[%_-]|%\{[slodiphv]([1-9][0-9]{0,2})?r?[.+,/_=-]*\})*%\{[slodiphv]([1-9][0-9]{0,2})?r?[.+,/_=-]*\}))?(/(0+|[1-9]|[12][0-9]|3[0-2]))?(//(0+|[1-9][0-9]?|1[01][0-9]|12[0-8]))?$') || self.matches(r'(?i)^[-+?~]?(include|exists):(([a-z0-9_.+,=/-]|%[%_-]|%\{[slodiphv]([1-9][0-9]{0,2})?r?[.+,/_=-]*\})+\.([0-9]*[a-z]([a-z0-9-]*[a-z0-9])?|[0-9]+-[a-z0-9-]*[a-z0-9])\.?|([a-z0-9_.+,=/-]|%[%_-]|%\{[slodiphv]([1-9][0-9]{0,2})?r?[.+,/_=-]*\})*%\{[slodiphv]([1-9][0-9]{0,2})?r?[.+,/_=-]*\})$')))`,message="not an SPF mechanism: write one of a, a:host, mx, mx:domain, ip4:network, ip6:network, include:domain or exists:domain in each item, without spaces, a domain with its A-labels (xn--)"
type Mechanism = string

// Nameserver is the address of a DNS server.
//
// +kubebuilder:validation:MaxLength=56
// +kubebuilder:validation:XValidation:rule=`isIP(self) || (self.matches(r'^[0-9.]+:[0-9]{1,5}$') && isIP(self.split(':')[0]) && int(self.split(':')[1]) >= 1 && int(self.split(':')[1]) <= 65535) || (self.matches(r'^\[[0-9a-fA-F:.]+\]:[0-9]{1,5}$') && isIP(self.substring(1, self.indexOf(']'))) && int(self.substring(self.indexOf(']') + 2)) >= 1 && int(self.substring(self.indexOf(']') + 2)) <= 65535)`,message="write a name server by its IP address, with a port where it is not 53: 192.0.2.53, 192.0.2.53:5353, 2001:db8::53 or [2001:db8::53]:5353"
type Nameserver = string
