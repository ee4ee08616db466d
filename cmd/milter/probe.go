// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/maildomain-operator/maildomain-operator/internal/mtaprobe"
)

// probeOptions are the flags as they were given.
type probeOptions struct {
	socket     string
	socketMode uint32
	smtp       []string
	submission []string
	smtps      []string
	sendmail   string
	bounce     string

	from, to     string
	login        string
	passwordFile string
	serverName   string
	caFile       string
	wait         time.Duration
	yes          bool

	tls      *tls.Config
	password string
	address  listenAddress
}

const probeHelp = `probe stands in the milter's place while an MTA is sent mail by each way that it has, and tells by which of them mail
would leave unsigned: with a milter that is gone, one that hangs up, and one that refuses.

Stop the milter first: the probe listens on its socket. Meanwhile all mail that the MTA asks the milter about waits.
--from is an address that the MTA may send as, --to one of your own elsewhere: what arrives there without a signature has
left unsigned. --bounce sends from --to to --from and asks for a notification, which the MTA writes itself.

Exit status: 0 if nothing would leave unsigned, 1 if something would, 2 if that stayed unclear.`

func newProbeCommand(stdout io.Writer) *cobra.Command {
	var o probeOptions
	cmd := &cobra.Command{
		Use:   "probe --socket unix:/run/milter/sign.sock --submission localhost:587 --from me@example.org --to me@elsewhere.example --yes",
		Short: "Find the ways by which an MTA would let mail leave unsigned",
		Long:  probeHelp,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), stdout) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.socket, "socket", "unix:/run/milter/sign.sock", "where the MTA asks the signing milter")
	f.Uint32Var(&o.socketMode, "socket-mode", 0o660, "access mode of the Unix socket")
	f.StringArrayVar(&o.smtp, "smtp", nil, "listener without login, host:port, such as that of port 25; may be given several times")
	f.StringArrayVar(&o.submission, "submission", nil, "listener with STARTTLS, host:port; may be given several times")
	f.StringArrayVar(&o.smtps, "smtps", nil, "listener with TLS, host:port; may be given several times")
	f.StringVar(&o.sendmail, "sendmail", "", "path of sendmail(1)")
	f.StringVar(&o.bounce, "bounce", "", "listener, host:port, that takes mail for --from from strangers")
	f.StringVar(&o.from, "from", "", "address that the MTA sends as")
	f.StringVar(&o.to, "to", "", "address of your own elsewhere, which gets what leaves")
	f.StringVar(&o.login, "login", "", "who logs in at --submission and --smtps")
	f.StringVar(&o.passwordFile, "password-file", "", "file with the password of --login")
	f.StringVar(&o.serverName, "tls-server-name", "", "name in the MTA's certificate; empty: the host of the listener")
	f.StringVar(&o.caFile, "tls-ca", "", "file with certificates to trust, in PEM; empty: those of the system")
	f.DurationVar(&o.wait, "wait", 150*time.Second, "how long to wait at most for the MTA to ask the milter about what it has queued")
	f.BoolVar(&o.yes, "yes", false, "send; without it the probe says what it would send")
	return cmd
}

// exitError is an error that the process ends with a status of its own for.
type exitError struct {
	error

	status int
}

func (o *probeOptions) entrances() []mtaprobe.Entrance {
	var all []mtaprobe.Entrance
	for _, listeners := range []struct {
		way       mtaprobe.Way
		addresses []string
	}{{mtaprobe.SMTP, o.smtp}, {mtaprobe.Submission, o.submission}, {mtaprobe.SMTPS, o.smtps}} {
		for _, a := range listeners.addresses {
			all = append(all, mtaprobe.Entrance{Way: listeners.way, Address: a})
		}
	}
	if o.sendmail != "" {
		all = append(all, mtaprobe.Entrance{Way: mtaprobe.Program, Address: o.sendmail})
	}
	if o.bounce != "" {
		all = append(all, mtaprobe.Entrance{Way: mtaprobe.Bounce, Address: o.bounce})
	}
	return all
}

// settle checks all flags and tells of every fault at once.
func (o *probeOptions) settle() error {
	var errs []error
	var err error
	if o.address, err = parseListen(o.socket); err != nil {
		errs = append(errs, fmt.Errorf("--socket %s: %w", o.socket, err))
	}
	for name, address := range map[string]string{"from": o.from, "to": o.to} {
		if local, domain, found := strings.Cut(address, "@"); !found || local == "" || domain == "" || strings.ContainsAny(address, "<>\r\n ") {
			errs = append(errs, fmt.Errorf("--%s %s: want an address such as me@example.org", name, address))
		}
	}
	if len(o.entrances()) == 0 {
		errs = append(errs, errors.New("no way into the MTA is given: want one of --smtp, --submission, --smtps, --sendmail and --bounce"))
	}
	if o.passwordFile != "" {
		text, err := os.ReadFile(o.passwordFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("--password-file: %w", err))
		}
		o.password = strings.TrimRight(string(text), "\r\n")
	}
	o.tls = &tls.Config{ServerName: o.serverName, MinVersion: tls.VersionTLS12}
	if o.caFile != "" {
		text, err := os.ReadFile(o.caFile)
		o.tls.RootCAs = x509.NewCertPool()
		if err != nil || !o.tls.RootCAs.AppendCertsFromPEM(text) {
			errs = append(errs, errors.Join(fmt.Errorf("--tls-ca %s: want certificates in PEM", o.caFile), err))
		}
	}
	return errors.Join(errs...)
}

