// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
)

// caught answers for a message that a fault of the program ended.
func (c *session) caught(ctx context.Context, p packet, fault any) error {
	s := c.server
	s.cfg.Metrics.panics.Inc()
	s.cfg.Log.Error("caught a fault of the program", "command", string(p.code), "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
	if c.message == nil {
		return errPanic
	}
	if p.more {
		c.failed = true
		return nil
	}
	if p.code != cmdEnd {
		// An answer that the MTA does not wait for would be taken for that to the next end: the MTA fails closed by itself.
		if _, answered := noReply[p.code]; !answered {
			return errPanic
		}
		c.failed = true
		return c.goOn(p.code)
	}
	v := failSafely(ctx, c.message, c.queueID())
	c.endMessage()
	return c.answer(v)
}

// failSafely is fail, even where that fails itself: the zero verdict refuses the message.
func failSafely(ctx context.Context, m transaction, queueID string) (v verdict) {
	defer func() {
		if recover() != nil {
			v = verdict{}
		}
	}()
	return m.fail(ctx, queueID)
}

// report says why a connection ended, if there is something to say.
func (c *session) report(err error) {
	kind := "read"
	switch {
	case c.holder.wasEvicted():
		kind, err = "memory", errNoMemory
	case c.wasDisplaced():
		kind, err = "silent", errDisplaced
	case errors.Is(err, errDone), errors.Is(err, net.ErrClosed), c.isDraining():
		return
	case errors.Is(err, io.EOF) && c.message == nil:
		return
	case errors.Is(err, errMalformed):
		kind = "malformed"
	case errors.Is(err, errOldVersion), errors.Is(err, errNotAllowed):
		kind = "negotiation"
	case errors.Is(err, os.ErrDeadlineExceeded):
		kind = "timeout"
	case errors.Is(err, errPanic):
		kind = "internal"
	}
	c.server.cfg.Metrics.protocol.WithLabelValues(kind).Inc()
	c.server.cfg.Log.Warn("connection ended early", "kind", kind, "error", err.Error())
}

func (c *session) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}
