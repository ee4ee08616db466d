// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"strings"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/maildomain-operator/maildomain-operator/internal/dnsprovider"
)

// News spreads what the queue, the prober and the accounts have to tell to the controllers: each of them has one
// wake-up channel, and more than one controller listens.
type News struct {
	mu        sync.Mutex
	listeners []chan event.TypedGenericEvent[dnsprovider.Owner]
}

// Listen returns a source that yields the requests which an object's news means to a controller.
func (n *News) Listen(requests func(context.Context, dnsprovider.Owner) []reconcile.Request) source.Source {
	listener := make(chan event.TypedGenericEvent[dnsprovider.Owner])
	n.mu.Lock()
	n.listeners = append(n.listeners, listener)
	n.mu.Unlock()
	return source.TypedChannel(listener, handler.TypedFuncs[dnsprovider.Owner, reconcile.Request]{
		GenericFunc: func(ctx context.Context, e event.TypedGenericEvent[dnsprovider.Owner], q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			for _, r := range requests(ctx, e.Object) {
				q.Add(r)
			}
		},
	})
}

// Spread passes news on until ctx ends: owners of the queue, watchers of the prober, and providers whose credentials
// have to be read again.
func (n *News) Spread(ctx context.Context, queue <-chan dnsprovider.Owner, prober <-chan string, accounts <-chan dnsprovider.ProviderKey) error {
	for {
		var about dnsprovider.Owner
		select {
		case <-ctx.Done():
			return nil
		case about = <-queue:
		case watcher := <-prober:
			n.TellWatcher(ctx, watcher)
			continue
		case key := <-accounts:
			about = dnsprovider.Owner{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}
		}
		n.Tell(ctx, about)
	}
}

// TellWatcher passes on what concerns a watcher of the prober, which is called kind/namespace/name.
func (n *News) TellWatcher(ctx context.Context, watcher string) {
	if part := strings.SplitN(watcher, "/", 3); len(part) == 3 {
		n.Tell(ctx, dnsprovider.Owner{Kind: part[0], Namespace: part[1], Name: part[2]})
	}
}

// Tell passes one piece of news on.
func (n *News) Tell(ctx context.Context, about dnsprovider.Owner) {
	n.mu.Lock()
	listeners := n.listeners
	n.mu.Unlock()
	for _, l := range listeners {
		select {
		case l <- event.TypedGenericEvent[dnsprovider.Owner]{Object: about}:
		case <-ctx.Done():
			return
		}
	}
}
