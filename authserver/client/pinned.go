package client

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ostiary/ostiary/store"
)

// pins are the documents that the operator keeps in files, as last read.
type pins struct {
	mu    sync.Mutex
	files map[string]pin // by the URL
}

type pin struct {
	size   int64
	time   time.Time
	client *store.Client // the last good one
	err    error         // what is wrong with the file now
}

// checkPinned reads every pinned document and says what is wrong with it.
func (r *Registry) checkPinned() error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(r.Documents.Pinned)) {
		p, _ := r.pin(id)
		errs = append(errs, p.err)
	}
	return errors.Join(errs...)
}

// pinned is the client of a pinned document; ok says whether id is pinned, nil
// that its file was never usable. A file that changed into something unusable
// leaves the last good client in place.
func (r *Registry) pinned(id string) (c *store.Client, ok bool) {
	if _, ok := r.Documents.Pinned[id]; !ok {
		return nil, false
	}
	p, changed := r.pin(id)
	if changed && p.err != nil {
		r.Logger.Error("pinned client document not taken, the one before stays", "error", p.err)
	}
	return p.client, true
}

// pin is the file of id as it is now; it is read when it changed.
func (r *Registry) pin(id string) (now pin, changed bool) {
	path := r.Documents.Pinned[id]
	info, err := os.Stat(path)
	if err == nil {
		now.size, now.time = info.Size(), info.ModTime()
	}
	r.pins.mu.Lock()
	defer r.pins.mu.Unlock()
	old, known := r.pins.files[id]
	if known && old.size == now.size && old.time.Equal(now.time) {
		return old, false
	}
	now.client = old.client
	if err == nil {
		var c *store.Client
		if c, err = r.readPin(id, path, now.size); err == nil {
			now.client = c
		}
	}
	if err != nil {
		now.err = fmt.Errorf("client document of %.200q in %s: %w", id, path, err)
	}
	if r.pins.files == nil {
		r.pins.files = map[string]pin{}
	}
	r.pins.files[id] = now
	return now, true
}

func (r *Registry) readPin(id, path string, size int64) (*store.Client, error) {
	if err := r.documentURL(id); err != nil {
		return nil, err
	}
	if size > MaxDocument {
		return nil, fmt.Errorf("longer than %d bytes", MaxDocument)
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := r.readDocument(id, body)
	if err == nil {
		c.Verified = true // the operator vouches for the name
	}
	return c, err
}
