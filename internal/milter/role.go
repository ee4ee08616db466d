// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"net/netip"
)

// Role is what a listener is for. It is the listener's own, and never guessed from addresses or names of daemons:
// service NAT and re-injection make mail of the Internet look local.
type Role string

// RoleSign takes everything that comes to be ours to send.
const RoleSign Role = "sign"

// handler does what a role is for. It is shared by all sessions of its listeners.
type handler interface {
	// terms are what it asks of an MTA.
	terms() terms
	// begin begins a message.
	begin(o origin, e envelope) transaction
}

// terms are what a handler asks of an MTA in the negotiation.
type terms struct {
	// actions that the MTA must allow.
	actions actions
	// unneeded stages, left out where the MTA offers it.
	unneeded protocol
}

// origin is where a message comes from, in the words of the MTA.
type origin struct {
	client netip.Addr // of the SMTP client; invalid if it has none, such as sendmail(1)
	host   string     // name of the client, as the MTA looked it up
	helo   string     // empty where the role leaves HELO out
	login  string     // {auth_authen}: who authenticated
	mta    string     // j: the name of the MTA
}

// transaction is one message as it streams past, from top to bottom:
//
//	field × n → endHeader → body × n → end
//
// The octets that it is handed belong to the session. After end or fail it is
// used no more.
type transaction interface {
	// field takes a header field: the name, and what follows the colon.
	field(name string, value []byte)
	// endHeader comes once, before the body.
	endHeader()
	// body takes the next piece of the body, of any size.
	body(p []byte)
	// size is how many octets it keeps of the message.
	size() int
	// end says what becomes of the message, and counts and logs it.
	end(ctx context.Context, queueID string) verdict
	// fail is end for a message that a fault of the program spoilt. It takes no clock and no lock.
	fail(ctx context.Context, queueID string) verdict
}

// verdict is what the MTA is told at the end of a message. The zero value
// refuses it for now: only a verdict that says so lets a message go.
type verdict struct {
	// pass lets the message go on.
	pass bool
	// reply to the client of a message that does not pass: code, enhanced code (RFC 3463), text.
	reply string
	// edits of a message that passes, in the order in which the MTA makes them.
	edits []edit
	// quarantine is why a message that passes is held for a person; empty: it is not.
	quarantine string
}

// notReady is the reply where no other was found.
const notReady = "451 4.7.0 The milter is not ready; try again later"

// edit is a change of the header.
type edit struct {
	code  response // resInsertHeader or resChangeHeader
	index uint32   // where to insert, 0 being the top; or which field of this name, 1 being the uppermost
	name  string
	value string // lines end with CRLF; a field that is changed to "" goes
}

// insertOnTop makes a field the first of the message.
func insertOnTop(name, value string) edit { return edit{resInsertHeader, 0, name, value} }
