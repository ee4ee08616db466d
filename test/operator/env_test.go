// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package operator_test runs the controllers against a real API server and name servers that speak RFC 2136.
package operator_test

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/controllers"
	"github.com/maildomain-operator/maildomain-operator/controllers/dkimkey"
	"github.com/maildomain-operator/maildomain-operator/controllers/dnsprovider"
	"github.com/maildomain-operator/maildomain-operator/internal/dnscheck"
	"github.com/maildomain-operator/maildomain-operator/internal/servertime"
	"github.com/maildomain-operator/maildomain-operator/test/env/apiserver"
	"github.com/maildomain-operator/maildomain-operator/test/env/nameserver"
)

// shared runs the garbage collector too: deletion is not what it is in a cluster without it.
var shared = apiserver.Shared{Options: apiserver.Options{ControllerManager: true}}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // each bench has a logger of its own
	flag.Parse()
	_ = flag.Set("test.parallel", "24") // benches wait more than they compute
	os.Exit(shared.Main(m))
}

// tsigSecret is the TSIG key of the test's name servers.
var tsigSecret = base64.StdEncoding.EncodeToString([]byte("a secret of 32 octets for tests!"))

// foreign is what somebody else keeps in every zone of the tests.
const foreign = "@ TXT \"site-verification=abc; \\\"quoted\\\"\"\n@ MX 10 mail\nmail A 192.0.2.25\nwww A 192.0.2.80\n"

const patience = 4 * time.Minute

// bench is one operator with its world: an API server, a namespace of its own, name servers and a manager.
type bench struct {
	*testing.T
	client.Client
	namespace string
	world     *nameserver.Running
	calls     *counter
	stop      func()
	settings  controllers.Settings
	config    *rest.Config // of the API server
	others    []string     // further namespaces that the operator watches
}

// newBench starts an operator for zones, which are all served by 127.0.0.3 (primary) and 127.0.0.4.
func newBench(t *testing.T, zones ...string) *bench {
	t.Helper()
	return newBenchIn(t, startWorld(t, "op", zones...))
}

// newBenchIn starts an operator in a world of a test's own.
func newBenchIn(t *testing.T, running *nameserver.Running) *bench {
	t.Helper()
	server := shared.Get(t)
	scheme, err := controllers.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(server.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, Client: c, world: running, namespace: makeNamespace(t, c), config: server.Config}
	operator := makeNamespace(t, c)
	b.settings = settingsFor(running, "test-"+b.namespace, operator)
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// startWorld serves the zones to whoever updates them with the TSIG key of this name.
func startWorld(t *testing.T, key string, zones ...string) *nameserver.Running {
	t.Helper()
	world := nameserver.World{Keys: []nameserver.Key{{Name: key, Secret: tsigSecret}}}
	for _, z := range zones {
		world.Sites = append(world.Sites, nameserver.Site{
			Zone: z, Addrs: []string{"127.0.0.3", "127.0.0.4"}, Records: foreign, TTL: 2, Minimum: 1,
		})
	}
	running, err := nameserver.StartWorld(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running.Close)
	return running
}

// settingsFor are those of an operator that waits for seconds where it would for minutes.
func settingsFor(world *nameserver.Running, owner, operatorNamespace string) controllers.Settings {
	now := &timeline{}
	return controllers.Settings{
		OwnerID: owner, ClusterProviders: true, Clock: now, Retry: time.Second, Hearing: 20 * time.Second, ThirdPartyInterval: 2 * time.Second,
		Keys:      dkimkey.Settings{MinimumWait: time.Second, RevocationGrace: time.Second},
		Providers: dnsprovider.Settings{OperatorNamespace: operatorNamespace, WireTime: clock.RealClock{}.Now},
		Probing: dnscheck.Options{
			Now: now.Now, Roots: world.Roots(), Port: world.Port(), MinimumWait: time.Second,
			Interval: 2 * time.Second, RetryMin: 100 * time.Millisecond, RetryMax: time.Second, Rate: 2000, ServerRate: 1000,
		},
	}
}

// start runs a manager until stop.
func (b *bench) start() {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.calls = &counter{}
	watched := rest.CopyConfig(b.config)
	if now, ok := b.settings.Clock.(*timeline); ok {
		watched.Wrap(now.wrap)
	}
	b.settings.ServerTime = servertime.New(b.settings.Clock.Now)
	watched.Wrap(b.settings.ServerTime.Wrap)
	watched.Wrap(b.calls.wrap)
	watched.QPS, watched.Burst = 500, 1000
	scheme, err := controllers.Scheme()
	if err != nil {
		b.Fatal(err)
	}
	caching, err := controllers.Cache(append([]string{b.namespace, b.settings.Providers.OperatorNamespace}, b.others...))
	if err != nil {
		b.Fatal(err)
	}
	caching.ByObject[&v1alpha1.ClusterDNSProvider{}] = cache.ByObject{Label: labels.SelectorFromSet(b.own())}
	mgr, err := ctrl.NewManager(watched, ctrl.Options{
		Scheme: scheme, Cache: caching, Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)},
		Logger:     b.logger(),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := controllers.Setup(ctx, mgr, b.settings); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.Error("the manager ended with", err)
		}
		b.stop = func() {}
	}
}

