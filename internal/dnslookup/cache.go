// Copyright The maildomain-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dnslookup

import (
	"container/list"
	"sync"
	"time"
)

// cache remembers answers until their time is over. When it is full, what was used longest ago goes.
type cache struct {
	maxEntries int
	maxOctets  int

	mu      sync.Mutex
	entries map[question]*list.Element
	order   *list.List // of *entry, the latest used in front
	octets  int
}

type entry struct {
	question question
	answer   answer
	until    time.Time
}

func (e *entry) size() int { return len(e.question.name) + e.answer.size() }

func newCache(maxEntries, maxOctets int) *cache {
	return &cache{maxEntries: maxEntries, maxOctets: maxOctets, entries: map[question]*list.Element{}, order: list.New()}
}

func (c *cache) get(q question, now time.Time) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, found := c.entries[q]
	if !found {
		return answer{}, false
	}
	e := element.Value.(*entry) //nolint:forcetypeassert // Nothing else is put in.
	if !now.Before(e.until) {
		c.drop(element)
		return answer{}, false
	}
	c.order.MoveToFront(element)
	return e.answer, true
}

func (c *cache) put(q question, a answer, now time.Time) {
	e := &entry{question: q, answer: a, until: now.Add(a.ttl)}
	if a.ttl <= 0 || e.size() > c.maxOctets/16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, found := c.entries[q]; found {
		c.drop(old)
	}
	c.entries[q] = c.order.PushFront(e)
	c.octets += e.size()
	for len(c.entries) > c.maxEntries || c.octets > c.maxOctets {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(element *list.Element) {
	e := c.order.Remove(element).(*entry) //nolint:forcetypeassert // Nothing else is put in.
	delete(c.entries, e.question)
	c.octets -= e.size()
}

// held is how many answers are remembered, and about how many octets they take.
func (c *cache) held() (entries, octets int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.octets
}
