package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// ErrRolledBack: the database is an older copy of itself, or was put here
// without the file that says how far it had come.
var ErrRolledBack = errors.New("the database was rolled back")

const (
	epochFile = "epoch"
	slotSize  = 512 // one sector: a torn write spoils one slot
	// layout counts the forms of a database; it stands in the meta record.
	layout = 3
)

// meta is the record about the database itself. A database without one is of
// layout 1 or was made just now; either way its epoch is 0.
type meta struct {
	Layout int
	Epoch  uint64
}

var metaName = []byte("meta")

func readMetaRecord(t *txn) (m meta, err error) {
	if t.tx.Bucket([]byte(bucketMeta)) == nil {
		return meta{Layout: 1}, nil
	}
	text, err := t.get(bucketMeta, metaName)
	if err != nil {
		return m, damaged(err)
	} else if text == nil {
		return meta{Layout: 1}, nil // made just now: it may lack buckets of any later layout
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, damaged(fmt.Errorf("its meta record: %w", err))
	}
	if m.Layout > layout {
		return m, fmt.Errorf("%w: it has layout %d and this version knows %d; use the newer version", ErrNewer, m.Layout, layout)
	}
	return m, nil
}

func writeMetaRecord(t *txn, epoch uint64) error {
	text, err := json.Marshal(meta{Layout: layout, Epoch: epoch})
	if err != nil {
		return err
	}
	return t.put(bucketMeta, metaName, t.ring.seal(bucketMeta, metaName, text))
}

// epoch is the file beside the database that says how far the database had
// come. Both hold a counter. It is raised at each start, in the transaction of
// each verb that takes something away, and every sweepEvery; first in the
// database, then in the file. So the file is never ahead of an honest
// database, wherever a crash came, and always ahead of a copy that was made
// before. Two slots, written in turn and in place: a torn write leaves the
// other, and a full disk is no obstacle.
//
// It notices a database that was put back, not a whole directory that was.
type epoch struct {
	path string
	seal aead
	bind []byte // of this database: another one's file doesn't open
}

// read returns the counter in the file; ok is false when the file is missing
// or belongs to another database.
func (e *epoch) read() (n uint64, ok bool, err error) {
	b, err := os.ReadFile(e.path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	} else if err != nil {
		return 0, false, fmt.Errorf("read epoch: %w", err)
	}
	for slot := range slices.Chunk(b, slotSize) {
		sealed := slot[:min(len(slot), e.seal.Overhead()+8)]
		if plain, err := e.seal.Open(nil, nil, sealed, e.bind); err == nil && len(plain) == 8 {
			n, ok = max(n, binary.BigEndian.Uint64(plain)), true
		}
	}
	return n, ok, nil
}

// write makes n durable in the file.
func (e *epoch) write(n uint64) error {
	f, err := os.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|syscall.O_DSYNC, 0o600)
	if err != nil {
		return fmt.Errorf("write epoch: %w", err)
	}
	slot := make([]byte, slotSize)
	copy(slot, e.seal.Seal(nil, nil, binary.BigEndian.AppendUint64(nil, n), e.bind))
	_, err = f.WriteAt(slot, int64(n%2)*slotSize)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write epoch: %w", err)
	}
	return nil
}

func (s *Store) epochOf(dir string) *epoch {
	return &epoch{path: filepath.Join(dir, epochFile), seal: s.master,
		bind: append([]byte("ostiary epoch\x00"), s.keys.Load().name("epoch")...)}
}

// compare refuses a database that stands at an earlier epoch than the file.
func (e *epoch) compare(database uint64) error {
	const hint = "if this copy is the one you want, accept it with `ostiary restore`"
	file, ok, err := e.read()
	switch {
	case err != nil:
		return err
	case !ok && database > 0:
		return fmt.Errorf("%w: %s is missing or belongs to another database; %s", ErrRolledBack, e.path, hint)
	case file > database:
		return fmt.Errorf("%w: it stands at epoch %d, but by %s it had come to %d; %s", ErrRolledBack, database, e.path, file, hint)
	}
	return nil
}

// advance raises the epoch when something was written since it was last.
func (s *Store) advance(ctx context.Context) error {
	if !s.moved.Load() {
		return nil
	}
	return s.doFreeing(ctx, func(t *txn) error {
		t.wrote = true
		return nil
	})
}
