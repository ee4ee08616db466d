// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package postfix runs an instance of Postfix in a folder of its own, with a
// milter in front of its queue, and smtp-sink behind it as the rest of the
// world. It needs root, as every Postfix does.
package postfix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

// User is who Postfix's daemons run as. The milter's socket must be open to it.
const User = "postfix"

// Options say what to run.
type Options struct {
	Listen netip.AddrPort // of smtpd
	Milter string         // for smtpd_milters and non_smtpd_milters, such as unix:/run/milter.sock
	Sink   netip.AddrPort // where all mail goes
	// Origin is the domain of mail whose sender has none, bounces above all.
	Origin string
	// Undeliverable is a domain whose mail bounces at once.
	Undeliverable string
	// Main are lines of main.cf after ours.
	Main string
	// Services are lines of master.cf: where given, they stand in place of the smtpd on Listen, and replace those of the same name.
	Services string
	// SASL is how logins are checked: a file of Cyrus SASL.
	SASL string
}

// Instance is a running Postfix.
type Instance struct {
	dir     string
	listen  netip.AddrPort
	process *process.Process
}

// Start runs Postfix with its files below dir, which the user postfix must be
// able to reach, and returns when it answers.
func Start(ctx context.Context, dir string, options Options) (*Instance, error) {
	program, err := process.Find("postfix", "postfix")
	if err != nil {
		return nil, err
	}
	i := &Instance{dir: filepath.Join(dir, "postfix"), listen: options.Listen}
	if err := i.layOut(options); err != nil {
		return nil, fmt.Errorf("lay out Postfix in %s: %w", i.dir, err)
	}
	if i.process, err = process.Start(dir, "postfix-start", process.Options{}, program, "-c", i.config(), "start-fg"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = i.process.Await(ctx, func(ctx context.Context) error { return process.Greets(ctx, options.Listen.String()) })
	if err != nil {
		return nil, errors.Join(err, errors.New(i.Log()), i.Stop()) //nolint:contextcheck // it is stopped though ctx has ended
	}
	return i, nil
}

func (i *Instance) config() string { return filepath.Join(i.dir, "config") }

// layOut writes the configuration and makes the folders.
func (i *Instance) layOut(o Options) error {
	owner, err := user.Lookup(User)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	for _, folder := range []string{"", "config/sasl", "queue", "data"} {
		if err := os.MkdirAll(filepath.Join(i.dir, folder), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chown(filepath.Join(i.dir, "data"), uid, -1); err != nil {
		return err
	}
	for name, text := range map[string]string{"main.cf": i.main(o), "master.cf": o.master(), "sasl/smtpd.conf": o.SASL, "transport": o.Undeliverable + " error:5.1.1 there is nobody of that name\n"} {
		if err := os.WriteFile(filepath.Join(i.config(), name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (i *Instance) main(o Options) string {
	return lastOfEach(fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
mail_owner = `+User+`
setgid_group = postdrop
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
meta_directory = /etc/postfix
shlib_directory = no
inet_protocols = ipv4
inet_interfaces = %[2]s
myhostname = mta.%[3]s
myorigin = %[3]s
mydestination =
local_recipient_maps =
local_transport = error:nothing is delivered here
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
# Accepted first, mail to nobody bounces instead of being refused.
smtpd_reject_unlisted_recipient = no
default_transport = smtp
relayhost = [%[4]s]:%[5]d
transport_maps = texthash:%[1]s/config/transport
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_tls_security_level = none
smtpd_tls_security_level = none
# Whatever enters is signed, or waits: mail from the network, from sendmail(1), and what Postfix writes itself.
smtpd_milters = %[6]s
non_smtpd_milters = %[6]s
internal_mail_filter_classes = bounce
milter_default_action = tempfail
milter_protocol = 6
milter_connect_timeout = 5s
# What waits is tried again soon: nobody waits for a test.
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
%[7]s`, i.dir, o.Listen.Addr(), o.Origin, o.Sink.Addr(), o.Sink.Port(), o.Milter, o.Main), func(line string) string {
		name, _, _ := strings.Cut(line, "=")
		return strings.TrimSpace(name)
	})
}

// master lists the daemons, none of them in a chroot: the milter's socket is outside of the queue.
func (o Options) master() string {
	services := o.Services
	if services == "" {
		services = o.Listen.String() + " inet n - n - - smtpd\n"
	}
	return lastOfEach(standard+services, func(line string) string {
		fields := strings.Fields(line)
		return strings.Join(fields[:min(2, len(fields))], " ") // name and type
	})
}

// lastOfEach drops what a later entry of the same name replaces. Postfix would do so, too, and warn: more warnings than a
// socket holds (net.unix.max_dgram_qlen) before postlogd is there to read them, and its master waits for ever.
func lastOfEach(text string, name func(line string) string) string {
	var entries []string // each with the lines that continue it
	last := map[string]int{}
	for line := range strings.Lines(text) {
		switch {
		case strings.TrimSpace(line) == "" || line[0] == '#':
		case (line[0] == ' ' || line[0] == '\t') && len(entries) > 0:
			entries[len(entries)-1] += line
		default:
			last[name(line)] = len(entries)
			entries = append(entries, line)
		}
	}
	var kept strings.Builder
	for i, entry := range entries {
		if last[name(entry)] == i {
			kept.WriteString(entry)
		}
	}
	return kept.String()
}

// standard are the daemons that every Postfix has.
const standard = `postlog   unix-dgram n - n - 1 postlogd
pickup    unix n - n 1 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 1 1 qmgr
rewrite   unix - - n - - trivial-rewrite
tlsmgr    unix - - n 1000? 1 tlsmgr
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
`

// Sendmail hands a message to sendmail(1), as a program on this machine would.
func (i *Instance) Sendmail(ctx context.Context, message string, args ...string) (string, error) {
	return i.run(ctx, message, "sendmail", append([]string{"-C", i.config()}, args...)...)
}

// Program is sendmail(1) of this instance: the program and its first arguments.
func (i *Instance) Program() []string { return []string{"/usr/sbin/sendmail", "-C", i.config()} }

// Queue is what waits: postqueue -p.
func (i *Instance) Queue(ctx context.Context) (string, error) {
	return i.run(ctx, "", "postqueue", "-c", i.config(), "-p")
}

// Flush has Postfix try again at once what waits.
func (i *Instance) Flush(ctx context.Context) error {
	_, err := i.run(ctx, "", "postqueue", "-c", i.config(), "-f")
	return err
}

func (i *Instance) run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	path, err := process.Find(program, "postfix")
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, path, args...)
	command.Stdin = strings.NewReader(stdin)
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return string(out), nil
}

// Log is what Postfix wrote so far.
func (i *Instance) Log() string {
	text, err := os.ReadFile(filepath.Join(i.dir, "mail.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop ends Postfix: what was started is a script, whose end does not end the master that it started.
func (i *Instance) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := i.run(ctx, "", "postfix", "-c", i.config(), "abort")
	return errors.Join(err, i.process.Stop())
}
