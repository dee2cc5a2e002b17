package rego

import (
	"container/list"
	"sync"
)

// memory keeps answers under the exact values that they depend on, in two
// steps: a scope for everything about the request but its target, and in it
// one answer for each target. A list of a thousand targets then looks its scope
// up once. The scope longest unused is forgotten first. Safe for concurrent
// use.
type memory[V any] struct {
	max int // scopes and answers, together

	mu     sync.Mutex
	held   int
	scopes map[string]*scope[V]
	order  list.List // of *scope[V], the latest used first
}

// scope is the answers under one set of values.
type scope[V any] struct {
	key   string
	place *list.Element
	size  int // under memory.mu

	mu      sync.RWMutex
	answers map[string]V
}

func newMemory[V any](limit int) *memory[V] {
	return &memory[V]{max: limit, scopes: map[string]*scope[V]{}}
}

// find is the scope of key, or nil.
func (m *memory[V]) find(key []byte) *scope[V] {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.scopes[string(key)]
	if s != nil {
		m.order.MoveToFront(s.place)
	}
	return s
}

// get is the answer of key in s, which may be nil.
func (s *scope[V]) get(key []byte) (v V, ok bool) {
	if s == nil {
		return v, false
	}
	s.mu.RLock()
	v, ok = s.answers[string(key)]
	s.mu.RUnlock()
	return v, ok
}

// put keeps v. One scope alone that fills the memory keeps no more.
func (m *memory[V]) put(scopeKey, key []byte, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.scopes[string(scopeKey)]
	if s == nil {
		s = &scope[V]{key: string(scopeKey), answers: map[string]V{}, size: 1}
		s.place = m.order.PushFront(s)
		m.scopes[s.key] = s
		m.held++
	}
	for m.held >= m.max {
		last := m.order.Back().Value.(*scope[V])
		if last == s {
			return
		}
		m.order.Remove(last.place)
		delete(m.scopes, last.key)
		m.held -= last.size
	}
	s.mu.Lock()
	if _, known := s.answers[string(key)]; !known {
		s.size++
		m.held++
	}
	s.answers[string(key)] = v
	s.mu.Unlock()
}
