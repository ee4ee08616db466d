// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package claim keeps who holds which DNS name: within one installation two objects never publish for the same name.
//
// A claim is a Lease in the operator's namespace, named after the hash of the DNS name, so that creating it is the
// one atomic act that decides between two objects that ask at the same time.
//
// Whoever comes first holds the name, for anybody may say that a domain is theirs. A holder with nothing else to show
// makes way for one to whom who runs the operator has granted the name:
//
//	holds it       asks for it    has it then
//	Asserted       Asserted       who held it
//	Asserted       Granted        who asks
//	Verified       Granted        who held it: the world has seen its key there
//	Granted        anybody        who held it
//
// So a name changes hands once at most between two that live, and never to and fro.
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
	annotationStanding  = "maildomain.dev/standing"

	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "maildomain-operator"
)

// Holder is the object that holds a claim.
type Holder struct{ Kind, Namespace, Name, UID string }

// Standing is what a holder has to show for its claim. It stays with the claim: who once was seen to publish is not put
// out by a day on which the DNS cannot be asked, nor by a grant that is taken back.
type Standing string

const (
	// Asserted is a word that anybody can say: a provider of one's own, and nothing seen of it yet.
	Asserted Standing = ""
	// Granted is the word of who runs the operator: a grant of a ClusterDNSProvider.
	Granted Standing = "granted"
	// Verified is a key that was made here and stands in the public DNS: who cannot write there could not have put it there.
	Verified Standing = "verified"
)

func (s Standing) firm() bool { return s == Granted || s == Verified }

// Book is the claims of one installation.
type Book struct {
	leases coordinationclient.LeaseInterface
	// holds tells by a live read whether the object still exists and still asks for the name.
	holds func(context.Context, Holder, dnsrecord.Name) (bool, error)

	// taken remembers the claims that this process took or saw its object hold, so that a steady object reads nothing.
	mu    sync.Mutex
	taken map[dnsrecord.Name]taken
	used  map[dnsrecord.Name][]string
}

// taken is a claim as it was last read or written.
type taken struct {
	by       Holder
	standing Standing
}

// maxUsed is how many used selectors a claim remembers; they carry their date, so that old ones do not come again.
const maxUsed = 64

// NewBook keeps claims as Leases; holds must read live, because a claim that was taken from a living holder
// would let two objects write one name.
func NewBook(leases coordinationclient.LeaseInterface, holds func(context.Context, Holder, dnsrecord.Name) (bool, error)) *Book {
	return &Book{leases: leases, holds: holds, taken: map[dnsrecord.Name]taken{}, used: map[dnsrecord.Name][]string{}}
}

// Take claims name for holder and returns who holds it now: holder itself, or another object that exists.
func (b *Book) Take(ctx context.Context, name dnsrecord.Name, holder Holder, standing Standing) (Holder, error) {
	if b.remembers(name, holder, standing) {
		return holder, nil
	}
	// Read first: after a restart most claims are held already, by whom they should.
	present, err := b.leases.Get(ctx, leaseName(name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		present, err = b.leases.Create(ctx, lease(name, holder, standing), metav1.CreateOptions{})
	}
	if apierrors.IsAlreadyExists(err) { // of two that create it, one wins
		present, err = b.leases.Get(ctx, leaseName(name), metav1.GetOptions{})
	}
	if err != nil {
		return Holder{}, fmt.Errorf("claim %s: %w", name, err)
	}
	return b.takeOver(ctx, name, holder, standing, present)
}

// takeOver takes an existing claim if its holder is gone or makes way, and notes a standing that it has not had yet. The
// update carries the resource version that was read: of two that find the holder gone, one wins.
func (b *Book) takeOver(ctx context.Context, name dnsrecord.Name, holder Holder, standing Standing, present *coordinationv1.Lease) (Holder, error) {
	by, has := holderOf(present), standingOf(present)
	switch {
	case by == holder && (has.firm() || !standing.firm()):
		b.remember(name, present)
		return holder, nil
	case by != holder && (has.firm() || !standing.firm()):
		if held, err := b.holds(ctx, by, name); err != nil || held {
			return by, err
		}
	}
	mine := lease(name, holder, standing)
	mine.ResourceVersion = present.ResourceVersion
	setUsed(mine, usedIn(present))
	if _, err := b.leases.Update(ctx, mine, metav1.UpdateOptions{}); err != nil {
		return Holder{}, fmt.Errorf("claim %s, held by nobody else with a better right: %w", name, err)
	}
	b.remember(name, mine)
	return holder, nil
}

// HeldBy tells who holds the claim of name, if anyone who still exists does.
func (b *Book) HeldBy(ctx context.Context, name dnsrecord.Name) (Holder, bool, error) {
	by, _, held, err := b.read(ctx, name)
	return by, held, err
}

// Bars tells who of another namespace holds name and makes no way for somebody of this standing.
func (b *Book) Bars(ctx context.Context, name dnsrecord.Name, namespace string, standing Standing) (Holder, bool, error) {
	by, has, held, err := b.read(ctx, name)
	return by, held && by.Namespace != namespace && (has.firm() || !standing.firm()), err
}

func (b *Book) read(ctx context.Context, name dnsrecord.Name) (by Holder, has Standing, held bool, err error) {
	present, err := b.leases.Get(ctx, leaseName(name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Holder{}, Asserted, false, nil
	}
	if err != nil {
		return Holder{}, Asserted, false, fmt.Errorf("read the claim of %s: %w", name, err)
	}
	by = holderOf(present)
	held, err = b.holds(ctx, by, name)
	return by, standingOf(present), held, err
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
		free := lease(name, Holder{}, Asserted)
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

func (b *Book) remembers(name dnsrecord.Name, holder Holder, standing Standing) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.taken[name]
	return ok && t.by == holder && (t.standing.firm() || !standing.firm())
}

func (b *Book) remember(name dnsrecord.Name, l *coordinationv1.Lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken[name], b.used[name] = taken{holderOf(l), standingOf(l)}, usedIn(l)
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

func lease(name dnsrecord.Name, h Holder, standing Standing) *coordinationv1.Lease {
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name:   leaseName(name),
			Labels: map[string]string{labelManagedBy: managedBy},
			Annotations: map[string]string{
				annotationName: string(name), annotationKind: h.Kind, annotationNamespace: h.Namespace, annotationHolder: h.Name,
			},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &h.UID},
	}
	if standing.firm() {
		l.Annotations[annotationStanding] = string(standing)
	}
	return l
}

func standingOf(l *coordinationv1.Lease) Standing { return Standing(l.Annotations[annotationStanding]) }

func holderOf(l *coordinationv1.Lease) Holder {
	h := Holder{Kind: l.Annotations[annotationKind], Namespace: l.Annotations[annotationNamespace], Name: l.Annotations[annotationHolder]}
	if l.Spec.HolderIdentity != nil {
		h.UID = *l.Spec.HolderIdentity
	}
	return h
}