func (o *probeOptions) run(ctx context.Context, stdout io.Writer) error {
	if err := o.settle(); err != nil {
		return err
	}
	entrances := o.entrances()
	fmt.Fprintf(stdout, "The probe sends %d messages from <%s> to <%s>: one by each way, while the milter is gone, hangs up and refuses.\n"+
		"Until it ends it stands at %s, and mail of others that the MTA asks the milter about waits.\n",
		len(entrances)*len(mtaprobe.States()), o.from, o.to, o.socket)
	if !o.yes {
		return errors.New("nothing was sent: say --yes if you own both addresses and the milter is stopped")
	}
	log.SetOutput(io.Discard) // the library tells of each connection that is broken off, which is the point
	w := &witness{address: o.address, mode: os.FileMode(o.socketMode), refusal: "451 4.7.0 Refused by milter probe; try again later", seen: map[string]sight{}}
	// Not served by anybody else: listening finds out.
	if err := w.become(ctx, mtaprobe.Refuses); err != nil {
		return fmt.Errorf("--socket %s: %w: stop the milter first", o.socket, err)
	}
	attempts, marks, err := o.try(ctx, w, entrances)
	if err == nil {
		o.await(ctx, w, attempts, marks)
	}
	if err := errors.Join(err, w.become(ctx, mtaprobe.Gone), ctx.Err()); err != nil {
		return err
	}
	return report(stdout, mtaprobe.Findings(attempts))
}

// try sends a message by each way in each state.
func (o *probeOptions) try(ctx context.Context, w *witness, entrances []mtaprobe.Entrance) (attempts []mtaprobe.Attempt, marks []string, err error) {
	run := strings.ToLower(rand.Text()[:8])
	for _, state := range mtaprobe.States() {
		if err := w.become(ctx, state); err != nil {
			return nil, nil, err
		}
		for _, e := range entrances {
			mark := fmt.Sprintf("milter-probe-%s-%d", run, len(marks))
			attempts = append(attempts, o.send(ctx, probeMessage{from: o.from, to: o.to, mark: mark, entrance: e, state: state}, time.Now()))
			marks = append(marks, mark)
		}
		dwell(ctx, w, attempts, marks)
	}
	return attempts, marks, nil
}

// dwellTime is how long the milter stays as it is for the sake of what an MTA has queued, and asks about a moment later.
const dwellTime = 3 * time.Second

// dwell waits while the milter may yet be asked about messages that were taken.
func dwell(ctx context.Context, w *witness, attempts []mtaprobe.Attempt, marks []string) {
	ctx, cancel := context.WithTimeout(ctx, dwellTime)
	defer cancel()
	poll(ctx, func() bool {
		for i, a := range attempts {
			if strings.HasPrefix(a.Reply, "2") && !w.saw(marks[i]).asked {
				return false
			}
		}
		return true
	})
}

// poll waits until something is so, or ctx ends.
func poll(ctx context.Context, so func() bool) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// await notes which messages the milter has been asked about, and gives the MTA time to do so with those that it has queued.
func (o *probeOptions) await(ctx context.Context, w *witness, attempts []mtaprobe.Attempt, marks []string) {
	ctx, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	poll(ctx, func() bool {
		for i := range attempts {
			seen := w.saw(marks[i])
			attempts[i].Asked, attempts[i].Refused = seen.asked, seen.refused
		}
		return mtaprobe.Settled(attempts)
	})
}

// report prints the table, and is an error whose status says how bad it is.
func report(stdout io.Writer, findings []mtaprobe.Finding) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WAY\tINTO\tMILTER\tVERDICT\tASKED\tREPLY")
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%t\t%.60s\n", f.Way, f.Address, f.State, f.Verdict, f.Asked, f.Reply)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	type told struct {
		mtaprobe.Entrance

		advice string
	}
	seen := map[told]bool{}
	for _, f := range findings {
		if t := (told{f.Entrance, f.Advice}); f.Advice != "" && !seen[t] {
			seen[t] = true
			fmt.Fprintf(stdout, "%s by %s %s, while the milter %s: %s.\n", f.Verdict, f.Way, f.Address, f.State, f.Advice)
		}
	}
	switch status := mtaprobe.Worst(findings); status {
	case 0:
		return nil
	case 1:
		return exitError{errors.New("mail would leave unsigned"), status}
	default:
		return exitError{errors.New("it stayed unclear whether mail would leave unsigned"), status}
	}
}
