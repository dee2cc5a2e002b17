package authserver

import (
	"container/heap"
	"crypto/sha256"
	"time"
)

// dueAt notes when a token runs out.
func (x *index) dueAt(at time.Time, h [sha256.Size]byte) { heap.Push(&x.due, due{at, h}) }

// expire removes the tokens that have run out, so that streams which stand on
// them end.
func (x *index) expire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.now()
	for len(x.due) > 0 && !now.Before(x.due[0].at) {
		x.removeLocked(heap.Pop(&x.due).(due).hash)
	}
}

// due is when a token runs out.
type due struct {
	at   time.Time
	hash [sha256.Size]byte
}

type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
