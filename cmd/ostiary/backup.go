package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

func backupVerb() verb {
	return verb{
		name: "backup", args: "[FILE]", short: "copy the database, also beside a running server",
		long: "FILE is ostiary-TIME.db in this directory unless given, - is stdout; one that exists is not\n" +
			"overwritten. Everything in it is sealed with the master key (--data DIR/master.key, or\n" +
			"masterKey), which is not in it: keep that elsewhere, the copy is worthless without it. The\n" +
			"audit log is not in it either: its segments are files that can be copied as they are.",
		examples: []string{"ostiary backup /mnt/backup/ostiary.db", "ostiary backup - | ssh vault 'cat > ostiary.db'"},
		define: func(flags *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(flags, io)
			format := formatFlag(flags, "text")
			return func(ctx context.Context, args []string) error {
				file := "ostiary-" + time.Now().UTC().Format("20060102T150405Z") + ".db"
				switch {
				case len(args) > 1:
					return usagef("backup: want at most one FILE")
				case len(args) == 1:
					file = args[0]
				}
				c, err := load()
				if err != nil {
					return err
				}
				if file == "-" {
					return fetch(ctx, c, io, "backup", nothing{}, io.Out)
				}
				size, err := backupTo(ctx, c, io, file)
				if err != nil {
					return fmt.Errorf("backup: %w", err)
				}
				return showDone(io, format, map[string]any{"file": file, "bytes": size}, fmt.Sprintf("wrote %s (%s)", file, sizeWords(size)))
			}
		},
	}
}

// backupTo makes file, whole or not at all.
func backupTo(ctx context.Context, c *config, io stdio, file string) (size int64, err error) {
	if _, err := os.Lstat(file); err == nil {
		return 0, fmt.Errorf("%s exists already; name another file", file)
	}
	temp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*") // 0600
	if err != nil {
		return 0, err
	}
	defer os.Remove(temp.Name())
	err = fetch(ctx, c, io, "backup", nothing{}, temp)
	if info, e := temp.Stat(); e == nil {
		size = info.Size()
	}
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return 0, err
	}
	// Unlike a rename, a link does not replace what came to be meanwhile. Not
	// every file system has links.
	if err = os.Link(temp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(temp.Name(), file)
	}
	return size, err
}

func restoreVerb() verb {
	return verb{
		name: "restore", args: "FILE", short: "put a backup in the place of the database; no server may run",
		long: "FILE may be - for stdin. It is verified wholly before it replaces anything, and the replaced\n" +
			"database is kept beside it. The master key must be the one of the backup. What was revoked\n" +
			"after the backup was made is valid again: revoke it anew.",
		examples: []string{"ostiary restore /mnt/backup/ostiary.db"},
		define: func(flags *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(flags, io)
			format := formatFlag(flags, "text")
			return func(ctx context.Context, args []string) error {
				file, err := oneName("restore", "FILE", args)
				if err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				if err := restoreFrom(ctx, c, io, file); err != nil {
					return fmt.Errorf("restore: %w", err)
				}
				return showDone(io, format, map[string]string{"restored": file}, "restored "+file+" into "+c.Data)
			}
		},
	}
}

func restoreFrom(ctx context.Context, c *config, io stdio, file string) error {
	in := io.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	err := store.Restore(ctx, c.Data, in, store.Options{MasterKey: c.MasterKey})
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("a server runs on %s; stop it first", c.Data)
	} else if err != nil {
		return err
	}
	log, err := openAudit(c, quietLogger(io))
	if err != nil {
		return err
	}
	err = log.Append(ctx, &audit.Record{Format: audit.Format, Kind: "event", Event: "store.restored", Time: time.Now(), RequestedBy: "operator"})
	return errors.Join(err, log.Close())
}
