// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package mtaprobe

// noMilter says, for each way, how the milter is asked about its mail.
var noMilter = map[Way]string{
	SMTP: "no milter is asked here. Postfix: smtpd_milters at this service of master.cf, or take this client out of mynetworks. " +
		"Sendmail: InputMailFilters at its DAEMON_OPTIONS, or do not relay for this client",
	Submission: "no milter is asked here. Postfix: -o smtpd_milters at submission in master.cf. Sendmail: InputMailFilters at its DAEMON_OPTIONS",
	SMTPS:      "no milter is asked here. Postfix: -o smtpd_milters at submissions in master.cf. Sendmail: InputMailFilters at its DAEMON_OPTIONS",
	Program:    "no milter is asked here. Postfix: non_smtpd_milters. Sendmail: have submit.cf hand mail to a listener with the milter",
	Bounce:     "no milter is asked about bounces. Postfix: non_smtpd_milters, and internal_mail_filter_classes = bounce, notify. Sendmail: relay through a second hop with the milter",
}

// failOpen is for a milter that is asked, and without which mail passes.
const failOpen = "mail passes without the milter. Postfix: milter_default_action = tempfail, also in -o options of master.cf. Sendmail: F=T in MAIL_FILTER or INPUT_MAIL_FILTER"

func advice(f Finding, offered bool) string {
	switch f.Verdict {
	case Leaves:
		if offered && f.State != Refuses {
			return failOpen
		}
		return noMilter[f.Way]
	case Refused:
		return "clients are told not to try again. Postfix: milter_default_action = tempfail, not reject. Sendmail: F=T, not F=R"
	case Unclear:
		if f.Trouble != "" {
			return f.Trouble
		}
		return "the milter was not offered it again: look in the MTA's queue and in the recipient's mailbox, or give a longer --wait. If it has arrived, " + failOpen
	case Waits, Closed:
	}
	return ""
}
