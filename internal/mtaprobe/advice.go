// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mtaprobe

// noMilter says, for each way, how the milter is asked about its mail.
var noMilter = map[Way]string{
	SMTP: "it relays for this client, and no milter is asked. Postfix: smtpd_relay_restrictions = reject_unauth_destination at this service of master.cf, " +
		"or smtpd_milters. Sendmail: InputMailFilters at its DAEMON_OPTIONS, or do not relay for this client",
	Submission: "no milter is asked. Postfix: -o smtpd_milters at this service of master.cf, or where it comes back from its content_filter. " +
		"Sendmail: InputMailFilters at its DAEMON_OPTIONS, or at those of the second hop",
	SMTPS: "no milter is asked. Postfix: -o smtpd_milters at this service of master.cf, or where it comes back from its content_filter. " +
		"Sendmail: InputMailFilters at its DAEMON_OPTIONS, or at those of the second hop",
	Program: "no milter is asked. Postfix: non_smtpd_milters. Sendmail: have submit.cf hand mail to a listener with the milter",
	Bounce: "no milter is asked about bounces. Postfix: non_smtpd_milters, and internal_mail_filter_classes = bounce, notify. " +
		"Sendmail: relay through a second hop with the milter",
}

// failOpen is for a milter that is asked, and without which mail passes.
const failOpen = "mail passes without the milter. Postfix: milter_default_action = tempfail, also in -o options of master.cf. " +
	"Sendmail: F=T in MAIL_FILTER or INPUT_MAIL_FILTER"

func advice(f Finding, guarded bool) string {
	switch f.Verdict {
	case Leaves:
		if guarded {
			return failOpen
		}
		return noMilter[f.Way]
	case Refused:
		return "clients are told not to try again. Postfix: milter_default_action = tempfail, not reject. Sendmail: F=T, not F=R"
	case Unclear:
		return f.unclear()
	case Waits, Closed:
	}
	return ""
}

func (f Finding) unclear() string {
	switch {
	case f.Trouble != "":
		return f.Trouble
	case f.Reply == "":
		return "the MTA said nothing"
	case f.Way == Bounce && f.Reply[0] != '2':
		return "it did not take the message that a bounce would be about (" + f.Reply + "): port 25 and its own milter have to work meanwhile"
	case f.Reply[0] != '2':
		return "something other than this milter says so (" + f.Reply + "): make that pass, and probe again"
	}
	return "the milter was not asked about it again: have the MTA try its queue meanwhile (postqueue -f, sendmail -q, sendmail -Ac -q), or give a longer --wait. " +
		"If the message has arrived, " + failOpen
}
