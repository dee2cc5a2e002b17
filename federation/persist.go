package federation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// SnapshotStore keeps what upstreams said, so that a cold start lists at once.
// Values are opaque; the store seals them.
type SnapshotStore interface {
	SaveSnapshot(ctx context.Context, upstream string, value []byte) error
	LoadSnapshot(ctx context.Context, upstream string) ([]byte, error) // nil, nil when there is none
	DeleteSnapshot(ctx context.Context, upstream string) error
}

// storedVersion is the version of the stored form. Another one is ignored: the
// upstream is listed again.
const storedVersion = 1

// saveTime bounds one verb of the SnapshotStore.
const saveTime = 10 * time.Second

// stored is what an upstream said, as it is persisted.
type stored struct {
	Format       int                          `json:"format"`
	Entry        string                       `json:"entry"` // fingerprint of the entry that reached it
	Era          wire.Era                     `json:"era"`
	Version      string                       `json:"version"`
	Capabilities json.RawMessage              `json:"capabilities,omitempty"`
	ServerInfo   json.RawMessage              `json:"serverInfo,omitempty"`
	Instructions string                       `json:"instructions,omitempty"`
	Items        map[string][]json.RawMessage `json:"items"` // by kind, raw
	LeftOut      map[string][]LeftOut         `json:"leftOut,omitempty"`
	Yields       []string                     `json:"yields,omitempty"` // names that another upstream holds
}

func newStored(s *section, y yields) *stored {
	out := &stored{
		Format: storedVersion, Entry: fingerprint(s.info.Config),
		Era: s.peer.Era, Version: s.peer.Version, Capabilities: s.peer.Capabilities,
		ServerInfo: s.peer.ServerInfo, Instructions: s.peer.Instructions,
		Items: map[string][]json.RawMessage{}, LeftOut: map[string][]LeftOut{},
		Yields: slices.Sorted(maps.Keys(y)),
	}
	for k := range kinds {
		for _, i := range s.lists[k] {
			out.Items[k.String()] = append(out.Items[k.String()], i.Own)
		}
		if len(s.reports[k]) > 0 {
			out.LeftOut[k.String()] = s.reports[k]
		}
	}
	return out
}

func (s *stored) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // raw members stay as they are (promise 4)
	err := e.Encode(s)
	return b.Bytes(), err
}

func decodeStored(value []byte) (*stored, error) {
	s := &stored{}
	if err := json.Unmarshal(value, s); err != nil {
		return nil, fmt.Errorf("persisted snapshot: %w", err)
	}
	if s.Format != storedVersion {
		return nil, fmt.Errorf("persisted snapshot: format %d, want %d", s.Format, storedVersion)
	}
	return s, nil
}

func (s *stored) peer() *peer {
	return &peer{Era: s.Era, Version: s.Version, Capabilities: s.Capabilities, ServerInfo: s.ServerInfo, Instructions: s.Instructions}
}

func (s *stored) section(config *catalogs.Upstream, said *peer) *section {
	var lists [kinds][]*Item
	var reports [kinds][]LeftOut
	for k := range kinds {
		raws := make([][]byte, len(s.Items[k.String()]))
		for n, raw := range s.Items[k.String()] {
			raws[n] = raw
		}
		var leftOut []LeftOut
		lists[k], leftOut = encode(config, k, raws, nil)
		reports[k] = slices.Concat(s.LeftOut[k.String()], leftOut)
	}
	return newSection(config, said, lists, reports)
}

func (s *stored) yields() yields {
	y := yields{}
	for _, name := range s.Yields {
		y[name] = true
	}
	return y
}

// fingerprint says which server an entry means. Definitions of one server are
// never served as those of another. Values of secrets have no part in it.
func fingerprint(u *catalogs.Upstream) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q %q %q %q %q", u.URL, u.Command, u.Dir, u.Transport,
		slices.Sorted(maps.Keys(u.Env)), u.Auth.Type, u.Auth.Account)
	return hex.EncodeToString(sum.Sum(nil))
}

// persist saves every upstream whose part of a commit is worth it: its own
// offer differs, or what it holds in the merged namespace.
func (f *Federation) persist(before, after *Snapshot) {
	for name, s := range after.sections {
		was := before.sections[name]
		if s.peer == nil || was == nil {
			continue // nothing was said, or it was just loaded
		}
		if s != was || !slices.Equal(before.leftOut[name], after.leftOut[name]) {
			f.saver.save(name, func() ([]byte, error) {
				now := f.Snapshot()
				if current := now.sections[name]; current != nil && current.peer != nil {
					return newStored(current, now.yieldsOf(name)).encode()
				}
				return nil, nil
			})
		}
	}
}

// saver does the store's work beside everything else: one verb at a time, and
// only the last one wanted for each upstream.
type saver struct {
	store  SnapshotStore // nil = nothing is kept
	logger *slog.Logger

	mu      sync.Mutex
	wanted  map[string]func() ([]byte, error) // nil = delete
	running bool
	idle    *sync.Cond
}

func newSaver(s SnapshotStore, l *slog.Logger) *saver {
	v := &saver{store: s, logger: l, wanted: map[string]func() ([]byte, error){}}
	v.idle = sync.NewCond(&v.mu)
	return v
}

func (s *saver) save(upstream string, value func() ([]byte, error)) { s.want(upstream, value) }
func (s *saver) remove(upstream string)                             { s.want(upstream, nil) }

func (s *saver) want(upstream string, value func() ([]byte, error)) {
	if s.store == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[upstream] = value
	if !s.running {
		s.running = true
		go s.work()
	}
}

func (s *saver) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.wanted) > 0 {
		for upstream, value := range s.wanted {
			delete(s.wanted, upstream)
			s.mu.Unlock()
			if err := s.do(upstream, value); err != nil {
				s.logger.Warn("upstream snapshot not persisted; a restart lists it late", "upstream", upstream, "error", err)
			}
			s.mu.Lock()
		}
	}
	s.running = false
	s.idle.Broadcast()
}

func (s *saver) do(upstream string, value func() ([]byte, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), saveTime)
	defer cancel()
	if value == nil {
		return s.store.DeleteSnapshot(ctx, upstream)
	}
	v, err := value()
	if err != nil || v == nil {
		return err
	}
	return s.store.SaveSnapshot(ctx, upstream, v)
}

// load is what was persisted for the server that the entry means; nil when
// there is nothing to be had.
func (s *saver) load(ctx context.Context, u *upstream) *stored {
	if s.store == nil {
		return nil
	}
	value, err := s.store.LoadSnapshot(ctx, u.name)
	if err != nil {
		s.logger.Warn("persisted snapshot not loaded", "upstream", u.name, "error", err)
		return nil
	}
	if value == nil {
		return nil
	}
	kept, err := decodeStored(value)
	if err != nil {
		s.logger.Warn("persisted snapshot not usable", "upstream", u.name, "error", err)
		return nil
	}
	if kept.Entry != fingerprint(u.config.Load()) {
		return nil
	}
	return kept
}

// close waits until everything wanted is done.
func (s *saver) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.running {
		s.idle.Wait()
	}
}
