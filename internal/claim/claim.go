// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package claim keeps who holds which DNS name: within one installation two objects never publish for the same name.
//
// A claim is a Lease in the operator's namespace, named after the hash of the DNS name, so that creating it is the
// one atomic act that decides between two objects that ask at the same time.
//
// A Lease without a holder remembers which selectors the domain has used: verifiers and their caches know them, whoever
// made them (RFC 6376 §3.1).
package claim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsrecord"
)

const (
	annotationName      = "maildomain.dev/claimed-name"
	annotationKind      = "maildomain.dev/holder-kind"
	annotationNamespace = "maildomain.dev/holder-namespace"
	annotationHolder    = "maildomain.dev/holder-name"
	annotationUsed      = "maildomain.dev/used-selectors"

	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "maildomain-operator"
)

// Holder is the object that holds a claim.
type Holder struct{ Kind, Namespace, Name, UID string }

// Book is the claims of one installation.
type Book struct {
	leases coordinationclient.LeaseInterface
	// holds tells by a live read whether the object still exists and still asks for the name.
	holds func(context.Context, Holder, dnsrecord.Name) (bool, error)

	// taken remembers the claims that this process took or saw its object hold, so that a steady object reads nothing.
	mu    sync.Mutex
	taken map[dnsrecord.Name]Holder
	used  map[dnsrecord.Name][]string
}

// maxUsed is how many used selectors a claim remembers; they carry their date, so that old ones do not come again.
const maxUsed = 64

// NewBook keeps claims as Leases; holds must read live, because a claim that was taken from a living holder
// would let two objects write one name.
func NewBook(leases coordinationclient.LeaseInterface, holds func(context.Context, Holder, dnsrecord.Name) (bool, error)) *Book {
	return &Book{leases: leases, holds: holds, taken: map[dnsrecord.Name]Holder{}, used: map[dnsrecord.Name][]string{}}
}

// Take claims name for holder and returns who holds it now: holder itself, or another object that exists.
func (b *Book) Take(ctx context.Context, name dnsrecord.Name, holder Holder) (Holder, error) {
	if b.remembers(name, holder) {
		return holder, nil
	}
	// Read first: after a restart most claims are held already, by whom they should.
	present, err := b.leases.Get(ctx, leaseName(name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		present, err = b.leases.Create(ctx, lease(name, holder), metav1.CreateOptions{})
	}
	if apierrors.IsAlreadyExists(err) { // of two that create it, one wins
		present, err = b.leases.Get(ctx, leaseName(name), metav1.GetOptions{})
	}
	if err != nil {
		return Holder{}, fmt.Errorf("claim %s: %w", name, err)
	}
	return b.takeOver(ctx, name, holder, present)
}

// takeOver takes an existing claim if its holder is gone. The update carries the resource version that was read:
// of two that find the holder gone, one wins.
func (b *Book) takeOver(ctx context.Context, name dnsrecord.Name, holder Holder, present *coordinationv1.Lease) (Holder, error) {
	by := holderOf(present)
	if by == holder {
		b.remember(name, holder, present)
		return holder, nil
	}
	if held, err := b.holds(ctx, by, name); err != nil || held {
		return by, err
	}
	mine := lease(name, holder)
	mine.ResourceVersion = present.ResourceVersion
	setUsed(mine, usedIn(present))
	if _, err := b.leases.Update(ctx, mine, metav1.UpdateOptions{}); err != nil {
		return Holder{}, fmt.Errorf("claim %s, whose holder is gone: %w", name, err)
	}
	b.remember(name, holder, mine)
	return holder, nil
}

// HeldBy tells who holds the claim of name, if anyone who still exists does.
func (b *Book) HeldBy(ctx context.Context, name dnsrecord.Name) (Holder, bool, error) {
	present, err := b.leases.Get(ctx, leaseName(name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Holder{}, false, nil
	}
	if err != nil {
		return Holder{}, false, fmt.Errorf("read the claim of %s: %w", name, err)
	}
	by := holderOf(present)
	held, err := b.holds(ctx, by, name)
	return by, held, err
}

// Used are the selectors of a domain that its former holders have used, as the claim remembers them.
func (b *Book) Used(name dnsrecord.Name) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used[name]
}

// Release gives the claim up, which remembers these selectors from then on; one that another holds is left alone.
func (b *Book) Release(ctx context.Context, name dnsrecord.Name, holder Holder, used ...string) error {
	b.forget(name)
	present, err := b.leases.Get(ctx, leaseName(name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release the claim of %s: %w", name, err)
	}
	if holderOf(present) != holder {
		return nil
	}
	if used = merge(used, usedIn(present)); len(used) > 0 {
		free := lease(name, Holder{})
		free.ResourceVersion = present.ResourceVersion
		setUsed(free, used)
		if _, err := b.leases.Update(ctx, free, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("release the claim of %s: %w", name, err)
		}
		return nil
	}
	err = b.leases.Delete(ctx, present.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &present.UID, ResourceVersion: &present.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release the claim of %s: %w", name, err)
	}
	return nil
}

func (b *Book) remembers(name dnsrecord.Name, holder Holder) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken[name] == holder
}

func (b *Book) remember(name dnsrecord.Name, holder Holder, l *coordinationv1.Lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken[name], b.used[name] = holder, usedIn(l)
}

func (b *Book) forget(name dnsrecord.Name) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.taken, name)
	delete(b.used, name)
}

// merge joins two lists without doubles, the first one first, up to maxUsed.
func merge(a, b []string) []string {
	var all []string
	for _, s := range slices.Concat(a, b) {
		if s != "" && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all[:min(len(all), maxUsed)]
}

func usedIn(l *coordinationv1.Lease) []string {
	return merge(strings.Split(l.Annotations[annotationUsed], ","), nil)
}

func setUsed(l *coordinationv1.Lease, used []string) {
	if len(used) > 0 {
		l.Annotations[annotationUsed] = strings.Join(used, ",")
	}
}

func leaseName(name dnsrecord.Name) string {
	sum := sha256.Sum256([]byte(name))
	return "maildomain-claim-" + hex.EncodeToString(sum[:16])
}

func lease(name dnsrecord.Name, h Holder) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name:   leaseName(name),
			Labels: map[string]string{labelManagedBy: managedBy},
			Annotations: map[string]string{
				annotationName: string(name), annotationKind: h.Kind, annotationNamespace: h.Namespace, annotationHolder: h.Name,
			},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &h.UID},
	}
}

func holderOf(l *coordinationv1.Lease) Holder {
	h := Holder{Kind: l.Annotations[annotationKind], Namespace: l.Annotations[annotationNamespace], Name: l.Annotations[annotationHolder]}
	if l.Spec.HolderIdentity != nil {
		h.UID = *l.Spec.HolderIdentity
	}
	return h
}
