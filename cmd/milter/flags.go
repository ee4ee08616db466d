// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/maildomain-operator/maildomain-operator/internal/dnslookup"
	"github.com/maildomain-operator/maildomain-operator/internal/milter"
	"github.com/maildomain-operator/maildomain-operator/internal/rsasign"
)

// options are the flags as they were given.
type options struct {
	config string
	from   origins

	sign       []string
	verify     verifyOptions
	socketMode string
	keys       []string
	http       string
	check      bool

	policy         map[string]string
	onFailure      string
	requireSenders bool

	expiry          time.Duration
	deadline        time.Duration
	rescan          time.Duration
	idleTimeout     time.Duration
	shutdownTimeout time.Duration
	maxConnections  int
	memory          int
	logLevel        string
}

const longHelp = `milter signs outgoing mail with DKIM, and judges what comes in, beside Postfix or Sendmail.

Everything that reaches a --sign listener is taken to be ours to send: give it to submission, to sendmail(1) and to the
output of content filters, never to port 25. A message is signed if its one From: domain is in the key tree. Mail of a
required domain that cannot be signed waits (451 4.7.0), and so does all mail while the key tree is missing or empty. The
MTA must fail closed too: milter_default_action = tempfail in Postfix, F=T in Sendmail.

--policy says what happens to messages that are not plainly ours, as reason=action with accept, tempfail or reject:
  unknown_domain    From: is of a domain that the key tree does not have                      accept
  unlisted_sender   the domain's senders admit neither the login nor the client's network    reject
  no_from           there is no From: field                                                   reject
  bad_from          the From: field has no address with a domain                              reject
  several_from      there are several From: fields                                            reject
  several_domains   From: has addresses of several domains                                    reject
A message with a null sender (a bounce) is never rejected for good: it waits.
`

const signalsHelp = `
SIGHUP reads the key tree again, SIGTERM finishes the messages that are on their way.`

// newCommand is the milter's command line.
func newCommand(stdout, stderr io.Writer) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:           "milter --sign unix:/run/milter/sign.sock --keys /keys",
		Short:         "Sign outgoing mail with DKIM, and judge what comes in",
		Long:          longHelp + verifyHelp + resultsHelp() + signalsHelp,
		Version:       versionText(), // Without a template: one would keep every unused method, a fifth of the program.
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.start(cmd.Context(), cmd.Flags(), stdout, stderr)
		},
	}
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.AddCommand(&cobra.Command{
		Use: "version", Short: "Say which build this is and who computes its RSA signatures", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) { fmt.Fprintln(stdout, "milter version "+versionText()) },
	})
	cmd.AddCommand(newProbeCommand(stdout))
	o.flags(cmd.Flags())
	return cmd
}

// versionText says which build this is and who computes its RSA signatures.
func versionText() string {
	return fmt.Sprintf("%s\nRSA signatures by %s", version, rsasign.Current())
}

func (o *options) flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&o.config, "config", "", "YAML file of the settings below, by their names without dashes; the command line comes first")
	f.StringArrayVar(&o.sign, "sign", nil, "signing listener, unix:/path or tcp:host:port; may be given several times")
	f.StringArrayVar(&o.keys, "keys", nil, "directory that a signing Secret is mounted as; may be given several times")
	o.verify.flags(f)
	f.StringVar(&o.socketMode, "socket-mode", "0660", "access mode of Unix sockets")
	f.StringVar(&o.http, "http", ":8080", "address of /healthz, /readyz, /keys and /metrics; empty: none")
	f.BoolVar(&o.check, "check", false, "read the key tree, show what would sign, and end; fails if something is wrong")
	f.StringToStringVar(&o.policy, "policy", nil, "what happens to messages that are not plainly ours: reason=accept|tempfail|reject, see above")
	f.StringVar(&o.onFailure, "on-failure", "tempfail", "what happens to mail that should be signed and cannot be: tempfail, or accept, which lets it leave UNSIGNED")
	f.BoolVar(&o.requireSenders, "require-senders", false, "do not sign for domains without senders: several tenants share this milter")
	f.DurationVar(&o.expiry, "expiry", 0, "how long signatures hold (x=); 0: for ever; at least 120h, since mail waits in queues for days")
	f.DurationVar(&o.deadline, "deadline", 10*time.Second, "how long the signatures of one message may take")
	f.DurationVar(&o.rescan, "rescan", time.Minute, "how often the key tree is read without any event")
	f.DurationVar(&o.idleTimeout, "idle-timeout", 2*time.Hour, "how long the MTA may be silent on a connection")
	f.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 25*time.Second, "how long messages on their way may take to end after SIGTERM")
	f.IntVar(&o.maxConnections, "max-connections", 1024, "how many connections of the MTA may be open")
	f.IntVar(&o.memory, "memory", 16, "how many MiB connections may keep of headers together; beyond it, the one that has kept some for longest is closed")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
}

// settings are the flags, checked and read.
type settings struct {
	listeners    []listener
	socketMode   fs.FileMode
	policy       milter.Policy
	verification *milter.Verification // nil: nothing is verified
	resolver     *dnslookup.Resolver  // nil: nobody asks
	level        slog.Level
}

