package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/policy/rego"
)

// finding is one line of the doctor's report.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"`          // "ok", "warn" or "fail"
	Text  string `json:"text"`           // what was found
	Mend  string `json:"mend,omitempty"` // what to do about it
}

const (
	minFree    = 32 << 20              // a fresh data directory fits in it
	comfyFree  = 1 << 30               // below it the log fills up within days
	slowSync   = 20 * time.Millisecond // p99 above it is felt in every call
	syncProbes = 50
)

func doctorVerb() verb {
	return verb{
		name: "doctor", short: "check configuration, sign-in, data directory, disk, catalog, upstreams and port",
		long:     "Every line that is not ✓ says what to do. Exit code 1 if any is ✗.",
		examples: []string{"ostiary doctor", "ostiary doctor --data /var/lib/ostiary --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "listen", "public-url", "data", "catalogs", "policies", "no-auth", "dev")
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				if err := noWords("doctor", args); err != nil {
					return err
				}
				c, err := load()
				var bad *usageError
				if errors.As(err, &bad) {
					return err
				}
				d := &doctor{config: c, io: io}
				d.examine(ctx, err)
				return d.report(format)
			}
		},
	}
}

// doctor collects findings about one configuration.
type doctor struct {
	config   *config
	io       stdio
	running  bool // a gateway answers on the address: it owns port and data
	findings []finding
}

func (d *doctor) ok(check, format string, a ...any) {
	d.findings = append(d.findings, finding{check, "ok", fmt.Sprintf(format, a...), ""})
}

func (d *doctor) warn(check, mend, format string, a ...any) {
	d.findings = append(d.findings, finding{check, "warn", fmt.Sprintf(format, a...), mend})
}

func (d *doctor) fail(check, mend, format string, a ...any) {
	d.findings = append(d.findings, finding{check, "fail", fmt.Sprintf(format, a...), mend})
}

func (d *doctor) examine(ctx context.Context, configErr error) {
	if configErr != nil {
		for line := range strings.Lines(configErr.Error()) {
			d.fail("config", "mend the line; `ostiary serve --help` lists the keys", "%s", strings.TrimSpace(line))
		}
	} else {
		d.ok("config", "%s", or(d.config.File, "no ostiary.yaml; flags, environment and defaults"))
	}
	d.port(ctx)
	users, served := d.answers(ctx)
	d.dataDirectory(served)
	d.accounts(ctx, users, served)
	d.disk()
	d.checkpoints(ctx)
	d.policies()
	if catalog := d.catalog(); catalog != nil {
		d.programs(catalog)
		d.upstreams(ctx, catalog)
	}
}

// port: is the address ours, free, and reachable from this machine only.
func (d *doctor) port(ctx context.Context) {
	addr := d.config.Listen
	switch {
	case loopback(addr):
		d.ok("address", "%s can be reached from this machine only", addr)
	case d.config.guarded() && !d.config.NoAuth:
		d.ok("address", "%s can be reached from other machines, over TLS of its own or of trustedProxies", addr)
	default:
		d.fail("address", "set tls.certFile and tls.keyFile or trustedProxies, or listen on a loopback address such as 127.0.0.1:8080", "%s can be reached from other machines, in clear text", addr)
	}
	if d.running = ourServer(ctx, "http://"+addr); d.running {
		d.ok("port", "a gateway is running on %s", addr)
		return
	}
	ln, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		ln.Close()
		d.ok("port", "%s is free", addr)
	case errors.Is(err, syscall.EADDRINUSE):
		d.fail("port", "stop the other program, or choose another address with --listen", "%s is in use by another program", addr)
	default:
		d.fail("port", "choose an address of this machine with --listen", "can't listen on %s: %v", addr, err)
	}
}

// dataDirectory: who may read it, and who holds it now; served: a server that
// answers the operator does.
func (d *doctor) dataDirectory(served bool) {
	dir := d.config.Data
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok("data", "%s does not exist yet; `ostiary serve` makes it", dir)
		return
	case err != nil:
		d.fail("data", "check --data and its permissions", "%v", err)
		return
	case !info.IsDir():
		d.fail("data", "choose a directory with --data", "%s is not a directory", dir)
		return
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		d.warn("data", "chmod 700 "+dir, "%s has mode %04o: other users of this machine can look into it", dir, mode)
	} else {
		d.ok("data", "%s has mode %04o", dir, mode)
	}
	d.files(dir)
	switch held := lockedFiles(dir); {
	case len(held) > 0 && (d.running || served):
		d.ok("lock", "held by the running gateway")
	case len(held) > 0:
		d.fail("lock", "stop that process, or choose another directory with --data", "%s is held by another process, and no gateway answers on %s", strings.Join(held, ", "), d.config.Listen)
	default:
		d.ok("lock", "nobody holds the database")
	}
}

// files: keys and records are for the owner alone.
func (d *doctor) files(dir string) {
	open := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			open++
			if strings.Contains(e.Name(), "key") {
				d.fail("files", "chmod 600 "+path, "key file %s has mode %04o", path, mode)
			} else {
				d.warn("files", "chmod 600 "+path, "%s has mode %04o", path, mode)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		d.fail("files", "run as the user that owns the data directory", "%v", err)
	case open == 0:
		d.ok("files", "keys and records are for their owner alone")
	}
}

// lockedFiles are the files directly in dir that a process holds a lock on.
func lockedFiles(dir string) []string {
	var held []string
	entries, _ := os.ReadDir(dir) // an unreadable directory was reported already
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			held = append(held, e.Name())
		}
		f.Close()
	}
	return held
}

