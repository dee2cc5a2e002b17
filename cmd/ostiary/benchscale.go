package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// The catalog of the scale part.
const (
	scaleTools = 100 // of each upstream

	perKBBar = 1.0 // µs of CPU per KB of a whole list
	scaleBar = 1.1 // CPU per call, with the whole catalog to with one tool
)

// scale is the part that shows what a large catalog costs: a whole list by the
// KB, and a call beside the same call with a catalog of one tool.
func (b *bench) scale(ctx context.Context, dir string, report *benchReport) error {
	upstreams, err := startChild(ctx, loadCPU, "bench-upstream", "--tools", fmt.Sprint(scaleTools))
	if err != nil {
		return err
	}
	defer upstreams.stop()
	single, err := startChild(ctx, loadCPU, "bench-upstream", "--tools", "1")
	if err != nil {
		return err
	}
	defer single.stop()
	tools := b.upstreams * scaleTools
	urls := make(map[string]string, b.upstreams)
	for n := range b.upstreams {
		name := fmt.Sprintf("up%d", n)
		urls[name] = upstreams.url + "/" + name + "/mcp"
	}
	large, err := startGateway(ctx, filepath.Join(dir, "large"), tools, urls)
	if err != nil {
		return err
	}
	defer large.stop()
	small, err := startGateway(ctx, filepath.Join(dir, "small"), 1, map[string]string{"up0": single.url + "/mcp"})
	if err != nil {
		return err
	}
	defer small.stop()

	targets := []benchTarget{
		{"one tool, legacy agents", small, false, "up0__echo"},
		{"one tool, modern agents", small, true, "up0__echo"},
		{fmt.Sprintf("%d tools, legacy agents", tools), large, false, "up0__echo"},
		{fmt.Sprintf("%d tools, modern agents", tools), large, true, "up0__echo"},
	}
	ours := []int{os.Getpid(), upstreams.pid(), single.pid(), large.pid(), small.pid()}
	calls, err := b.measure(ctx, "tools/call 1 KiB", targets, cellPlan{Ours: ours})
	if err != nil {
		return err
	}
	lists, err := b.measure(ctx, fmt.Sprintf("tools/list %d", tools), targets[2:], cellPlan{Ours: ours, List: true, Tools: tools})
	if err != nil {
		return err
	}
	for i := range calls {
		calls[i].Ratio = calls[i].CPU / calls[i%2].CPU // that of the same era
		if i >= 2 {
			calls[i].Bar, calls[i].Met = scaleBar, calls[i].Ratio <= scaleBar
		}
	}
	for i := range lists {
		lists[i].Ratio = lists[i].PerKB
		lists[i].Bar, lists[i].Met = perKBBar, lists[i].PerKB <= perKBBar
	}
	report.Rows = append(append(report.Rows, calls...), lists...)
	return nil
}
