// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/bind"
	"github.com/maildomain-operator/maildomain-operator/test/env/postfix"
	"github.com/maildomain-operator/maildomain-operator/test/env/process"
)

const (
	namespace         = "mail"
	operatorNamespace = "maildomain-system"
	startTimeout      = 3 * time.Minute
	nobody            = 65534 // who the milter runs as
)

var (
	smtpd = netip.MustParseAddrPort("127.0.53.25:25")
	sink  = netip.MustParseAddrPort("127.0.53.26:25")
)

// environment is everything that runs.
type environment struct {
	once sync.Once
	err  error

	client.Client
	*transcript
	dir        string // all files; the user postfix may pass
	kubeconfig string // of the operator's ServiceAccount
	dns        *bind.World
	api        *apiserver.Server
	manager    *process.Process
	milter     *process.Process
	mta        *postfix.Instance
	sink       *postfix.Sink
	keys       string // where the signing Secret is mounted
	socket     string
	group      uint32 // Postfix'
	stopMirror func() error
	stops      []func() error
}

func (e *environment) start() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	steps := []func(context.Context) error{e.makeDir, e.copyPrograms, e.startDNS, e.startAPI, e.startManager, e.makeMilter, e.startMail}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop ends what runs, last started first.
func (e *environment) stop() error {
	var errs []error
	for _, stop := range slices.Backward(e.stops) {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// clean leaves the transcript and the logs, but neither programs nor keys.
func (e *environment) clean() {
	for _, name := range []string{"bin", "named", "milter", "kubeconfig", "named-world", "named-primary", "named-secondary", "postfix/queue", "postfix/data"} {
		if err := os.RemoveAll(filepath.Join(e.dir, name)); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
		}
	}
}

func (e *environment) makeDir(context.Context) (err error) {
	if e.dir, err = os.MkdirTemp("", "maildomain-e2e-"); err != nil {
		return err
	}
	if err = os.Chmod(e.dir, 0o755); err != nil {
		return err
	}
	e.transcript, err = openTranscript(e.dir)
	return err
}

// copyPrograms takes the two programs that `make build` made to where the milter's user can run them.
func (e *environment) copyPrograms(context.Context) error {
	bin := filepath.Join(e.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"manager", "milter"} {
		program, err := os.ReadFile(filepath.Join("..", "..", "bin", name))
		if err != nil {
			return fmt.Errorf("%w: run make build", err)
		}
		if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (e *environment) startDNS(ctx context.Context) (err error) {
	if e.dns, err = bind.Start(ctx, e.dir, zones()); err == nil {
		e.stops = append(e.stops, e.dns.Stop)
	}
	return err
}

// startAPI starts the API server and installs what `kubectl apply -k config/default` would, but for the Deployment.
func (e *environment) startAPI(ctx context.Context) error {
	log, err := os.Create(filepath.Join(e.dir, "apiserver.log"))
	if err != nil {
		return err
	}
	if e.api, err = apiserver.Start(ctx, apiserver.Options{Log: log}); err != nil {
		return err
	}
	e.stops = append(e.stops, e.api.Stop)
	scheme, err := controllers.Scheme()
	if err != nil {
		return err
	}
	if e.Client, err = client.New(e.api.Config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for _, name := range []string{namespace, operatorNamespace, troubleNamespace, stormNamespace, cutOffNamespace} {
		if err := e.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	if err := e.grant(ctx); err != nil {
		return fmt.Errorf("grant the operator its rights: %w", err)
	}
	return e.provider(ctx, namespace, "bind", bind.Primary, e.dns.Secret)
}

// grant gives the operator exactly the rights of config/rbac, and writes a kubeconfig that has no others.
func (e *environment) grant(ctx context.Context) error {
	for _, file := range []string{"role.yaml", "role_binding.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", file))
		if err != nil {
			return err
		}
		if err := e.apply(ctx, strings.ReplaceAll(string(text), "namespace: system", "namespace: "+operatorNamespace)); err != nil {
			return err
		}
	}
	config, err := clientcmd.Load(e.api.Kubeconfig)
	if err != nil {
		return err
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + operatorNamespace + ":maildomain-operator"
		user.ImpersonateGroups = []string{"system:serviceaccounts", "system:serviceaccounts:" + operatorNamespace, "system:authenticated"}
	}
	e.kubeconfig = filepath.Join(e.dir, "kubeconfig")
	return clientcmd.WriteToFile(*config, e.kubeconfig)
}

// startManager starts the operator and returns when it is ready. It is also how a killed one comes back.
func (e *environment) startManager(ctx context.Context) (err error) {
	first := e.manager == nil
	if e.manager, err = e.launchManager(); err != nil {
		return err
	}
	if first {
		e.stops = append(e.stops, func() error { return e.manager.Stop() })
	}
	return e.manager.Await(ctx, func(ctx context.Context) error { return healthy(ctx, "http://127.0.0.1:8081/readyz") })
}

func (e *environment) launchManager() (*process.Process, error) {
	return process.Start(e.dir, "manager", process.Options{Env: []string{"KUBECONFIG=" + e.kubeconfig}}, filepath.Join(e.dir, "bin", "manager"),
		"--owner-id", "e2e", "--operator-namespace", operatorNamespace, "--dns-root", bind.Root.String(),
		"--minimum-wait", "2s", "--revocation-grace", "2s", "--probe-interval", "10s", "--log-level", "debug",
		"--metrics-bind-address", "127.0.0.1:8080", "--health-probe-bind-address", "127.0.0.1:8081")
}

// makeMilter makes the milter's folders, with kubelet's mirror of the signing Secret, and starts it.
func (e *environment) makeMilter(ctx context.Context) error {
	mailer, err := user.Lookup(postfix.User)
	if err != nil {
		return fmt.Errorf("%w: run hack/install-debian-packages.sh, or apt-get install postfix", err)
	}
	group, err := strconv.ParseUint(mailer.Gid, 10, 32)
	if err != nil {
		return err
	}
	e.group = uint32(group)
	run := filepath.Join(e.dir, "milter")
	e.keys, e.socket = filepath.Join(e.dir, "milter", "keys"), filepath.Join(run, "sign.sock")
	for _, folder := range []string{run, e.keys} {
		if err := os.Mkdir(folder, 0o770); err != nil {
			return err
		}
		if err := errors.Join(os.Chown(folder, nobody, int(e.group)), os.Chmod(folder, 0o770)); err != nil {
			return err
		}
	}
	e.startMirror() //nolint:contextcheck // it outlives the start
	e.stops = append(e.stops, func() error { return errors.Join(e.stopMirror(), e.milter.Stop()) })
	return e.startMilter(ctx)
}

// startMilter starts the milter as a user that is neither root nor Postfix, in Postfix' group. It is also how a killed one comes back.
func (e *environment) startMilter(ctx context.Context) (err error) {
	e.milter, err = process.Start(e.dir, "milter", process.Options{UID: nobody, GID: e.group}, filepath.Join(e.dir, "bin", "milter"),
		"--sign", "unix:"+e.socket, "--keys", e.keys, "--http", "127.0.0.1:8085", "--rescan", "1s")
	if err != nil {
		return err
	}
	return e.milter.Await(ctx, func(ctx context.Context) error { return healthy(ctx, "http://127.0.0.1:8085/healthz") })
}

func (e *environment) startMail(ctx context.Context) (err error) {
	if e.sink, err = postfix.StartSink(ctx, e.dir, sink); err != nil {
		return err
	}
	e.stops = append(e.stops, e.sink.Stop)
	e.mta, err = postfix.Start(ctx, e.dir, postfix.Options{
		Listen: smtpd, Sink: sink, Milter: "unix:" + e.socket, Origin: acme, Undeliverable: "nowhere.example",
	})
	if err == nil {
		e.stops = append(e.stops, e.mta.Stop)
	}
	return err
}

// provider writes a DNSProvider and the Secret with its TSIG key. Without zones they are found in the DNS.
func (e *environment) provider(ctx context.Context, namespace, name string, server netip.Addr, tsig string, zones ...string) error {
	zoneList := "[" + strings.Join(zones, ", ") + "]"
	return e.apply(ctx, fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: %[1]s-tsig, namespace: %[2]s}
stringData: {secret: %[3]q}
---
apiVersion: maildomain.dev/v1alpha1
kind: DNSProvider
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  zones: %[6]s
  ttlSeconds: 5
  rfc2136:
    server: %[4]s
    tsig: {keyName: %[5]s, algorithm: hmac-sha256, secretRef: {name: %[1]s-tsig, key: secret}}
`, name, namespace, tsig, server, bind.OperatorKey, zoneList))
}
