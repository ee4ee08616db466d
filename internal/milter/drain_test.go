// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/maildomain-operator/maildomain-operator/test/env/miltertest"
)

// TestShutdownUnderLoadAnswersEveryMessageThatItSigned: clients send one message after the other, over connections that
// they open again, until nobody takes them. What was taken was signed, and what was signed was answered.
func TestShutdownUnderLoadAnswersEveryMessageThatItSigned(t *testing.T) {
	r := start(t, files(t, domain(t, "example.org", key(t, "s", ed1))))
	const clients, enough = 8, 200
	var answered atomic.Int64
	loaded := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for {
				c, err := miltertest.Dial(t.Context(), r.socket, miltertest.Options{})
				if err != nil {
					return
				}
				for {
					reply, out, err := c.Send(miltertest.Message{Raw: from("a@example.org")})
					if err != nil {
						break // The connection ended before the message was answered: it stays with the client.
					}
					if !reply.Accepted {
						t.Errorf("%+v", reply)
					}
					mustVerify(t, out, 1, map[string]int{"s": ed1})
					if answered.Add(1) == enough {
						close(loaded)
					}
				}
				_ = c.Close()
			}
		})
	}
	<-loaded
	if err := r.Shutdown(context.Background()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	wg.Wait()
	if signed := r.count(t, "messages_total", "sign", "ours"); signed != float64(answered.Load()) {
		t.Errorf("%v messages were signed, and %d answered", signed, answered.Load())
	}
}
