// Command auditproof shows on a real gateway that nothing runs unrecorded. It
// plays both sides, an upstream that remembers every call and callers who note
// every answer, while it kills the gateway, fills its disk and makes its
// writes fail or hang. conformance/audit.sh runs it.
//
//	auditproof -ostiary PATH [-rounds 20] [-small DIR] [-strace] [-readonly DIR]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// proof is one thing to show, on a fresh gateway of its own.
type proof struct {
	name string
	run  func(ctx context.Context, s *site) error
	skip string // "" = run it; otherwise why it can't be run here
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx))
}

func run(ctx context.Context) int {
	ostiary := flag.String("ostiary", "", "the `BINARY` to try")
	rounds := flag.Int("rounds", 20, "how often it is killed")
	small := flag.String("small", "", "an empty `DIR` that is a small file system of its own (48 MiB, say)")
	readonly := flag.String("readonly", "", "a `DIR` on a file system that was mounted read-only")
	strace := flag.Bool("strace", false, "strace is there and may attach to processes")
	flag.Parse()
	if *ostiary == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "auditproof: want -ostiary BINARY and flags only")
		return 2
	}
	without := func(there bool, why string) string {
		if there {
			return ""
		}
		return why
	}
	noMount, noStrace := "no file system may be mounted here", "strace is missing or may not attach here"
	failed, skipped := 0, 0
	for _, p := range []proof{
		{name: fmt.Sprintf("killed %d times under load", *rounds), run: func(ctx context.Context, s *site) error { return killed(ctx, s, *rounds) }},
		{name: "full disk", run: fullDisk, skip: without(*small != "", noMount)},
		{name: "read-only data directory", run: func(ctx context.Context, s *site) error { return readOnly(ctx, s, *readonly) }, skip: without(*readonly != "", noMount)},
		{name: "EIO on write", run: injected("write:error=EIO"), skip: without(*strace, noStrace)},
		{name: "EIO on fdatasync and fsync", run: injected("fdatasync,fsync:error=EIO"), skip: without(*strace, noStrace)},
		{name: "EROFS on write, as after a remount", run: injected("write:error=EROFS"), skip: without(*strace, noStrace)},
		{name: "a sync that hangs", run: injected("fdatasync:delay_enter=4s"), skip: without(*strace, noStrace)},
		{name: "a checkpoint sink that hangs", run: hangingSink},
	} {
		if p.skip != "" {
			skipped++
			fmt.Printf("not run: %s: %s\n", p.name, p.skip)
			continue
		}
		began := time.Now()
		words, err := prove(ctx, p, *ostiary, *small)
		if err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", p.name, err)
			continue
		}
		fmt.Printf("ok   %s (%.1f s): %s\n", p.name, time.Since(began).Seconds(), words)
	}
	fmt.Printf("%d failed, %d not run\n", failed, skipped)
	if failed > 0 {
		return 1
	}
	return 0
}

// prove gives a proof its site and holds the records against the calls after it.
func prove(ctx context.Context, p proof, ostiary, small string) (words string, err error) {
	work, err := os.MkdirTemp("", "auditproof-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	s := &site{ostiary: ostiary, work: work, data: filepath.Join(work, "data")}
	if p.name == "full disk" {
		s.data, s.small = filepath.Join(small, "data"), small
	}
	if err := s.open(); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := p.run(ctx, s); err != nil {
		return "", fmt.Errorf("%w\n%s", err, s.lastWords())
	}
	return s.judge(ctx)
}
