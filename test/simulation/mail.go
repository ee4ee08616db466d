// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package simulation

import (
	"fmt"
	"slices"
	"time"

	"github.com/maildomain-operator/maildomain-operator/internal/dkim"
)

// pod is an MTA with the milter beside it, and what its volume of the signing Secret shows.
type pod struct {
	shows   signingSecret
	changes time.Time // when the last change that is planned will show
}

// mount lets every pod see a new signing Secret after a lag of its own. Right before and right after, a message is sent:
// the last that the former keys sign is held by an MTA for as long as any is, and the first that the new ones sign
// reaches every receiver at once. A wait that is too short anywhere fails one of these; what is sent in between cannot
// fail if they do not.
func (w *world) mount(before, after signingSecret) {
	for i := range w.pods {
		at := w.now.Add(time.Second + time.Duration(w.rng.Int64N(int64(w.profile.mountLag))))
		if last := w.pods[i].changes; !at.After(last) {
			at = last.Add(time.Second)
		}
		w.pods[i].changes = at
		hung := at.Sub(w.now) > maxMountLag
		w.at(at.Add(-time.Second), func() { w.send(i, maxHold) })
		w.at(at, func() {
			w.pods[i].shows = after
			if hung { // it finds what the Secret holds by now
				w.pods[i].shows = w.cluster.signing.live
			}
			for r := range w.resolvers {
				w.sendTo(i, r, 0)
			}
			for _, selector := range slices.Concat(sortedKeys(before.keys), sortedKeys(after.keys)) {
				w.keyAlarm(selector).in(0) // who asks pods hears of it
			}
		})
	}
}

// heldBy is a pod that still shows the key, where pods are asked.
func (w *world) heldBy(k dkimKey) string {
	if !w.profile.watched {
		return ""
	}
	i := slices.IndexFunc(w.pods, func(p pod) bool { return p.shows.keys[k.selector] == k.pair && k.pair != absent })
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("pod mta-%d", i)
}

// sendNowAndThen sends a message just so, and has it delivered after a while that is mostly short.
func (w *world) sendNowAndThen() {
	w.in(w.profile.sent/2+time.Duration(w.rng.Int64N(int64(w.profile.sent))), w.sendNowAndThen)
	w.send(w.rng.IntN(len(w.pods)), time.Duration(w.rng.Int64N(int64(pick(w.rng, time.Minute, time.Minute, time.Hour, maxHold)))))
}

func (w *world) send(pod int, hold time.Duration) { w.sendTo(pod, w.rng.IntN(len(w.resolvers)), hold) }

// sendTo signs a message with what the pod shows, and delivers it later. Mail that cannot be signed and must be is held.
func (w *world) sendTo(pod, receiver int, hold time.Duration) {
	shows := w.pods[pod].shows
	if !shows.required {
		return // before the first Ready nobody sends
	}
	if len(shows.keys) == 0 {
		if w.cluster.domain.keys != nil {
			w.report.Held++
			w.in(time.Hour, func() { w.sendTo(pod, receiver, hold) })
		}
		return
	}
	w.report.Messages++
	rsa := false
	for _, id := range shows.keys {
		rsa = rsa || w.truth.algorithm[id] == dkim.RSA
	}
	if !rsa {
		w.report.Unsigned++
		w.violated(3, "a message leaves without an RSA signature")
	}
	signed := w.now
	w.in(hold, func() { w.deliver(receiver, shows, signed) })
}

// deliver has the receiver verify every signature.
func (w *world) deliver(receiver int, message signingSecret, signed time.Time) {
	for _, selector := range sortedKeys(message.keys) {
		id := message.keys[selector]
		w.report.Signatures++
		if found := w.resolvers[receiver].lookup(w, selector); found != id {
			w.fails(selector, id, found, signed)
		}
	}
}

// fails counts a signature that does not verify: a revocation's apart, every other one as a violation.
func (w *world) fails(selector string, id, found keyID, signed time.Time) {
	left, gone := w.truth.left[id]
	if at, ok := w.truth.revoked[id]; ok {
		w.report.RevokedInFlight++
		if gone && signed.After(left.Add(maxMountLag+time.Second)) {
			w.violated(2, "%s was revoked at %s and signed at %s", selector, brief(at), brief(signed))
		}
		return
	}
	w.report.Unverifiable++
	switch {
	case found > 0:
		w.violated(4, "%s answers key %d, and a message of %s was signed with key %d", selector, found, brief(signed), id)
	case gone && w.truth.withdrawn[id]:
		w.violated(2, "%s, a message signed at %s arrives when its record is withdrawn; the key left at %s", selector, brief(signed), brief(left))
	default:
		w.violated(1, "%s, a message signed at %s arrives where its record is not known", selector, brief(signed))
	}
}
