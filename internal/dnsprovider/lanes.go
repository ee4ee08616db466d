// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnsprovider

import (
	"context"
	"sync"
)

// lanes let so many calls run at the same time for the providers of each namespace: a tenant whose servers never answer,
// or whose rate is low, holds up nobody else.
type lanes struct {
	width int

	mu    sync.Mutex
	lanes map[string]*lane
}

// lane is there while somebody is in it or waits for it.
type lane struct {
	places chan struct{}
	users  int
}

func newLanes(width int) *lanes { return &lanes{width: width, lanes: map[string]*lane{}} }

// enter waits for a place in a namespace's lane. leave must be called if there is no error.
func (l *lanes) enter(ctx context.Context, namespace string) (leave func(), err error) {
	mine := l.join(namespace)
	select {
	case mine.places <- struct{}{}:
		return func() { <-mine.places; l.part(namespace, mine) }, nil
	case <-ctx.Done():
		l.part(namespace, mine)
		return nil, newError(Unreachable, ctx.Err(), "cancelled while waiting for other calls")
	}
}

func (l *lanes) join(namespace string) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine, ok := l.lanes[namespace]
	if !ok {
		mine = &lane{places: make(chan struct{}, l.width)}
		l.lanes[namespace] = mine
	}
	mine.users++
	return mine
}

func (l *lanes) part(namespace string, mine *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if mine.users--; mine.users == 0 {
		delete(l.lanes, namespace)
	}
}
