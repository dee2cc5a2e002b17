package authserver

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/ostiary/ostiary/authserver/identity"
)

// tokenEntry is one live token. What a token check needs of it fills one cache
// line: with many live tokens each step to another place in memory costs as much
// as the hash.
type tokenEntry struct {
	hash    [sha256.Size]byte
	expires int64 // Unix nanoseconds
	// principal is shared by all requests, and by all tokens of the grant with
	// the same scopes; nil while the person is disabled.
	principal atomic.Pointer[identity.Principal]
	used      atomic.Uint32 // Unix seconds of the last use that was noted
	merged    bool          // for /mcp, as nearly all are; otherwise the grant says for what
	grant     *grantEntry
}

// covers says whether the token is for what lies at path.
func (t *tokenEntry) covers(path string) bool {
	if t.merged {
		return covers(mergedPath, path)
	}
	return covers(t.grant.path, path)
}

// tableShards spreads token checks, so that they don't meet at one lock.
const tableShards = 64

// tokenTable finds tokens by their hash. The hash is random already: its first
// bytes choose the shard and the place there.
type tokenTable struct {
	shards [tableShards]tableShard
}

type tableShard struct {
	mu   sync.RWMutex
	byID map[uint64]*tokenEntry
	_    [64 - 32]byte // a cache line each
}

func (t *tokenTable) shard(h *[sha256.Size]byte) (*tableShard, uint64) {
	id := binary.LittleEndian.Uint64(h[:])
	return &t.shards[id%tableShards], id
}

// get is the token with this hash, or nil.
func (t *tokenTable) get(h *[sha256.Size]byte) *tokenEntry {
	s, id := t.shard(h)
	s.mu.RLock()
	e := s.byID[id]
	s.mu.RUnlock()
	if e == nil || e.hash != *h {
		return nil
	}
	return e
}

// put adds e. Two tokens whose hashes begin with the same eight bytes are once
// in 2^64 pairs; then the newer one stands.
func (t *tokenTable) put(e *tokenEntry) {
	s, id := t.shard(&e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = map[uint64]*tokenEntry{}
	}
	s.byID[id] = e
}

// remove takes the token with this hash away.
func (t *tokenTable) remove(h *[sha256.Size]byte) {
	s, id := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[id]; e != nil && e.hash == *h {
		delete(s.byID, id)
	}
}

// len is how many there are.
func (t *tokenTable) len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.byID)
		s.mu.RUnlock()
	}
	return n
}
