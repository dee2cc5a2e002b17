package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

const (
	maxForeign     = 0.3 // cores used by others: above it a cell is worthless
	callBar        = 2.5 // CPU per call, gateway to reverse proxy
	listBar        = 1.5 // CPU per list
	benchSyncs     = 100
	benchStartTime = 20 * time.Second
)

func benchVerb() verb {
	return verb{
		name: "bench", short: "measure CPU per call and per list beside a bare reverse proxy",
		long: "Starts a fast echo upstream, a bare reverse proxy and `serve --no-auth` with its durable\n" +
			"audit log in a scratch directory; load and upstream on one CPU, the server under test on\n" +
			"another. Cells during which other programs use more than 0.3 cores are repeated. Takes\n" +
			"about a minute and some hundred MiB of disk. Compare ratios of one run, never figures of two.",
		examples: []string{"ostiary bench", "ostiary bench --cell 500ms --repeat 1", "ostiary bench --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			b := &bench{io: io}
			fs.IntVar(&b.tools, "tools", 500, "`N` tools of the upstream")
			fs.IntVar(&b.connections, "connections", 16, "`N` agents at once")
			fs.IntVar(&b.repeat, "repeat", 3, "`N` times each cell; medians are shown")
			fs.DurationVar(&b.window, "cell", 1500*time.Millisecond, "`TIME` that one cell measures")
			fs.DurationVar(&b.leadIn, "lead-in", 500*time.Millisecond, "`TIME` of load before it")
			fs.IntVar(&b.attempts, "attempts", 4, "`N` tries of a cell that others disturb")
			fs.StringVar(&b.dir, "dir", "", "`DIR` for scratch files, on the disk to measure (default the system's)")
			format := formatFlag(fs, "table")
			return func(ctx context.Context, args []string) error {
				if err := noWords("bench", args); err != nil {
					return err
				}
				if b.tools < 1 || b.connections < 1 || b.connections > 32 || b.repeat < 1 || b.attempts < 1 || b.window <= 0 || b.leadIn < 0 {
					return usagef("bench: --tools, --repeat, --attempts and --cell are above 0, --connections 1 to 32")
				}
				report, err := b.run(ctx)
				if err != nil {
					return fmt.Errorf("bench: %w", err)
				}
				if format.json() {
					return writeJSON(io.Out, report)
				}
				return report.table(io)
			}
		},
	}
}

// bench is one run of the benchmark.
type bench struct {
	io                         stdio
	tools, connections, repeat int
	attempts                   int
	window, leadIn             time.Duration
	dir                        string
}

// benchTarget is one column: a server under test and the agents' era.
type benchTarget struct {
	name   string
	server *child
	modern bool
	tool   string
}

// benchRow is the median of one cell's repeats.
type benchRow struct {
	Operation string `json:"operation"`
	Target    string `json:"target"`
	cellResult
	Ratio    float64 `json:"ratio"`         // CPU to the reverse proxy's
	Bar      float64 `json:"bar,omitempty"` // at most this ratio
	Met      bool    `json:"met,omitempty"`
	Rejected int     `json:"rejected"` // attempts with too much foreign load
	Noisy    bool    `json:"noisy"`    // a repeat was kept in spite of foreign load
}

// benchReport is the whole result.
type benchReport struct {
	Build       build      `json:"build"`
	CPUs        int        `json:"cpus"`
	Pinned      bool       `json:"pinned"`
	Tools       int        `json:"tools"`
	Connections int        `json:"connections"`
	Repeat      int        `json:"repeat"`
	Window      float64    `json:"cell_seconds"`
	SyncP50     float64    `json:"fsync_p50_ms"`
	SyncP99     float64    `json:"fsync_p99_ms"`
	Rows        []benchRow `json:"rows"`
}

const proxyName = "reverse proxy"

