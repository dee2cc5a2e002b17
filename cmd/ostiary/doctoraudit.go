package main

import (
	"context"
	"os"
	"path/filepath"
)

// checkpoints: is there an outside place for them, and do they get there.
func (d *doctor) checkpoints(ctx context.Context) {
	if d.config.CheckpointFile != "" {
		dir := filepath.Dir(d.config.CheckpointFile)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			d.fail("audit", "make it or mount it, or change audit.checkpoint.file", "checkpoints can't be copied to %s: %s is no directory", d.config.CheckpointFile, dir)
		}
	}
	places := d.config.outside()
	said, known := any(nil), false
	if d.running {
		said, known = readyChecks(ctx, "http://"+d.config.Listen)["checkpoints"]
	}
	switch {
	case known && said != "ok":
		d.warn("audit", "see its log, which says what fails; calls go on meanwhile", "the running gateway can't sign or copy checkpoints")
	case len(places) == 0:
		d.ok("audit", "checkpoints stay in the data directory; audit.checkpoint copies them to where a cut log is noticed")
	default:
		for _, p := range places {
			d.ok("audit", "checkpoints are copied to %s", p)
		}
	}
}