// disk: room, and how long one durable write takes.
func (d *doctor) disk() {
	dir := d.config.Data
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		d.warn("space", "check --data", "free space of %s is unknown: %v", dir, err)
	} else {
		free := int64(s.Bavail) * int64(s.Bsize)
		switch {
		case free < minFree:
			d.fail("space", "free at least "+sizeWords(minFree), "%s free at %s: calls will be refused for want of an audit log", sizeWords(free), dir)
		case free < comfyFree:
			d.warn("space", "free some, or bound the log with audit.retention", "%s free at %s", sizeWords(free), dir)
		default:
			d.ok("space", "%s free at %s", sizeWords(free), dir)
		}
	}
	p50, p99, err := syncTimes(dir, syncProbes)
	switch {
	case err != nil:
		d.fail("fsync", "make the directory writable for this user", "can't write in %s: %v", dir, err)
	case p99 > slowSync:
		d.warn("fsync", "put the data directory on a faster disk: each call waits for one", "p50 %v, p99 %v", p50, p99)
	default:
		d.ok("fsync", "p50 %v, p99 %v", p50, p99)
	}
}

// syncTimes measures n durable writes of 512 bytes in dir.
func syncTimes(dir string, n int) (p50, p99 time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".ostiary-fsync-*")
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	times := make([]time.Duration, n)
	block := make([]byte, 512)
	for i := range times {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		times[i] = time.Since(start).Round(time.Microsecond)
	}
	slices.Sort(times)
	return times[n/2], times[n*99/100], nil
}

func (d *doctor) policies() {
	dir := policyDir(d.config)
	if dir == "" {
		return
	}
	e, err := rego.Load(dir, policyOptions(d.config))
	var problems rego.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			fix := p.Fix
			p.Fix = ""
			d.fail("policies", or(fix, "mend the line"), "%s", p)
		}
	case err != nil:
		d.fail("policies", "check --policies", "%v", err)
	default:
		for _, w := range e.Warnings() {
			fix := w.Fix
			w.Fix = ""
			d.warn("policies", fix, "%s", w)
		}
		d.ok("policies", "%s, %s passed", plural(e.Files(), "file"), plural(e.Tested(), "test"))
	}
}

func (d *doctor) catalog() *catalogs.Catalog {
	catalog, err := catalogs.Load(d.config.Catalogs, catalogOptions(d.config, d.io))
	var problems catalogs.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			d.fail("catalog", or(p.Fix, "mend the line"), "%s", withoutFix(p))
		}
		return nil
	case err != nil:
		d.fail("catalog", "check --catalogs", "%v", err)
		return nil
	}
	for _, w := range catalog.Warnings {
		d.warn("catalog", w.Fix, "%s", withoutFix(w))
	}
	if enabled(catalog) == 0 {
		d.warn("catalog", "set enabled: true on an entry, or add one", "no upstream is enabled in %s", d.config.Catalogs)
	} else {
		d.ok("catalog", "%s in %s, %d enabled", plural(len(catalog.Upstreams), "upstream"), d.config.Catalogs, enabled(catalog))
	}
	return catalog
}

// withoutFix is a problem's text alone: the fix has a line of its own.
func withoutFix(p catalogs.Problem) string {
	p.Fix = ""
	return p.String()
}

// programs: is what stdio entries start installed.
func (d *doctor) programs(catalog *catalogs.Catalog) {
	for _, u := range catalog.Upstreams {
		if !u.Enabled || len(u.Command) == 0 {
			continue
		}
		if _, err := exec.LookPath(u.Command[0]); err != nil {
			d.fail("program", fmt.Sprintf("install %s, or set enabled: false at %s", u.Command[0], u.Source), "upstream %s needs %s, which is not installed", u.Name, u.Command[0])
		}
	}
}

func (d *doctor) upstreams(ctx context.Context, catalog *catalogs.Catalog) {
	results, err := tryUpstreams(ctx, d.config, catalog, catalogTestTime)
	if err != nil {
		d.fail("upstreams", "see the reason", "%v", err)
	}
	for _, r := range results {
		d.confinement(r.Status)
		if r.State != "ready" {
			d.fail("upstream", "`ostiary catalog test "+r.Name+"` tries again", "%s is %s after %d ms: %s", r.Name, r.State, r.Took, or(r.Detail, "no answer"))
			continue
		}
		d.ok("upstream", "%s answers %s in %d ms, %s", r.Name, r.Version, r.Took, plural(r.Tools, "tool"))
		if n := len(r.LeftOut); n > 0 {
			d.warn("upstream", "`ostiary catalog test "+r.Name+"` says why", "%s: %s left out", r.Name, plural(n, "item"))
		}
	}
}

// report prints findings and how to connect.
func (d *doctor) report(format *format) error {
	ways := connectCommands(d.config.base() + "/mcp")
	failed := 0
	for _, f := range d.findings {
		if f.State == "fail" {
			failed++
		}
	}
	if format.json() {
		if err := writeJSON(d.io.Out, map[string]any{"ok": failed == 0, "findings": d.findings, "connect": ways}); err != nil {
			return err
		}
	} else {
		marks := map[string]string{"ok": "✓", "warn": "!", "fail": "✗"}
		for _, f := range d.findings {
			fmt.Fprintf(d.io.Out, "%s %-9s %s\n", marks[f.State], f.Check, printable(f.Text))
			if f.Mend != "" {
				fmt.Fprintf(d.io.Out, "            → %s\n", f.Mend)
			}
		}
		fmt.Fprint(d.io.Out, "\nConnect an agent:\n")
		for _, w := range ways {
			fmt.Fprintf(d.io.Out, "  %-11s %s\n", w.Agent, w.Command)
		}
	}
	if failed > 0 {
		complain(d.io.Err, fmt.Errorf("%s; the lines with ✗ say what to do", plural(failed, "check")+" failed"))
		return errSilent
	}
	return nil
}
