package main

import (
	"context"
	"fmt"
	"maps"
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

// neighbourRow is what the healthy upstream's callers notice when the four
// others of five fall ill. The bar compares five of which four are ill with the
// same five all well, called in the same way; alone says what neighbours cost
// at all.
type neighbourRow struct {
	Pairs      int        `json:"pairs"`
	Alone      cellResult `json:"alone"`       // medians
	BesideWell cellResult `json:"beside_well"` // medians
	Beside     cellResult `json:"beside"`      // medians, but the longest list of all
	P50Ratio   float64    `json:"p50_ratio"`   // beside ill ones to beside well ones; median of the pairs' own ratios
	P99Ratio   float64    `json:"p99_ratio"`
	P99Alone   float64    `json:"p99_ratio_alone"` // beside ill ones to alone
	Bar        float64    `json:"bar"`             // of P99Ratio
	Met        bool       `json:"met"`
	ListBar    float64    `json:"list_bar_ms"`
	ListMet    bool       `json:"list_met"`
	Rejected   int        `json:"rejected"`
	Noisy      bool       `json:"noisy"`

	alone, well, ill []*cellResult
}

// neighbourhood is one gateway of the part and what is called through it.
type neighbourhood struct {
	gateway *child
	tools   int
	suffer  []string // tools of the four others that are called beside the cell
	cells   *[]*cellResult
}

// neighbours is the part that runs three gateways in turns: one with a healthy
// upstream alone, one with four more that are well, and one with four that are
// ill. The four are called, too, in the same way.
func (b *bench) neighbours(ctx context.Context, dir string, report *benchReport) error {
	tools := fmt.Sprint(neighbourTools)
	children := map[string]*child{}
	for name, verb := range map[string]string{"healthy": "bench-upstream", "killed": "bench-upstream", "well": "bench-ill", "ill": "bench-ill"} {
		c, err := startChild(ctx, loadCPU, verb, "--tools", tools)
		if err != nil {
			return err
		}
		defer c.stop()
		children[name] = c
	}
	healthy := map[string]string{"healthy": children["healthy"].url + "/mcp"}
	well, ill := maps.Clone(healthy), maps.Clone(healthy)
	var suffer []string
	for _, name := range append(slices.Clone(illnesses), "killed") {
		well[name] = children["well"].url + "/" + name + "/mcp"
		ill[name] = children["ill"].url + "/" + name + "/mcp"
		suffer = append(suffer, name+"__echo")
	}
	ill["killed"] = children["killed"].url + "/mcp"

	row := &neighbourRow{Pairs: neighbourPairs * b.repeat, Bar: neighbourBar, ListBar: longestListBar}
	houses := []*neighbourhood{
		{tools: neighbourTools, cells: &row.alone},
		{tools: 5 * neighbourTools, suffer: suffer, cells: &row.well},
		{tools: 5 * neighbourTools, suffer: suffer, cells: &row.ill},
	}
	ours := []int{os.Getpid()}
	for n, urls := range []map[string]string{healthy, well, ill} {
		g, err := startGateway(ctx, filepath.Join(dir, []string{"alone", "well", "ill"}[n]), houses[n].tools, urls)
		if err != nil {
			return err
		}
		defer g.stop()
		houses[n].gateway = g
		ours = append(ours, g.pid())
	}
	if err := fallIll(ctx, children["killed"], children["ill"].url); err != nil {
		return err
	}
	for name, c := range children {
		if name != "killed" {
			ours = append(ours, c.pid())
		}
	}
	for n := range row.Pairs {
		fmt.Fprintf(b.io.Err, "bad neighbours, %d of %d\n", n+1, row.Pairs)
		for turn := range houses {
			h := houses[(n+turn)%len(houses)] // each round begins with another one
			plan := cellPlan{
				Ours: ours, Modern: true, Tool: "healthy__echo", Addr: h.gateway.addr(), PID: h.gateway.pid(),
				Suffer: h.suffer, Lists: h.tools, Connections: neighbourAgents, LeadIn: b.leadIn, Window: b.window,
			}
			var tries benchRow
			result, err := b.quietCell(ctx, &plan, &tries)
			if err != nil {
				return err
			}
			row.Rejected += tries.Rejected
			row.Noisy = row.Noisy || tries.Noisy
			*h.cells = append(*h.cells, result)
		}
	}
	row.finish()
	report.Neighbours = row
	return nil
}

// fallIll makes four of five upstreams, all well and listed so far, ill.
func fallIll(ctx context.Context, killed *child, illURL string) error {
	if err := killed.cmd.Process.Kill(); err != nil {
		return err
	}
	<-killed.ended
	fall, err := http.NewRequestWithContext(ctx, http.MethodGet, illURL+"/fall", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(fall)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// finish makes the figures of the cells.
func (r *neighbourRow) finish() {
	r.Alone, r.BesideWell, r.Beside = medianCell(r.alone), medianCell(r.well), medianCell(r.ill)
	ratio := func(to []*cellResult, figure func(*cellResult) float64) float64 {
		all := make([]float64, len(to))
		for i := range all {
			all[i] = figure(r.ill[i]) / figure(to[i])
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	p99 := func(c *cellResult) float64 { return c.P99 }
	r.P50Ratio = ratio(r.well, func(c *cellResult) float64 { return c.P50 })
	r.P99Ratio, r.P99Alone = ratio(r.well, p99), ratio(r.alone, p99)
	for _, c := range r.ill {
		r.Beside.Longest = max(r.Beside.Longest, c.Longest)
	}
	r.Met, r.ListMet = r.P99Ratio <= r.Bar, r.Beside.Longest <= r.ListBar
}

func (r *neighbourRow) table(io stdio) error {
	t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nbad neighbours\tops/s\tp50 ms\tp99 ms\tp99 ratio\tbar\tlongest list ms\tbar\tforeign\trejected\t")
	plain := func(name string, c *cellResult) {
		fmt.Fprintf(t, "%s\t%.0f\t%.3f\t%.3f\t-\t-\t%.1f\t-\t%.2f\t\t\n", name, c.Rate, c.P50, c.P99, c.Longest, c.Foreign)
	}
	plain("healthy alone", &r.Alone)
	plain("beside four well ones", &r.BesideWell)
	fmt.Fprintf(t, "beside four ill ones\t%.0f\t%.3f\t%.3f\t%.2f\t%s\t%.1f\t%s\t%.2f%s\t%d\t\n", r.Beside.Rate, r.Beside.P50, r.Beside.P99,
		r.P99Ratio, barWords(r.Bar, r.Met), r.Beside.Longest, barWords(r.ListBar, r.ListMet), r.Beside.Foreign, noisyMark(r.Noisy), r.Rejected)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(io.Out, "ratios to beside four well ones, p50 %.2f; p99 to alone %.2f; %d agents, medians of %d rounds in\nturns; one killed, one hangs, one answers garbage, one flaps each %v\n",
		r.P50Ratio, r.P99Alone, neighbourAgents, r.Pairs, flapTime)
	return err
}

// flapTime is how long the flapping upstream is well, and then ill.
const flapTime = time.Second