// own marks the objects of the bench that are in no namespace: benches run side by side, and no operator shall see those of another.
func (b *bench) own() map[string]string { return map[string]string{"test/bench": b.namespace} }

// logger writes into the test's log while the test lasts: events may be on their way when it has ended.
func (b *bench) logger() logr.Logger {
	var mu sync.Mutex
	ended := false
	b.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
	})
	return funcr.New(func(_, text string) {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			b.Log(text)
		}
	}, funcr.Options{})
}

func makeNamespace(t *testing.T, c client.Client) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := c.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// provider makes a DNSProvider for the test's primary, and the Secret with the TSIG key.
func (b *bench) provider(name string, change ...func(*v1alpha1.DNSProvider)) *v1alpha1.DNSProvider {
	b.Helper()
	b.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.namespace},
		StringData: map[string]string{"tsig": tsigSecret},
	})
	p := &v1alpha1.DNSProvider{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.namespace},
		Spec: v1alpha1.DNSProviderSpec{TTLSeconds: 60, RFC2136: &v1alpha1.RFC2136{
			Server: fmt.Sprintf("127.0.0.3:%d", b.world.Port()),
			TSIG:   &v1alpha1.TSIG{KeyName: "op", SecretRef: v1alpha1.SecretKeyRef{Name: name, Key: "tsig"}},
		}, RateLimit: &v1alpha1.RateLimit{RequestsPerSecond: 500, Burst: 1000}},
	}
	for _, c := range change {
		c(p)
	}
	b.create(p)
	return p
}

// domain makes a MailDomain with one RSA key, SPF and DMARC.
func (b *bench) domain(domain string, change ...func(*v1alpha1.MailDomain)) *v1alpha1.MailDomain {
	b.Helper()
	d := &v1alpha1.MailDomain{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(domain, ".", "-"), Namespace: b.namespace},
		Spec: v1alpha1.MailDomainSpec{
			Domain: domain, ProviderRef: v1alpha1.ProviderRef{Name: "dns"}, DKIM: &v1alpha1.DKIM{},
			SPF:   &v1alpha1.SPF{Mechanisms: []v1alpha1.Mechanism{"mx"}},
			DMARC: &v1alpha1.DMARC{Policy: v1alpha1.DMARCNone, AggregateReportsTo: []v1alpha1.ReportAddress{"mailto:dmarc@" + domain}},
		},
	}
	for _, c := range change {
		c(d)
	}
	b.create(d)
	return d
}

func (b *bench) create(o client.Object) {
	b.Helper()
	if o.GetNamespace() == "" {
		o.SetLabels(b.own())
		b.Cleanup(func() { _ = b.Delete(context.WithoutCancel(b.Context()), o) })
	}
	if err := b.Create(b.Context(), o); err != nil {
		b.Fatalf("create %T %s: %v", o, o.GetName(), err)
	}
}

