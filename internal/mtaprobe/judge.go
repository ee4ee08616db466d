// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mtaprobe decides what a probe of an MTA has shown: by which ways mail
// would leave unsigned while the milter refuses, breaks off or is gone.
//
//	attempt = way × state of the milter → reply, offered to the milter? → verdict, and what to change
package mtaprobe

// Way is how mail gets into an MTA.
type Way string

// The ways.
const (
	SMTP       Way = "smtp"       // a listener without login, port 25
	Submission Way = "submission" // 587, by STARTTLS
	SMTPS      Way = "smtps"      // 465, TLS from the first octet
	Program    Way = "sendmail"   // sendmail(1)
	Bounce     Way = "bounce"     // what the MTA itself writes, asked for as a delivery status notification (RFC 3461)
)

// State is what the milter does meanwhile.
type State string

// The states.
const (
	Refuses State = "refuses" // answers 451 at the end of the message
	Breaks  State = "breaks"  // hangs up there, as one that is killed does
	Gone    State = "gone"    // does not listen
)

// States are all of them, in the order in which they are tried: the last leaves a milter that what waits is offered to.
func States() []State { return []State{Gone, Breaks, Refuses} }

// Attempt is one message and what became of it.
type Attempt struct {
	Way   Way
	State State
	// Reply is the MTA's last word, such as "451 4.7.1 …"; "250 …" for a program that was content. Empty: there was none.
	Reply string
	// Trouble says why the MTA was not asked, such as a login that failed.
	Trouble string
	// Offered tells that the milter has seen the message, then or later.
	Offered bool
}

// Verdict is what an attempt has shown.
type Verdict string

// The verdicts.
const (
	Waits   Verdict = "waits"   // 4xx, or it stays in the queue: as it should be
	Closed  Verdict = "closed"  // the way takes no such mail at all
	Refused Verdict = "refused" // 5xx because of the milter: nothing leaves unsigned, and nothing is tried again
	Leaves  Verdict = "LEAVES UNSIGNED"
	Unclear Verdict = "unclear"
)

// Judge says what an attempt has shown. Others of the same way tell whether a refusal is the milter's doing.
func Judge(a Attempt, others []Attempt) Verdict {
	switch {
	case a.Reply == "" && anyOffered(a.Way, others):
		return Waits // it hung up on a client that has the message still, as Sendmail may where TLS comes first
	case a.Trouble != "" || a.Reply == "":
		return Unclear
	case a.Reply[0] == '4':
		return Waits
	case a.Reply[0] == '5' && (a.Offered || anyOffered(a.Way, others)):
		return Refused
	case a.Reply[0] == '5':
		return Closed
	case a.Reply[0] != '2':
		return Unclear
	}
	// The MTA took it. From sendmail(1), and of a bounce, it always does; what counts is whether the milter is asked before it leaves.
	switch {
	case a.Way != Program && a.Way != Bounce:
		return Leaves
	case a.Offered:
		return Waits
	case a.State != Refuses && anyOffered(a.Way, others):
		return Unclear // it has left, or its queue is not due yet
	}
	return Leaves
}

func anyOffered(way Way, attempts []Attempt) bool {
	for _, a := range attempts {
		if a.Way == way && a.Offered {
			return true
		}
	}
	return false
}

// Finding is the judgement on an attempt, in words.
type Finding struct {
	Attempt
	Verdict Verdict
	Advice  string // what to change; empty: nothing
}

// Findings judges all attempts, in their order.
func Findings(attempts []Attempt) []Finding {
	var all []Finding
	for _, a := range attempts {
		f := Finding{Attempt: a, Verdict: Judge(a, attempts)}
		f.Advice = advice(f, anyOffered(a.Way, attempts))
		all = append(all, f)
	}
	return all
}

// Worst is 1 if mail would leave unsigned, 2 if something stayed unclear, and 0 otherwise.
func Worst(findings []Finding) int {
	worst := 0
	for _, f := range findings {
		if f.Verdict == Leaves {
			return 1
		}
		if f.Verdict == Unclear {
			worst = 2
		}
	}
	return worst
}