// minExpiry is the queue lifetime of RFC 5321 §4.5.4.1: mail may be that old when it is first judged.
const minExpiry = 120 * time.Hour

// settle checks all flags and tells of every fault at once.
func (o *options) settle() (settings, error) {
	var s settings
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	s.listeners, errs = o.listeners()
	if len(s.listeners)+len(errs) == 0 && !o.check {
		fail("--sign is missing: give at least one listener, such as --sign unix:/run/milter/sign.sock; or --verify, for mail that comes in")
	}
	if len(o.keys) == 0 && (len(o.sign) > 0 || len(o.verify.listen) == 0) {
		fail("--keys is missing: give the directory that the signing Secret is mounted as")
	}
	for i, dir := range o.keys {
		if slices.ContainsFunc(o.keys[:i], func(other string) bool { return filepath.Clean(other) == filepath.Clean(dir) }) {
			fail("%s %s is given twice", o.from.name("keys"), dir)
		}
	}
	mode, err := strconv.ParseUint(o.socketMode, 8, 9)
	if err != nil {
		fail("%s %s: want octal digits, such as 0660", o.from.name("socket-mode"), o.socketMode)
	}
	s.socketMode = fs.FileMode(mode)
	if err := s.level.UnmarshalText([]byte(o.logLevel)); err != nil {
		fail("%s %s: want debug, info, warn or error", o.from.name("log-level"), o.logLevel)
	}
	s.policy, err = o.parsePolicy()
	errs = append(errs, err)
	s.verification, s.resolver, err = o.verify.settle(o.from)
	return s, errors.Join(append(errs, err, o.checkNumbers())...)
}

// listeners reads the listeners of all roles.
func (o *options) listeners() (all []listener, errs []error) {
	for _, of := range []struct {
		role  milter.Role
		texts []string
	}{{milter.RoleSign, o.sign}, {milter.RoleVerify, o.verify.listen}} {
		for _, text := range of.texts {
			l, err := parseListen(text)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("%s %s: %w", o.from.name(string(of.role)), text, err))
			case slices.ContainsFunc(all, func(other listener) bool { return other.listenAddress == l }):
				errs = append(errs, fmt.Errorf("%s %s is given twice", o.from.name(string(of.role)), text))
			default:
				all = append(all, listener{l, of.role})
			}
		}
	}
	return all, errs
}

func (o *options) checkNumbers() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"deadline", o.deadline}, {"rescan", o.rescan}, {"idle-timeout", o.idleTimeout}, {"shutdown-timeout", o.shutdownTimeout},
	} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s %s: want more than 0", o.from.name(d.name), d.value))
		}
	}
	if o.expiry != 0 && o.expiry < minExpiry {
		errs = append(errs, fmt.Errorf("%s %s: want 0 or at least %s, since mail waits in queues for days", o.from.name("expiry"), o.expiry, minExpiry))
	}
	for _, n := range []struct {
		name         string
		value, least int
	}{{"max-connections", o.maxConnections, 1}, {"memory", o.memory, 2}} {
		if n.value < n.least {
			errs = append(errs, fmt.Errorf("%s %d: want at least %d", o.from.name(n.name), n.value, n.least))
		}
	}
	if o.http != "" {
		if _, _, err := net.SplitHostPort(o.http); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: want host:port or :port", o.from.name("http"), o.http))
		}
	}
	return errors.Join(errs...)
}

func (o *options) parsePolicy() (milter.Policy, error) {
	p := milter.Policy{Actions: milter.DefaultPolicy()}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(o.policy)) {
		action := milter.Action(o.policy[name])
		if !slices.Contains(milter.PolicyReasons(), milter.Reason(name)) {
			errs = append(errs, fmt.Errorf("%s %s: no such reason; want one of %s", o.from.name("policy"), name, joinReasons()))
			continue
		}
		if action != milter.Accept && action != milter.Tempfail && action != milter.Reject {
			errs = append(errs, fmt.Errorf("%s %s=%s: want accept, tempfail or reject", o.from.name("policy"), name, action))
			continue
		}
		p.Actions[milter.Reason(name)] = action
	}
	switch o.onFailure {
	case "tempfail":
	case "accept":
		p.AcceptFailures = true
	default:
		errs = append(errs, fmt.Errorf("%s %s: want tempfail or accept", o.from.name("on-failure"), o.onFailure))
	}
	return p, errors.Join(errs...)
}

func joinReasons() string {
	var names []string
	for _, r := range milter.PolicyReasons() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// start checks the flags and does what they ask for.
func (o *options) start(ctx context.Context, flags *pflag.FlagSet, stdout, stderr io.Writer) error {
	if o.config != "" {
		var err error
		if o.from, err = loadConfig(o.config, flags); err != nil {
			return err
		}
	}
	s, err := o.settle()
	if err != nil {
		return err
	}
	if o.check {
		return o.runCheck(stdout)
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: s.level}))
	return o.run(ctx, s, log)
}
