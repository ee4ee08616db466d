// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dkimkey

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/maildomain-operator/maildomain-operator/api/v1alpha1"
	"github.com/maildomain-operator/maildomain-operator/internal/signers"
)

// maxSigners is how many pods are asked; a selector that selects more is a mistake, and no reason to flood a namespace.
const maxSigners = 200

// askSigners names the pods that still hold the key or do not tell. Pods are read live: a cache of every pod of the cluster
// would cost more than a few questions after each rotation.
func (r *Reconciler) askSigners(ctx context.Context, seen observation) ([]string, error) {
	selector, err := metav1.LabelSelectorAsSelector(seen.holder.Spec.DKIM.Signers.PodSelector.AsMeta())
	if err != nil {
		return []string{fmt.Sprintf("nobody can say which pods sign: spec.dkim.signers.podSelector: %s", err)}, nil
	}
	var pods corev1.PodList
	err = r.Live.List(ctx, &pods, client.InNamespace(seen.key.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.Limit(maxSigners))
	if err != nil {
		return nil, fmt.Errorf("list the pods that sign: %w", err)
	}
	if pods.Continue != "" {
		return []string{fmt.Sprintf("more than %d pods match spec.dkim.signers.podSelector; make it select those alone that sign", maxSigners)}, nil
	}
	var all []signers.Signer
	for i := range pods.Items {
		if s, signs := signerOf(&pods.Items[i]); signs {
			all = append(all, s)
		}
	}
	return r.Signers.Holding(ctx, all, seen.domain, seen.key.Spec.Selector), nil
}

// signerOf is where a pod serves /keys; false for one that has ended, or was never started.
func signerOf(pod *corev1.Pod) (signers.Signer, bool) {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	if ended || err != nil {
		return signers.Signer{}, false
	}
	return signers.Signer{Name: pod.Name, Addr: netip.AddrPortFrom(ip, keysPort(pod))}, true
}

// keysPort is where the milter answers: as the pod's annotation says, else the container port of that name, else the
// milter's own default.
func keysPort(pod *corev1.Pod) uint16 {
	if port, err := strconv.ParseUint(pod.Annotations[v1alpha1.AnnotationKeysPort], 10, 16); err == nil {
		return uint16(port)
	}
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		for _, p := range c.Ports {
			if p.Name == v1alpha1.KeysPortName {
				return uint16(p.ContainerPort) //nolint:gosec // the API server takes 1 to 65535
			}
		}
	}
	return v1alpha1.DefaultKeysPort
}
