// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package milter speaks the milter protocol, versions 2 to 6, with an MTA and
// decides what happens to each message.
//
//	MTA ── wire ── session ──► transaction, by the role of the listener
//	                             │
//	               sign: decide (pure) ── mailauth
//	                       │
//	                     Table ← keydir   swapped whole, kept by messages in flight
//
// Everything fails closed: what cannot be signed and must be is answered with
// 451 4.7.0, so that the client tries again. Peers are bounded in number, in
// octets and in time, and no packet may end the process.
package milter
