package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

const (
	neighbourTools  = 20 // of each of the five upstreams
	neighbourAgents = 4  // of the healthy one: what is measured is waiting, not a full CPU
	neighbourPairs  = 3  // for each --repeat

	neighbourBar   = 1.1 // p99 of the healthy upstream, beside the four to alone
	longestListBar = 100 // ms
)

// neighbourRow is what the healthy upstream's callers notice of four ill ones.
type neighbourRow struct {
	Pairs       int        `json:"pairs"`
	Alone       cellResult `json:"alone"`     // medians
	Beside      cellResult `json:"beside"`    // medians, but the longest list of all
	P50Ratio    float64    `json:"p50_ratio"` // median of the pairs' own ratios
	P99Ratio    float64    `json:"p99_ratio"`
	Bar         float64    `json:"bar"` // of P99Ratio
	Met         bool       `json:"met"`
	ListBar     float64    `json:"list_bar_ms"`
	ListMet     bool       `json:"list_met"`
	Rejected    int        `json:"rejected"`
	Noisy       bool       `json:"noisy"`
	aloneCells  []*cellResult
	besideCells []*cellResult
}

// neighbours is the part that runs two gateways in turns: one with a healthy
// upstream alone, one where four ill ones stand beside it and are called, too.
func (b *bench) neighbours(ctx context.Context, dir string, report *benchReport) error {
	tools := fmt.Sprint(neighbourTools)
	healthy, err := startChild(ctx, loadCPU, "bench-upstream", "--tools", tools)
	if err != nil {
		return err
	}
	defer healthy.stop()
	killed, err := startChild(ctx, loadCPU, "bench-upstream", "--tools", tools)
	if err != nil {
		return err
	}
	defer killed.stop()
	ill, err := startChild(ctx, loadCPU, "bench-ill", "--tools", tools)
	if err != nil {
		return err
	}
	defer ill.stop()
	alone, err := startGateway(ctx, filepath.Join(dir, "alone"), neighbourTools, map[string]string{"healthy": healthy.url + "/mcp"})
	if err != nil {
		return err
	}
	defer alone.stop()
	urls := map[string]string{"healthy": healthy.url + "/mcp", "killed": killed.url + "/mcp"}
	var suffer []string
	for _, name := range append(illnesses, "killed") {
		if name != "killed" {
			urls[name] = ill.url + "/" + name + "/mcp"
		}
		suffer = append(suffer, name+"__echo")
	}
	beside, err := startGateway(ctx, filepath.Join(dir, "beside"), 5*neighbourTools, urls)
	if err != nil {
		return err
	}
	defer beside.stop()

	// All five were well and listed. Now four fall ill.
	if err := killed.cmd.Process.Kill(); err != nil {
		return err
	}
	<-killed.ended
	fall, err := http.NewRequestWithContext(ctx, http.MethodGet, ill.url+"/fall", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(fall)
	if err != nil {
		return err
	}
	answer.Body.Close()

	row := &neighbourRow{Pairs: neighbourPairs * b.repeat, Bar: neighbourBar, ListBar: longestListBar}
	common := cellPlan{
		Ours: []int{os.Getpid(), healthy.pid(), ill.pid(), alone.pid(), beside.pid()}, Modern: true, Tool: "healthy__echo",
		Lists: neighbourTools, Connections: neighbourAgents, LeadIn: b.leadIn, Window: b.window,
	}
	for n := range row.Pairs {
		fmt.Fprintf(b.io.Err, "bad neighbours, %d of %d\n", n+1, row.Pairs)
		for turn := range 2 {
			plan, cells := common, &row.aloneCells
			plan.Addr, plan.PID = alone.addr(), alone.pid()
			if turn != n%2 { // each pair begins with the other one
				cells, plan.Suffer, plan.Lists = &row.besideCells, suffer, 5*neighbourTools
				plan.Addr, plan.PID = beside.addr(), beside.pid()
			}
			var tries benchRow
			result, err := b.quietCell(ctx, &plan, &tries)
			if err != nil {
				return err
			}
			row.Rejected += tries.Rejected
			row.Noisy = row.Noisy || tries.Noisy
			*cells = append(*cells, result)
		}
	}
	row.finish()
	report.Neighbours = row
	return nil
}

// finish makes the figures of the cells.
func (r *neighbourRow) finish() {
	r.Alone, r.Beside = medianCell(r.aloneCells), medianCell(r.besideCells)
	ratio := func(figure func(*cellResult) float64) float64 {
		all := make([]float64, len(r.aloneCells))
		for i := range all {
			all[i] = figure(r.besideCells[i]) / figure(r.aloneCells[i])
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	r.P50Ratio = ratio(func(c *cellResult) float64 { return c.P50 })
	r.P99Ratio = ratio(func(c *cellResult) float64 { return c.P99 })
	for _, c := range r.besideCells {
		r.Beside.Longest = max(r.Beside.Longest, c.Longest)
	}
	r.Met, r.ListMet = r.P99Ratio <= r.Bar, r.Beside.Longest <= r.ListBar
}

func (r *neighbourRow) table(io stdio) error {
	t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nbad neighbours\tops/s\tp50 ms\tp99 ms\tp99 ratio\tbar\tlongest list ms\tbar\tforeign\trejected\t")
	fmt.Fprintf(t, "healthy alone\t%.0f\t%.3f\t%.3f\t-\t-\t%.1f\t-\t%.2f\t\t\n", r.Alone.Rate, r.Alone.P50, r.Alone.P99, r.Alone.Longest, r.Alone.Foreign)
	fmt.Fprintf(t, "beside four ill ones\t%.0f\t%.3f\t%.3f\t%.2f\t%s\t%.1f\t%s\t%.2f%s\t%d\t\n", r.Beside.Rate, r.Beside.P50, r.Beside.P99,
		r.P99Ratio, barWords(r.Bar, r.Met), r.Beside.Longest, barWords(r.ListBar, r.ListMet), r.Beside.Foreign, noisyMark(r.Noisy), r.Rejected)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.Out, "p50 ratio %.2f; %d agents, medians of %d pairs in turns; one killed, one hangs, one answers\ngarbage, one flaps each %v\n", r.P50Ratio, neighbourAgents, r.Pairs, flapTime)
	return err
}

// flapTime is how long the flapping upstream is well, and then ill.
const flapTime = time.Second
