// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mailauth signs a message as it streams past (DKIM, RFC 6376 and RFC 8463).
//
// Nothing here knows sockets, files or clocks: the caller hands over header
// fields from top to bottom, then the body in pieces of any size, then the
// time and the keys. Memory is that of the header fields that will be signed,
// whatever the size of the body.
//
//	header.Add × n  →  body.Write × n  →  Sign(header, body.Sum(), …) per key
package mailauth
