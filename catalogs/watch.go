package catalogs

import (
	"context"
	"time"
)

// Watch timing.
const (
	DefaultEvery = time.Second // between two looks
	settle       = 50 * time.Millisecond
	maxSettles   = 20 // then a directory that never rests is read as it is
)

// Watch looks at dir every now and then (DefaultEvery when every is 0 or less)
// and calls fn, one call at a time, until ctx ends:
//
//   - fn(catalog, nil) when another revision can be loaded, and when the
//     revision that the caller has is back after an error;
//   - fn(nil, err) when what is there now cannot be loaded, once for each
//     distinct error. The caller keeps the catalog it has.
//
// It reads the files again instead of asking the system for notifications:
// those don't cross network, container and FUSE mounts, and miss files behind
// the links by which Kubernetes swaps a whole directory. For the same reason it
// compares contents rather than times and sizes, which a restored or quickly
// rewritten file can repeat. A few small files a second cost next to nothing.
func Watch(ctx context.Context, dir string, o Options, every time.Duration, fn func(*Catalog, error)) {
	if every <= 0 {
		every = DefaultEvery
	}
	have, broken := o.Revision, ""
	var seen *sources
	for {
		if seen == nil || seen.changed() {
			c, s, err := load(dir, o)
			// A file may be half written, or one of two already replaced.
			for range maxSettles {
				if !pause(ctx, min(settle, every)) {
					return
				}
				if s != nil && !s.changed() {
					break
				}
				c, s, err = load(dir, o)
			}
			seen = s
			switch {
			case err != nil:
				if err.Error() != broken {
					broken = err.Error()
					fn(nil, err)
				}
			case have == "" && broken == "":
				have = c.Revision
			case c.Revision != have || broken != "":
				have, broken = c.Revision, ""
				fn(c, nil)
			}
		}
		if !pause(ctx, every) {
			return
		}
	}
}

// pause reports false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
