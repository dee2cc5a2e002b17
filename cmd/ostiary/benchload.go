package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// cellPlan is one cell of the benchmark, as the load process gets it.
type cellPlan struct {
	Addr        string        // host:port of the server under test
	PID         int           // whose CPU time is measured
	Ours        []int         // the other processes of the benchmark: not foreign load
	Modern      bool          // the agent's era
	List        bool          // tools/list instead of tools/call
	Tool        string        // exposed name of the echo tool
	Tools       int           // how many a list must have
	Suffer      []string      // tools that are called now and then beside it, whatever becomes of that
	Lists       int           // tools of a whole list that is asked for now and then beside it; 0 = none is
	Connections int           // at once
	LeadIn      time.Duration // not measured
	Window      time.Duration // measured
}

// cellResult is what one cell measured.
type cellResult struct {
	Operations int     `json:"operations"`
	CPU        float64 `json:"cpu_us"`                    // of the server, per operation
	Rate       float64 `json:"per_second"`                // operations
	P50        float64 `json:"p50_ms"`                    //
	P99        float64 `json:"p99_ms"`                    //
	Foreign    float64 `json:"foreign_cores"`             // CPU used by processes that are not the benchmark's
	Bytes      float64 `json:"bytes"`                     // of the answer to one operation
	Longest    float64 `json:"longest_list_ms,omitempty"` // of cellPlan.Lists
}

// benchLoadVerb reads a cellPlan on stdin and prints a cellResult.
func benchLoadVerb() verb {
	return verb{name: "bench-load", short: "load of bench",
		define: func(_ *flag.FlagSet, io stdio) func(context.Context, []string) error {
			return func(ctx context.Context, _ []string) error {
				var plan cellPlan
				if err := json.NewDecoder(io.In).Decode(&plan); err != nil {
					return err
				}
				result, err := runCell(ctx, &plan)
				if err != nil {
					return err
				}
				return writeJSON(io.Out, result)
			}
		}}
}

// runCell keeps every connection busy for lead-in and window. Every answer is
// checked; the first wrong one fails the cell.
func runCell(ctx context.Context, p *cellPlan) (*cellResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var measuring atomic.Bool
	var done atomic.Int64 // operations within the window
	times := make([][]time.Duration, p.Connections)
	var work sync.WaitGroup
	var beside besides
	if err := beside.start(ctx, cancel, p, &measuring); err != nil {
		return nil, err
	}
	agents := make([]*benchAgent, p.Connections)
	for i := range p.Connections {
		a := &benchAgent{plan: p, number: i}
		agents[i] = a
		if err := a.open(); err != nil {
			return nil, err
		}
		defer a.conn.Close()
		context.AfterFunc(ctx, func() { a.conn.Close() })
		work.Go(func() {
			mine := make([]time.Duration, 0, 1<<16)
			for ctx.Err() == nil {
				start := time.Now()
				if err := a.operation(); err != nil {
					if ctx.Err() == nil {
						cancel(err)
					}
					break
				}
				if measuring.Load() {
					mine = append(mine, time.Since(start))
					done.Add(1)
				}
			}
			times[i] = mine
		})
	}
	pause(ctx, p.LeadIn)
	before, err := takeReading(p)
	if err != nil {
		return nil, err
	}
	measuring.Store(true)
	pause(ctx, p.Window)
	for done.Load() == 0 && ctx.Err() == nil { // a machine too busy for one operation gets a longer window
		pause(ctx, p.Window)
	}
	measuring.Store(false)
	after, err := takeReading(p)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		work.Wait()
		beside.work.Wait()
		return nil, context.Cause(ctx)
	}
	cancel(nil)
	work.Wait()
	beside.work.Wait()

	all := slices.Concat(times...)
	if len(all) == 0 {
		return nil, errors.New("no operation ended within the window")
	}
	slices.Sort(all)
	wall := after.at.Sub(before.at).Seconds()
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	foreign := (after.busy - before.busy - (after.ours - before.ours) - (after.server - before.server)).Seconds()
	return &cellResult{
		Operations: len(all),
		CPU:        float64(after.server-before.server) / 1e3 / float64(len(all)),
		Rate:       float64(len(all)) / wall,
		P50:        ms(all[len(all)/2]), P99: ms(all[len(all)*99/100]),
		Foreign: max(0, foreign/wall),
		Bytes:   float64(agents[0].size), Longest: ms(beside.longest),
	}, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// cpuReading is CPU time used up to a moment.
type cpuReading struct {
	at                 time.Time
	server, ours, busy time.Duration
}

func takeReading(p *cellPlan) (r cpuReading, err error) {
	r.at = time.Now()
	if r.server, err = cpuTime(p.PID); err != nil {
		return r, err
	}
	for _, pid := range append([]int{os.Getpid()}, p.Ours...) {
		if pid == p.PID {
			continue
		}
		t, err := cpuTime(pid)
		if err != nil {
			return r, err
		}
		r.ours += t
	}
	r.busy, err = machineTime()
	return r, err
}

