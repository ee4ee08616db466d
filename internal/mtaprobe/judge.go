// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mtaprobe decides what a probe of an MTA has shown: by which ways mail
// would leave unsigned while the milter refuses, breaks off or is gone.
//
//	attempt = entrance × state of the milter → reply, was the milter asked? → verdict, and what to change
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

// Entrance is one place where mail gets in: two listeners of the same way may be configured differently.
type Entrance struct {
	Way     Way
	Address string // of a listener, or the path of sendmail(1)
}

// State is what the milter does meanwhile.
type State string

// The states.
const (
	Refuses State = "refuses"  // answers 451 at the end of the message
	Breaks  State = "hangs up" // there, as one that is killed does
	Gone    State = "is gone"  // does not listen
)

// States are all of them, in the order in which they are tried: the last leaves a milter that what waits is offered to.
func States() []State { return []State{Gone, Breaks, Refuses} }

// Attempt is one message and what became of it.
type Attempt struct {
	Entrance

	State State
	// Reply is the MTA's last word, such as "451 4.7.1 …"; "250 …" for a program that was content. Empty: there was none.
	Reply string
	// Trouble says why the MTA was not asked, such as a login that failed.
	Trouble string
	// Asked tells that the milter was asked about the message, then or later.
	Asked bool
	// Refused is how often it was asked, and refused: only a message that the MTA holds still can be.
	Refused int
}

// Verdict is what an attempt has shown.
type Verdict string

// The verdicts.
const (
	Waits   Verdict = "waits"   // 4xx, or it stays in a queue: as it should be
	Closed  Verdict = "closed"  // the way takes no such mail at all
	Refused Verdict = "refused" // 5xx because of the milter: nothing leaves unsigned, and nothing is tried again
	Leaves  Verdict = "LEAVES UNSIGNED"
	Unclear Verdict = "unclear"
)

// turns is how often a queue has to have come round for what is not in it to have left: the message that was sent last was
// refused when it came, and twice again.
const turns = 3

// Judge says what an attempt has shown. All attempts tell how the same entrance behaves otherwise.
func Judge(a Attempt, all []Attempt) Verdict {
	guarded, last := about(a.Entrance, all)
	switch {
	case a.Reply == "" && guarded && a.Way != Bounce:
		return Waits // it hung up on a client that has the message still, as Sendmail may where TLS comes first
	case a.Trouble != "" || a.Reply == "":
		return Unclear
	case a.Reply[0] != '2' && a.Way == Bounce:
		return Unclear // nothing was taken that a bounce could be written about
	case a.Reply[0] == '4' && guarded:
		return Waits
	case a.Reply[0] == '5' && guarded:
		return Refused
	case a.Reply[0] == '5':
		return Closed
	case a.Reply[0] != '2':
		return Unclear // 4xx, and not for this milter's sake
	}
	// The MTA took it. One that queues first always does; what counts is that the milter is asked before it leaves.
	switch {
	case a.Refused > 0:
		return Waits
	case !guarded, last.Reply != "" && last.Reply[0] == '4', last.Refused >= turns:
		return Leaves
	}
	return Unclear // it has left, or its queue is not due yet
}

// about tells whether the milter is asked at an entrance at all, and what became of the message there that it refused.
func about(e Entrance, all []Attempt) (guarded bool, last Attempt) {
	for _, a := range all {
		if a.Entrance != e {
			continue
		}
		guarded = guarded || a.Asked
		if a.State == Refuses {
			last = a
		}
	}
	return guarded, last
}

// Settled tells whether waiting for the MTA's queues could change no verdict any more.
func Settled(all []Attempt) bool {
	for _, a := range all {
		if a.Reply == "" || a.Reply[0] != '2' || a.Refused > 0 {
			continue
		}
		if guarded, _ := about(a.Entrance, all); !guarded || Judge(a, all) == Unclear {
			return false
		}
	}
	return true
}

// Finding is the judgement on an attempt, in words.
type Finding struct {
	Attempt

	Verdict Verdict
	Advice  string // what to change; empty: nothing
}

// Findings judges all attempts, in their order.
func Findings(all []Attempt) []Finding {
	var findings []Finding
	for _, a := range all {
		guarded, _ := about(a.Entrance, all)
		f := Finding{Attempt: a, Verdict: Judge(a, all)}
		f.Advice = advice(f, guarded)
		findings = append(findings, f)
	}
	return findings
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
