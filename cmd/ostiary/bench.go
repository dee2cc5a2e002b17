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
		name: "bench", short: "measure CPU per call and per list, growth with the catalog, bad neighbours",
		long: "Starts a fast echo upstream, a bare reverse proxy and `serve --no-auth` with its durable\n" +
			"audit log in a scratch directory; load and upstream on one CPU, the server under test on\n" +
			"another. Cells during which other programs use more than 0.3 cores are repeated. Takes\n" +
			"some minutes and some hundred MiB of disk. Compare ratios of one run, never figures of two.\n\n" +
			"Parts: calls (CPU per call and per list, to the reverse proxy's); scale (a whole list of\n" +
			"10,000 tools from 100 upstreams per KB served, and a call beside them to one of a single\n" +
			"tool); neighbours (a healthy upstream alone, beside four that are well, and beside one that is\n" +
			"killed, one that hangs, one that answers garbage and one that flaps, in turns); hidden (how\n" +
			"well a hidden tool can be told from an absent one by time: 0.5 is not at all).",
		examples: []string{"ostiary bench", "ostiary bench --part scale", "ostiary bench --cell 500ms --repeat 1", "ostiary bench --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			b := &bench{io: io}
			fs.IntVar(&b.tools, "tools", 500, "`N` tools of the upstream")
			fs.IntVar(&b.upstreams, "upstreams", 100, "`N` upstreams of the scale part, of 100 tools each")
			fs.IntVar(&b.connections, "connections", 16, "`N` agents at once")
			fs.IntVar(&b.repeat, "repeat", 3, "`N` times each cell; medians are shown")
			fs.DurationVar(&b.window, "cell", 1500*time.Millisecond, "`TIME` that one cell measures")
			fs.DurationVar(&b.leadIn, "lead-in", 500*time.Millisecond, "`TIME` of load before it")
			fs.IntVar(&b.attempts, "attempts", 4, "`N` tries of a cell that others disturb")
			fs.StringVar(&b.dir, "dir", "", "`DIR` for scratch files, on the disk to measure (default the system's)")
			fs.IntVar(&b.pairs, "pairs", hiddenPairs, "`N` pairs of calls for each row of the hidden part")
			fs.StringVar(&b.part, "part", "", "`PART` to run: calls, scale, neighbours or hidden (default all)")
			format := formatFlag(fs, "table")
			return func(ctx context.Context, args []string) error {
				if err := noWords("bench", args); err != nil {
					return err
				}
				if b.tools < 1 || b.upstreams < 1 || b.connections < 1 || b.connections > 32 || b.repeat < 1 || b.attempts < 1 || b.pairs < 1 || b.window <= 0 || b.leadIn < 0 {
					return usagef("bench: --tools, --upstreams, --repeat, --attempts, --pairs and --cell are above 0, --connections 1 to 32")
				}
				if b.part != "" && !slices.Contains(benchParts, b.part) {
					return usagef("bench: --part is calls, scale, neighbours or hidden")
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
	upstreams, attempts, pairs int
	window, leadIn             time.Duration
	dir, part                  string
}

// benchParts are the words of --part, in the order in which they run.
var benchParts = []string{"calls", "scale", "neighbours", "hidden"}

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
	PerKB    float64 `json:"cpu_us_per_kb,omitempty"` // of lists: KB of 1000 bytes served
	Ratio    float64 `json:"ratio"`                   // CPU to the yardstick's: the reverse proxy, or as its part says
	Bar      float64 `json:"bar,omitempty"`           // at most this ratio
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

	Neighbours *neighbourRow `json:"neighbours,omitempty"`
	Hidden     []hiddenRow   `json:"hidden,omitempty"`
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

	for _, part := range benchParts {
		if b.part != "" && b.part != part {
			continue
		}
		run := map[string]func(context.Context, string, *benchReport) error{
			"calls": b.calls, "scale": b.scale, "neighbours": b.neighbours, "hidden": b.hidden,
		}[part]
		own := filepath.Join(dir, part)
		if err := os.Mkdir(own, 0o700); err != nil {
			return nil, err
		}
		if err := run(ctx, own, report); err != nil {
			return nil, fmt.Errorf("part %s: %w", part, err)
		}
	}
	return report, nil
}

// calls is the part that compares with a bare reverse proxy.
func (b *bench) calls(ctx context.Context, dir string, report *benchReport) error {
	upstream, err := startChild(ctx, loadCPU, "bench-upstream", "--tools", fmt.Sprint(b.tools))
	if err != nil {
		return err
	}
	defer upstream.stop()
	proxy, err := startChild(ctx, serverCPU, "bench-proxy", "--to", upstream.url)
	if err != nil {
		return err
	}
	defer proxy.stop()
	gateway, err := startGateway(ctx, dir, b.tools, map[string]string{"bench": upstream.url + "/mcp"})
	if err != nil {
		return err
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
			return err
		}
		report.Rows = append(report.Rows, rows...)
	}
	return nil
}