// benchAgent is one agent on one kept-alive connection.
type benchAgent struct {
	plan    *cellPlan
	number  int
	conn    net.Conn
	in      *bufio.Reader
	body    bytes.Buffer
	session string

	request []byte
	meta    string // inside of the params of every page
	marker  []byte // inside request: changes with every call
	count   int
	size    int // of the first answer; all other lists must be equal
}

// markerWidth is the length of the part of a call that changes.
const markerWidth = 16

// open connects and, in the legacy era, makes a session.
func (a *benchAgent) open() (err error) {
	if a.conn, err = net.Dial("tcp", a.plan.Addr); err != nil {
		return err
	}
	a.in = bufio.NewReaderSize(a.conn, 64<<10)
	if !a.plan.Modern {
		init := a.encode("initialize", "", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}`, true)
		if err := a.exchange(init); err != nil {
			return err
		}
		if err := a.exchange(a.encode("notifications/initialized", "", `{}`, false)); err != nil {
			return err
		}
	}
	a.encodeRequest()
	return nil
}

// encodeRequest makes the request of every operation.
func (a *benchAgent) encodeRequest() {
	meta := ""
	if a.plan.Modern {
		meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	}
	if a.plan.List {
		a.meta = meta
		a.request = a.encode("tools/list", "", "{"+meta+"}", true)
		return
	}
	if meta != "" {
		meta += ","
	}
	marker := strings.Repeat("#", markerWidth)
	params := fmt.Sprintf(`{%s"name":%q,"arguments":{"text":"%s %s"}}`, meta, a.plan.Tool, marker, strings.Repeat("All work and no play makes a dull gateway. ", 16))
	a.request = a.encode("tools/call", a.plan.Tool, params, true)
	at := bytes.Index(a.request, []byte(marker))
	a.marker = a.request[at : at+markerWidth]
}

// encode makes a whole HTTP request.
func (a *benchAgent) encode(method, name, params string, id bool) []byte {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)
	if !id {
		body = fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, method, params)
	}
	head := fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: %d\r\n", a.plan.Addr, len(body))
	switch {
	case a.plan.Modern:
		head += "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: " + method + "\r\n"
		if name != "" {
			head += "Mcp-Name: " + name + "\r\n"
		}
	case method != "initialize":
		head += "MCP-Protocol-Version: 2025-11-25\r\n"
		if a.session != "" {
			head += "Mcp-Session-Id: " + a.session + "\r\n"
		}
	}
	return []byte(head + "\r\n" + body)
}

// exchange sends request and reads the whole answer into a.body.
func (a *benchAgent) exchange(request []byte) error {
	if _, err := a.conn.Write(request); err != nil {
		return err
	}
	response, err := http.ReadResponse(a.in, nil)
	if err != nil {
		return err
	}
	a.body.Reset()
	if _, err := io.Copy(&a.body, response.Body); err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("HTTP %d: %.300s", response.StatusCode, a.body.Bytes())
	}
	if s := response.Header.Get("Mcp-Session-Id"); s != "" {
		a.session = s
	}
	return nil
}

// operation does one call or whole list and checks the answer.
func (a *benchAgent) operation() error {
	if a.plan.List {
		return a.list()
	}
	a.count++
	copy(a.marker, fmt.Sprintf("%04d-%0*d", a.number, markerWidth-5, a.count))
	if err := a.exchange(a.request); err != nil {
		return err
	}
	if answer := a.body.Bytes(); !bytes.Contains(answer, a.marker) {
		return fmt.Errorf("an answer without its marker: %.300s", answer)
	}
	a.size = a.body.Len()
	return nil
}

// list walks all pages. The tools are counted the first time.
func (a *benchAgent) list() error {
	size, tools := 0, 0
	for request := a.request; request != nil; {
		if err := a.exchange(request); err != nil {
			return err
		}
		answer := a.body.Bytes()
		size += len(answer)
		if a.size == 0 {
			tools += bytes.Count(answer, []byte(`"inputSchema"`))
		}
		request = nil
		if _, after, more := bytes.Cut(answer[max(0, len(answer)-pageTail):], []byte(`"nextCursor":"`)); more {
			cursor, _, _ := bytes.Cut(after, []byte{'"'})
			params := fmt.Sprintf(`{"cursor":"%s"`, cursor)
			if a.meta != "" {
				params += "," + a.meta
			}
			request = a.encode("tools/list", "", params+"}", true)
		}
	}
	switch {
	case a.size == 0 && tools != a.plan.Tools:
		return fmt.Errorf("a list of %d tools, want %d: %.300s", tools, a.plan.Tools, a.body.Bytes())
	case a.size == 0:
		a.size = size
	case size != a.size:
		return fmt.Errorf("a list of %d bytes after one of %d", size, a.size)
	}
	return nil
}

// pageTail is how far before the end of a page its cursor begins, at most.
const pageTail = 1 << 10
