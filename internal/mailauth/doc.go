// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mailauth signs a message as it streams past (DKIM, RFC 6376 and RFC 8463), and judges one: DKIM, SPF
// (RFC 7208) and DMARC (RFC 9989), told in an Authentication-Results field (RFC 8601).
//
// Nothing here knows sockets, files or clocks: the caller hands over header
// fields from top to bottom, then the body in pieces of any size, then the
// time and the keys, or a resolver. Memory is that of the header, whatever the size of the body.
//
//	header.Add × n  →  body.Write × n  →  Sign(header, body.Sum(), …) per key
//	Header × n      →  Body × n        →  Verdict(resolver, now)  →  AuthResults
package mailauth
