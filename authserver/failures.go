package authserver

import (
	"fmt"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/login"
)

const (
	failuresEvery = time.Minute
	maxFailures   = 10_000 // sources counted at once
	otherSources  = "other sources"
)

// failures are sign-ins that failed, counted by source. They become one record
// per source and minute, so that nobody can fill the log from outside.
type failures struct {
	mu    sync.Mutex
	since time.Time
	count map[string]int
}

// add counts one. The records are written by the first failure of a later
// minute, and by flush.
func (f *failures) add(s *Server, source string) {
	source = login.SourceKey(source)
	f.mu.Lock()
	defer f.mu.Unlock()
	now := s.Now()
	if now.Sub(f.since) >= failuresEvery {
		f.write(s)
		f.since, f.count = now, map[string]int{}
	}
	if _, known := f.count[source]; !known && len(f.count) >= maxFailures {
		source = otherSources
	}
	f.count[source]++
}

// flush writes what was counted.
func (f *failures) flush(s *Server) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write(s)
	f.since, f.count = time.Time{}, nil
}

func (f *failures) write(s *Server) {
	for source, n := range f.count {
		s.Audit.Note(s.event(eventSignInFailed, nil, source, fmt.Sprintf("%d failed sign-ins", n)))
	}
}
