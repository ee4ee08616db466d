// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dnslookup asks recursive resolvers for what a mail server needs to
// judge a message, and remembers the answers as long as they say.
//
//	Lookup… ── cache ── one question at a time per name ── UDP, then TCP ── resolvers, one after the other
//
// Who sends a message chooses the names that are asked for and owns their
// servers, so everything is bounded: the time and the tries of a question, the
// questions under way, the records of an answer, the links of a chain of
// aliases, and what the cache holds, by count and by size.
package dnslookup
