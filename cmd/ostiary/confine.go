package main

import (
	"path/filepath"

	"github.com/ostiary/ostiary/federation"
)

// thisProgram is what confines stdio upstreams before it becomes them. The
// name works after the file was replaced by a newer one, too.
const thisProgram = "/proc/self/exe"

// confinement tells the inner door what stdio upstreams must not see (data,
// keys, our own configuration) and what they must not change: what is read
// again while the gateway runs, and could set them free.
func confinement(c *config) func(*federation.Config) {
	return func(f *federation.Config) {
		f.Shim = thisProgram
		f.Confined = absolute(append([]string{c.Data, c.File, c.KeyFile}, c.SecretFiles...)...)
		f.Fixed = absolute(c.Catalogs, c.Policies)
	}
}

// absolute leaves out what is not given.
func absolute(paths ...string) []string {
	var all []string
	for _, path := range paths {
		if path == "" {
			continue
		}
		if abs, err := filepath.Abs(path); err == nil {
			all = append(all, abs)
		}
	}
	return all
}

// confinement is the doctor's line about one stdio upstream.
func (d *doctor) confinement(s federation.Status) {
	switch {
	case s.Confinement == "":
	case s.Unconfined():
		d.warn("confine", "drop confine: false unless you trust it with the data directory", "%s runs with this user's rights", s.Name)
	default:
		d.ok("confine", "%s: %s", s.Name, s.Confinement)
	}
}