func (b *bench) run(ctx context.Context) (_ *benchReport, err error) {
	dir, err := os.MkdirTemp(b.dir, "ostiary-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	report := &benchReport{
		Build: thisBuild(), CPUs: runtime.NumCPU(), Pinned: runtime.NumCPU() > 1,
		Tools: b.tools, Connections: b.connections, Repeat: b.repeat, Window: b.window.Seconds(),
	}
	p50, p99, err := syncTimes(dir, benchSyncs)
	if err != nil {
		return nil, err
	}
	report.SyncP50, report.SyncP99 = float64(p50)/1e6, float64(p99)/1e6

	upstream, err := startChild(ctx, loadCPU, "bench-upstream", "--tools", fmt.Sprint(b.tools))
	if err != nil {
		return nil, err
	}
	defer upstream.stop()
	proxy, err := startChild(ctx, serverCPU, "bench-proxy", "--to", upstream.url)
	if err != nil {
		return nil, err
	}
	defer proxy.stop()
	gateway, err := b.startGateway(ctx, dir, upstream.url)
	if err != nil {
		return nil, err
	}
	defer gateway.stop()

	targets := []benchTarget{
		{"direct", upstream, false, "echo"},
		{proxyName, proxy, false, "echo"},
		{"ostiary, legacy agents", gateway, false, "bench__echo"},
		{"ostiary, modern agents", gateway, true, "bench__echo"},
	}
	ours := []int{os.Getpid(), upstream.pid(), proxy.pid(), gateway.pid()}
	for _, list := range []bool{false, true} {
		rows, err := b.operation(ctx, targets, list, ours)
		if err != nil {
			return nil, err
		}
		report.Rows = append(report.Rows, rows...)
	}
	return report, nil
}