// await reads the object again and again until it is as wanted.
func (b *bench) await(o client.Object, what string, is func() bool) {
	b.Helper()
	deadline := time.After(patience)
	for {
		if err := b.Get(b.Context(), client.ObjectKeyFromObject(o), o); err == nil && is() {
			return
		}
		select {
		case <-deadline:
			b.Fatalf("%T %s never came to %s:\n%s%s", o, o.GetName(), what, describe(o), b.neighbours())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (b *bench) awaitCondition(o client.Object, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	b.Helper()
	var found *metav1.Condition
	b.await(o, fmt.Sprintf("%s=%s (%s)", kind, status, reason), func() bool {
		found = meta.FindStatusCondition(conditionsOf(o), kind)
		return found != nil && found.Status == status && found.ObservedGeneration == o.GetGeneration() && (reason == "" || found.Reason == reason)
	})
	return *found
}

func (b *bench) awaitReady(o client.Object) {
	b.Helper()
	b.awaitCondition(o, v1alpha1.ConditionReady, metav1.ConditionTrue, "")
}

// awaitGone waits until the object is deleted.
func (b *bench) awaitGone(o client.Object) {
	b.Helper()
	deadline := time.After(patience)
	for {
		if err := b.Get(b.Context(), client.ObjectKeyFromObject(o), o); client.IgnoreNotFound(err) == nil && err != nil {
			return
		}
		select {
		case <-deadline:
			b.Fatalf("%T %s is never gone:\n%s", o, o.GetName(), describe(o))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func conditionsOf(o client.Object) []metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.MailDomain:
		return o.Status.Conditions
	case *v1alpha1.DKIMKey:
		return o.Status.Conditions
	case *v1alpha1.DNSProvider:
		return o.Status.Conditions
	case *v1alpha1.ClusterDNSProvider:
		return o.Status.Conditions
	}
	return nil
}

// neighbours tells what every MailDomain and key of the namespace waits for: what stops one object may stand at another.
func (b *bench) neighbours() string {
	var text strings.Builder
	var domains v1alpha1.MailDomainList
	var keys v1alpha1.DKIMKeyList
	if err := errors.Join(b.List(b.Context(), &domains, client.InNamespace(b.namespace)), b.List(b.Context(), &keys, client.InNamespace(b.namespace))); err != nil {
		return err.Error()
	}
	for _, d := range domains.Items {
		fmt.Fprintf(&text, "MailDomain %s waits for %q:\n%s", d.Name, waitsFor(&d), describe(&d))
	}
	for _, k := range keys.Items {
		fmt.Fprintf(&text, "DKIMKey %s is %s, to %q, waits for %q\n", k.Name, k.Status.Phase, k.Spec.Intent, k.Status.WaitingFor)
	}
	return text.String()
}

func waitsFor(d *v1alpha1.MailDomain) string {
	if d.Status.Rotation == nil {
		return ""
	}
	return d.Status.Rotation.WaitingFor
}

func describe(o client.Object) string {
	var text strings.Builder
	for _, c := range conditionsOf(o) {
		fmt.Fprintf(&text, "  %s=%s %s: %s\n", c.Type, c.Status, c.Reason, c.Message)
	}
	if d, ok := o.(*v1alpha1.MailDomain); ok {
		for _, r := range d.Status.Records {
			fmt.Fprintf(&text, "  record %s %s %s %s\n", r.Name, r.Purpose, r.State, r.Message)
		}
		for _, k := range d.Status.Keys {
			fmt.Fprintf(&text, "  key %s %s\n", k.Selector, k.Phase)
		}
	}
	return text.String()
}

// signingSecret reads what the signers of a domain mount.
func (b *bench) signingSecret(d *v1alpha1.MailDomain) *corev1.Secret {
	b.Helper()
	var s corev1.Secret
	if err := b.Get(b.Context(), client.ObjectKey{Namespace: d.Namespace, Name: d.SigningSecret()}, &s); err != nil {
		b.Fatal(err)
	}
	return &s
}

// events lists the reasons of the events about an object.
func (b *bench) events(o client.Object) map[string]string {
	b.Helper()
	var list corev1.EventList
	if err := b.List(b.Context(), &list, client.InNamespace(o.GetNamespace())); err != nil {
		b.Fatal(err)
	}
	reasons := map[string]string{}
	for _, e := range list.Items {
		if e.InvolvedObject.Name == o.GetName() {
			reasons[e.Reason] = e.Message
		}
	}
	return reasons
}

// counter counts the API calls that a manager makes, in its transport.
type counter struct {
	mu     sync.Mutex
	writes []string
}

func (c *counter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases/") {
			c.mu.Lock()
			c.writes = append(c.writes, r.Method+" "+r.URL.Path)
			c.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// txt lists what the primary has at a name.
func (b *bench) txt(name string) []string {
	b.Helper()
	var zone *nameserver.Zone
	for at := name; zone == nil && at != ""; {
		zone = b.world.Zone(at)
		_, at, _ = strings.Cut(at, ".")
	}
	if zone == nil {
		b.Fatalf("no zone holds %s", name)
	}
	return zone.TXT(name + ".")
}
