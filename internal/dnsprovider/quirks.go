// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

// Quirk is a fault that the libdns module of a provider has, seen and reproduced by a test, and what our driver does
// about it. The same test probes both.
type Quirk struct{ Name, Fault, Cure string }

var cloudflareQuirks = []Quirk{
	{"cloudflare-long-txt", `a value of more than 255 octets is read with '" "' inside`, "content is read as character-strings"},
	{"cloudflare-delete-long-txt", "such a value is not found again: nothing is deleted, and no error", "records are deleted by the ids that were just read"},
	{"cloudflare-escaped-quote", "a quotation mark comes back with its backslash, one more each round", "escapes are decoded where they are read"},
	{"cloudflare-escaped-backslash", "so does a backslash", "escapes are decoded where they are read"},
	{"cloudflare-quotes-lost", "a value in quotation marks loses them", "every value is sent in quotation marks, its own escaped"},
	{"cloudflare-lone-quote", "a value that begins with one is sent bare and refused", "every value is sent in quotation marks"},
	{"cloudflare-octets", "octets outside of ASCII are escaped as Go does, not as the DNS does", "escapes are those of zone files"},
	{"cloudflare-spf-over-foreign", "setting SPF overwrites the one other TXT record at the name", "a request names the ids of our records and no others"},
	{"cloudflare-two-at-one-name", "nothing can be set where two records stand", "records are changed one by one, in one batch"},
	{"cloudflare-delete-swallows-429", "a delete that was throttled says that all is well", "every answer is judged"},
	{"cloudflare-no-result-info", "an answer without result_info is a panic", "it is an error: the list may not be whole"},
	{"cloudflare-zone-list-one-page", "20 of 45 zones are listed", "all pages are read, and must add up"},
	{"cloudflare-zone-id-kept", "the id of a zone that was made anew is kept for ever", "it is forgotten as soon as it leads nowhere"},
	{"cloudflare-lock-over-io", "a lookup that hangs holds up every other caller", "no lock is held while a request is under way"},
	{"cloudflare-no-timeout", "a request that is not answered waits for ever", "30 seconds a request, and two minutes a step of the queue"},
	{"cloudflare-throttling-untyped", "429 and Retry-After are text in an error", "they are typed, and the queue waits as long"},
	{"cloudflare-automatic-ttl", `"automatic" reads as one second`, "it is 300, and stays automatic where others have it"},
	{"cloudflare-foreign-srv", "one SRV record of an unusual name makes the whole zone unreadable", "records that we have nothing to do with are not parsed"},
}

var route53Quirks = []Quirk{
	{"route53-quotes-lost", "a value in quotation marks loses them", "values are read as character-strings with octal escapes"},
	{"route53-trailing-quote", "so does one that ends in one", "values are read as character-strings with octal escapes"},
	{"route53-quotes-lost-on-change", "so a foreign value is changed when ours is added beside it", "values of others go back as they came, text for text"},
	{"route53-spf-over-foreign", "setting SPF overwrites the other TXT records at the name", "what stands is part of each change"},
	{"route53-append-twice", "adding a value that stands already sends it twice, which is refused", "only what is missing is added"},
	{"route53-clobbers-others", "what somebody adds between reading and writing is overwritten (UPSERT)", "DELETE of exactly what was read and CREATE in one batch: Route 53 refuses if it is not so any more"},
	{"route53-ttl-of-others", "an unknown TTL is sent as 0", "there is always one, and others keep theirs"},
	{"route53-absent-delete-writes", "deleting what is not there is a write", "nothing is sent"},
	{"route53-zone-needs-dot", "a zone without the last dot is not found", "names are canonical"},
	{"route53-private-zone-first", "of a private and a public zone of one name it takes the first", "the public one is taken; of two, hostedZoneID says which"},
	{"route53-one-call-a-record", "two calls for each record", "batches as large as they may be: 1,000 records, 32,000 characters"},
	{"route53-first-calls-race", "calls that begin together write the module's fields unguarded (data race)", "nothing is made at the first call; the client is there before"},
	{"route53-ends-the-process", "a profile that is not there ends the process", "it is an error"},
}

var rfc2136Quirks = []Quirk{
	{"rfc2136-escaped-text", "values are read with their escapes", "they are decoded at the wire"},
	{"rfc2136-foreign-changed", "so foreign values are changed when they are written back", "records of others are no part of an update but as its prerequisite, octet by octet"},
	{"rfc2136-cut-by-character", "strings are cut at 255 characters, not octets", "they are cut at 255 octets"},
	{"rfc2136-absent-deleted", "absent records are reported as deleted", "what was read is what may be deleted, and a prerequisite"},
	{"rfc2136-message-too-large", "300 DKIM keys do not fit into the one message", "updates are cut far below the limit"},
	{"rfc2136-transfer-ignores-context", "a zone is read by AXFR, which goes on after its context has ended", "exact names are queried, and every exchange ends with its context"},
	{"rfc2136-wrong-zone", "a wrong zone is a text about an RCODE", "it is named, with what to do"},
}

var powerDNSQuirks = []Quirk{
	{"powerdns-quotes-kept", "values are read with their quotation marks", "content is read as zone files have it"},
	{"powerdns-escaped-text", "and with their escapes", "content is read as zone files have it"},
	{"powerdns-absent-deleted", "absent records are reported as deleted", "what was read is what may be deleted"},
	{"powerdns-empty-delete", "a delete of all values does nothing and says that all is well", "an empty value is never sent"},
	{"powerdns-append-races", "of 20 parallel additions at a name few are kept", "one worker for each zone of an account"},
}
