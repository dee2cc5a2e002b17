package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

// build says which program this is.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Dirty   bool   `json:"dirty,omitempty"` // built from a tree with uncommitted changes
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func thisBuild() build {
	b := build{Version: "devel", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}

func versionVerb() verb {
	return verb{
		name: "version", short: "say which build this is",
		examples: []string{"ostiary version", "ostiary version --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			format := formatFlag(fs, "text")
			return func(_ context.Context, args []string) error {
				if err := noWords("version", args); err != nil {
					return err
				}
				b := thisBuild()
				if format.json() {
					return writeJSON(io.Out, b)
				}
				commit := b.Commit
				if commit == "" {
					commit = "unknown commit"
				} else if b.Dirty {
					commit += " with changes"
				}
				_, err := fmt.Fprintf(io.Out, "ostiary %s (%s) %s %s/%s\n", b.Version, commit, b.Go, b.OS, b.Arch)
				return err
			}
		},
	}
}