// startGateway starts the real thing over a catalog of one upstream.
func (b *bench) startGateway(ctx context.Context, dir, upstream string) (*child, error) {
	catalogDir := filepath.Join(dir, "catalogs")
	if err := os.Mkdir(catalogDir, 0o700); err != nil {
		return nil, err
	}
	entry := fmt.Sprintf("upstreams:\n  bench:\n    url: %s/mcp\n", upstream)
	if err := os.WriteFile(filepath.Join(catalogDir, "bench.yaml"), []byte(entry), 0o600); err != nil {
		return nil, err
	}
	gateway, err := startChild(ctx, serverCPU, "serve", "--no-auth", "--listen", "127.0.0.1:0", "--log-format", "json",
		"--catalogs", catalogDir, "--data", filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	// Its upstream is connected in the background: wait for the first whole list.
	deadline := time.Now().Add(benchStartTime)
	for {
		err := b.probe(gateway)
		if err == nil {
			return gateway, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			gateway.stop()
			return nil, fmt.Errorf("the gateway does not list the upstream's tools: %w", err)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func (b *bench) probe(gateway *child) error {
	a := &benchAgent{plan: &cellPlan{Addr: gateway.addr(), Modern: true, List: true, Tools: b.tools}}
	if err := a.open(); err != nil {
		return err
	}
	defer a.conn.Close()
	return a.operation()
}

// operation measures all targets, each repeat starting with another one.
func (b *bench) operation(ctx context.Context, targets []benchTarget, list bool, ours []int) ([]benchRow, error) {
	name, bar := "tools/call 1 KiB", callBar
	if list {
		name, bar = fmt.Sprintf("tools/list %d", b.tools), listBar
	}
	cells := make([][]*cellResult, len(targets))
	rows := make([]benchRow, len(targets))
	for n := range b.repeat {
		for i := range targets {
			i = (i + n) % len(targets)
			t := targets[i]
			fmt.Fprintf(b.io.Err, "%s, %s, %d of %d\n", name, t.name, n+1, b.repeat)
			plan := &cellPlan{
				Addr: t.server.addr(), PID: t.server.pid(), Ours: ours, Modern: t.modern, List: list, Tool: t.tool,
				Tools: b.tools, Connections: b.connections, LeadIn: b.leadIn, Window: b.window,
			}
			result, err := b.quietCell(ctx, plan, &rows[i])
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", name, t.name, err)
			}
			cells[i] = append(cells[i], result)
		}
	}
	var yardstick float64
	for i, t := range targets {
		rows[i].Operation, rows[i].Target, rows[i].cellResult = name, t.name, medianCell(cells[i])
		if t.name == proxyName {
			yardstick = rows[i].CPU
		}
	}
	for i, t := range targets {
		rows[i].Ratio = rows[i].CPU / yardstick
		if t.server == targets[len(targets)-1].server {
			rows[i].Bar, rows[i].Met = bar, rows[i].Ratio <= bar
		}
	}
	return rows, nil
}

// quietCell repeats a cell that others disturbed, and keeps the quietest when
// none was quiet.
func (b *bench) quietCell(ctx context.Context, plan *cellPlan, row *benchRow) (*cellResult, error) {
	var best *cellResult
	for range b.attempts {
		result, err := loadProcess(ctx, plan)
		if err != nil {
			return nil, err
		}
		if best == nil || result.Foreign < best.Foreign {
			best = result
		}
		if best.Foreign <= maxForeign {
			return best, nil
		}
		row.Rejected++
	}
	row.Noisy = true
	return best, nil
}

// loadProcess runs one cell in a process of its own.
func loadProcess(ctx context.Context, plan *cellPlan) (*cellResult, error) {
	raw, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var out, complaint bytes.Buffer
	cmd := selfCommand(ctx, self, "bench-load")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(raw), &out, &complaint
	if err := startPinned(cmd, loadCPU); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	var result cellResult
	return &result, json.Unmarshal(out.Bytes(), &result)
}

// medianCell takes the median of each figure by itself.
func medianCell(cells []*cellResult) cellResult {
	median := func(field func(*cellResult) float64) float64 {
		values := make([]float64, len(cells))
		for i, c := range cells {
			values[i] = field(c)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return cellResult{
		Operations: int(median(func(c *cellResult) float64 { return float64(c.Operations) })),
		CPU:        median(func(c *cellResult) float64 { return c.CPU }),
		Rate:       median(func(c *cellResult) float64 { return c.Rate }),
		P50:        median(func(c *cellResult) float64 { return c.P50 }),
		P99:        median(func(c *cellResult) float64 { return c.P99 }),
		Foreign:    median(func(c *cellResult) float64 { return c.Foreign }),
	}
}

func (r *benchReport) table(io stdio) error {
	t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "operation\ttarget\tCPU µs/op\tratio\tbar\tops/s\tp50 ms\tp99 ms\tforeign\trejected\t")
	for _, r := range r.Rows {
		bar := "-"
		if r.Bar > 0 {
			bar = fmt.Sprintf("≤ %.1f missed", r.Bar)
			if r.Met {
				bar = fmt.Sprintf("≤ %.1f met", r.Bar)
			}
		}
		noisy := ""
		if r.Noisy {
			noisy = "!"
		}
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.2f\t%s\t%.0f\t%.3f\t%.3f\t%.2f%s\t%d\t\n", r.Operation, r.Target, r.CPU, r.Ratio, bar, r.Rate, r.P50, r.P99, r.Foreign, noisy, r.Rejected)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "\n%d agents, medians of %d cells of %.1f s; fsync p50 %.2f ms, p99 %.2f ms; %d CPUs, %s\n",
		r.Connections, r.Repeat, r.Window, r.SyncP50, r.SyncP99, r.CPUs, map[bool]string{true: "pinned", false: "NOT pinned: one CPU only"}[r.Pinned])
	_, err := fmt.Fprintln(io.Out, "ratio: CPU to the reverse proxy's; foreign: cores used by other programs, ! above 0.3 in every attempt")
	return err
}

// addr is host and port of the child's server.
func (c *child) addr() string {
	if u, err := url.Parse(c.url); err == nil {
		return u.Host
	}
	return ""
}
