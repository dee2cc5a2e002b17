// Command taskserver serves the fixture for tasks on its own, to try things by
// hand: see the package tasks beside it.
//
//	go run github.com/ostiary/ostiary/conformance/taskserver -http 127.0.0.1:8090
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/ostiary/ostiary/conformance/tasks"
)

func main() {
	addr := flag.String("http", "127.0.0.1:8090", "address to serve on, path /mcp; port 0 takes a free one")
	era := flag.String("era", "", "serve this era alone: legacy or modern; both by default")
	flag.Parse()
	if *era != "" && *era != "legacy" && *era != "modern" {
		fmt.Fprintln(os.Stderr, "taskserver: -era is legacy or modern")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *addr, *era); err != nil {
		fmt.Fprintln(os.Stderr, "taskserver:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. The URL is the one line on stdout.
func run(ctx context.Context, addr, era string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s := tasks.New(time.Second)
	defer s.Close()
	s.Era = era
	h := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	fmt.Printf("http://%s/mcp\n", l.Addr())
	context.AfterFunc(ctx, func() { h.Close() })
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
