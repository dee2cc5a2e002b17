package authserver

import (
	"sync"
	"time"
)

const (
	// raceSettle is how long the answer to a redemption waits: who raced with it
	// has come by then. Nobody notices it once a sign-in.
	raceSettle = 25 * time.Millisecond
	// raceTail is how long after several redemptions of one code met a latecomer
	// still counts as one of them.
	raceTail = time.Second
)

// races knows which codes are being redeemed at this moment. Requests that meet
// are one client's stumbling over itself: the losers are refused and the winner
// keeps its tokens. A request that comes when all is over is a replay, and ends
// the grant.
type races struct {
	mu      sync.Mutex
	running map[string]*race
}

type race struct {
	now int  // redemptions under way
	met bool // there were several at once
}

// enter says whether another redemption of the code is under way, or was when
// others met a moment ago.
func (r *races) enter(hash string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil {
		r.running = map[string]*race{}
	}
	e := r.running[hash]
	if e == nil {
		e = &race{}
		r.running[hash] = e
	}
	e.met = e.met || e.now > 0
	e.now++
	return e.met
}

func (r *races) leave(hash string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.running[hash]
	switch e.now--; {
	case e.now > 0:
	case e.met:
		time.AfterFunc(raceTail, func() { r.forget(hash, e) })
	default:
		delete(r.running, hash)
	}
}

func (r *races) forget(hash string, e *race) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[hash] == e && e.now == 0 {
		delete(r.running, hash)
	}
}
