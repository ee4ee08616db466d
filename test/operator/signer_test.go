// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package operator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/keydir"
)

// signerPod is a pod that signs: it answers /keys as a milter does.
type signerPod struct{ report atomic.Pointer[keydir.Report] }

func (p *signerPod) holds(domain string, selectors ...string) {
	d := keydir.ReportDomain{Domain: domain, State: "signing"}
	for _, s := range selectors {
		d.Keys = append(d.Keys, keydir.ReportKey{Selector: s})
	}
	p.report.Store(&keydir.Report{Domains: []keydir.ReportDomain{d}})
}

// signerPod makes a pod with the label app=mta. No kubelet runs it: its status says where the test serves.
func (b *bench) signerPod(name string) *signerPod {
	b.Helper()
	p := &signerPod{}
	p.report.Store(&keydir.Report{Domains: []keydir.ReportDomain{}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(p.report.Load())
	}))
	b.Cleanup(server.Close)
	addr := netip.MustParseAddrPort(server.Listener.Addr().String())
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: b.namespace, Labels: map[string]string{"app": "mta"},
			Annotations: map[string]string{v1alpha1.AnnotationKeysPort: strconv.Itoa(int(addr.Port()))},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "milter", Image: "milter"}}},
	}
	b.create(pod)
	pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, addr.Addr().String()
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	if err := b.Status().Update(b.Context(), pod); err != nil {
		b.Fatal(err)
	}
	return p
}