// startGateway starts the real thing over a catalog of these URLs, by name, and
// waits until it lists as many tools as all of them have.
func startGateway(ctx context.Context, dir string, tools int, urls map[string]string, more ...string) (*child, error) {
	catalogDir := filepath.Join(dir, "catalogs")
	if err := os.MkdirAll(catalogDir, 0o700); err != nil {
		return nil, err
	}
	entries := []byte("upstreams:\n")
	for name, url := range urls {
		entries = fmt.Appendf(entries, "  %s:\n    url: %s\n", name, url)
	}
	if err := os.WriteFile(filepath.Join(catalogDir, "bench.yaml"), entries, 0o600); err != nil {
		return nil, err
	}
	gateway, err := startChild(ctx, serverCPU, append([]string{"serve", "--no-auth", "--listen", "127.0.0.1:0", "--log-format", "json",
		"--catalogs", catalogDir, "--data", filepath.Join(dir, "data")}, more...)...)
	if err != nil {
		return nil, err
	}
	// Its upstreams are connected in the background: wait for the first whole list.
	deadline := time.Now().Add(benchStartTime)
	for {
		err := probe(gateway, tools)
		if err == nil {
			return gateway, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			gateway.stop()
			return nil, fmt.Errorf("the gateway does not list the upstreams' tools: %w", err)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func probe(gateway *child, tools int) error {
	a := &benchAgent{plan: &cellPlan{Addr: gateway.addr(), Modern: true, List: true, Tools: tools}}
	if err := a.open(); err != nil {
		return err
	}
	defer a.conn.Close()
	return a.operation()
}

// operation measures all targets, and compares with the reverse proxy.
func (b *bench) operation(ctx context.Context, targets []benchTarget, list bool, ours []int) ([]benchRow, error) {
	name, bar := "tools/call 1 KiB", callBar
	if list {
		name, bar = fmt.Sprintf("tools/list %d", b.tools), listBar
	}
	rows, err := b.measure(ctx, name, targets, cellPlan{Ours: ours, List: list, Tools: b.tools})
	if err != nil {
		return nil, err
	}
	yardstick := rows[slices.IndexFunc(targets, func(t benchTarget) bool { return t.name == proxyName })].CPU
	for i, t := range targets {
		rows[i].Ratio = rows[i].CPU / yardstick
		if t.server == targets[len(targets)-1].server {
			rows[i].Bar, rows[i].Met = bar, rows[i].Ratio <= bar
		}
	}
	return rows, nil
}

// measure gives the medians of every target, each repeat starting with another
// one. The plan says what all have in common.
func (b *bench) measure(ctx context.Context, name string, targets []benchTarget, common cellPlan) ([]benchRow, error) {
	cells := make([][]*cellResult, len(targets))
	rows := make([]benchRow, len(targets))
	for n := range b.repeat {
		for i := range targets {
			i = (i + n) % len(targets)
			t := targets[i]
			fmt.Fprintf(b.io.Err, "%s, %s, %d of %d\n", name, t.name, n+1, b.repeat)
			plan := common
			plan.Addr, plan.PID, plan.Modern, plan.Tool = t.server.addr(), t.server.pid(), t.modern, t.tool
			plan.Connections, plan.LeadIn, plan.Window = b.connections, b.leadIn, b.window
			result, err := b.quietCell(ctx, &plan, &rows[i])
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", name, t.name, err)
			}
			cells[i] = append(cells[i], result)
		}
	}
	for i, t := range targets {
		rows[i].Operation, rows[i].Target, rows[i].cellResult = name, t.name, medianCell(cells[i])
		if common.List {
			rows[i].PerKB = rows[i].CPU / (rows[i].Bytes / 1000)
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
		Bytes:      median(func(c *cellResult) float64 { return c.Bytes }),
		Longest:    median(func(c *cellResult) float64 { return c.Longest }),
	}
}

func (r *benchReport) table(io stdio) error {
	if len(r.Rows) > 0 {
		t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "operation\ttarget\tCPU µs/op\tµs/KB\tratio\tbar\tops/s\tp50 ms\tp99 ms\tforeign\trejected\t")
		for _, r := range r.Rows {
			perKB := "-"
			if r.PerKB > 0 {
				perKB = fmt.Sprintf("%.2f", r.PerKB)
			}
			fmt.Fprintf(t, "%s\t%s\t%.1f\t%s\t%.2f\t%s\t%.0f\t%.3f\t%.3f\t%.2f%s\t%d\t\n", r.Operation, r.Target, r.CPU, perKB, r.Ratio, barWords(r.Bar, r.Met), r.Rate, r.P50, r.P99, r.Foreign, noisyMark(r.Noisy), r.Rejected)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if r.Neighbours != nil {
		if err := r.Neighbours.table(io); err != nil {
			return err
		}
	}
	if r.Hidden != nil {
		if err := hiddenTable(r.Hidden, io); err != nil {
			return err
		}
	}
	fmt.Fprintf(io.Out, "\n%d agents, medians of %d cells of %.1f s; fsync p50 %.2f ms, p99 %.2f ms; %d CPUs, %s\n",
		r.Connections, r.Repeat, r.Window, r.SyncP50, r.SyncP99, r.CPUs, map[bool]string{true: "pinned", false: "NOT pinned: one CPU only"}[r.Pinned])
	_, err := fmt.Fprintln(io.Out, "ratio: CPU to the reverse proxy's (scale: to the one-tool gateway's); foreign: cores used by\nother programs, ! above 0.3 in every attempt")
	return err
}

func barWords(bar float64, met bool) string {
	switch {
	case bar == 0:
		return "-"
	case met:
		return fmt.Sprintf("≤ %.1f met", bar)
	}
	return fmt.Sprintf("≤ %.1f missed", bar)
}

func noisyMark(noisy bool) string {
	if noisy {
		return "!"
	}
	return ""
}

// addr is host and port of the child's server.
func (c *child) addr() string {
	if u, err := url.Parse(c.url); err == nil {
		return u.Host
	}
	return ""
}
