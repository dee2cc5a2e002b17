package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

const (
	hiddenPairs = 2000 // of one row, unless --pairs says otherwise
	hiddenWarm  = 100  // pairs before, not measured
	hiddenTools = 20   // of each of the two upstreams

	// A classifier that sees one answer's time is right in this share of pairs
	// when it can tell nothing.
	hiddenLow, hiddenHigh = 0.45, 0.55
)

// hiddenRules hide the upstream dark from everybody: once without a look at
// arguments, once for rules that have to be evaluated for each call.
var hiddenRules = map[string]string{
	"by upstream": "package ostiary\n\ndefault allow := false\n\nallow if input.upstream == \"bench\"\n",
	"by argument": "package ostiary\n\ndefault allow := false\n\nallow if {\n\tinput.upstream == \"bench\"\n\tnot input.arguments.forbidden\n}\n",
}

// hiddenRow is how well a hidden tool can be told from one that does not exist
// by the time that the answer takes.
type hiddenRow struct {
	Rules  string  `json:"rules"`
	Agents string  `json:"agents"`
	Pairs  int     `json:"pairs"`
	Hidden float64 `json:"hidden_p50_ms"`
	Absent float64 `json:"absent_p50_ms"`
	AUC    float64 `json:"auc"` // 0.5: nothing can be told
	Met    bool    `json:"met"`
}

// hidden is the part that calls a tool that policy hides, and one that does not
// exist, in pairs of random order.
func (b *bench) hidden(ctx context.Context, dir string, report *benchReport) error {
	upstream, err := startChild(ctx, loadCPU, "bench-upstream", "--tools", fmt.Sprint(hiddenTools))
	if err != nil {
		return err
	}
	defer upstream.stop()
	urls := map[string]string{"bench": upstream.url + "/mcp", "dark": upstream.url + "/mcp"}
	for n, rules := range []string{"by upstream", "by argument"} {
		own := filepath.Join(dir, fmt.Sprint(n))
		policies := filepath.Join(own, "policies")
		if err := os.MkdirAll(policies, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(policies, "hidden.rego"), []byte(hiddenRules[rules]), 0o600); err != nil {
			return err
		}
		gateway, err := startGateway(ctx, own, hiddenTools, urls, "--policies", policies)
		if err != nil {
			return err
		}
		defer gateway.stop()
		for _, modern := range []bool{false, true} {
			row := hiddenRow{Rules: rules, Agents: map[bool]string{false: "legacy", true: "modern"}[modern], Pairs: b.pairs}
			fmt.Fprintf(b.io.Err, "hidden %s, %s agents\n", row.Rules, row.Agents)
			if err := row.measure(ctx, gateway.addr(), modern); err != nil {
				return err
			}
			report.Hidden = append(report.Hidden, row)
		}
	}
	return nil
}

// measure asks in pairs over one connection. The answers have to be the same
// bytes but for the name that was asked for.
func (r *hiddenRow) measure(ctx context.Context, addr string, modern bool) error {
	names := [2]string{"dark__echo", "dusk__echo"} // one exists
	var agents [2]*benchAgent
	for i, name := range names {
		a := &benchAgent{plan: &cellPlan{Addr: addr, Modern: modern, Tool: name}}
		if err := a.open(); err != nil {
			return err
		}
		defer a.conn.Close()
		agents[i] = a
	}
	agents[1].conn.Close() // both ask over one connection, in one session
	agents[1].conn, agents[1].in = agents[0].conn, agents[0].in
	agents[1].session = agents[0].session
	agents[1].encodeRequest()
	var times [2][]float64
	var answers [2][]byte
	for n := range hiddenWarm + r.Pairs {
		for _, i := range rand.Perm(2) {
			if err := ctx.Err(); err != nil {
				return err
			}
			began := time.Now()
			if err := agents[i].exchange(agents[i].request); err != nil {
				return err
			}
			took := time.Since(began)
			if n >= hiddenWarm {
				times[i] = append(times[i], float64(took)/1e6)
			}
			answers[i] = bytes.ReplaceAll(agents[i].body.Bytes(), []byte(names[i]), []byte("NAME"))
		}
		if !bytes.Equal(answers[0], answers[1]) {
			return fmt.Errorf("a hidden tool answers otherwise than one that does not exist: %.200s and %.200s", answers[0], answers[1])
		}
	}
	r.AUC = areaUnderCurve(times[0], times[1])
	r.Met = r.AUC >= hiddenLow && r.AUC <= hiddenHigh
	for i, p50 := range []*float64{&r.Hidden, &r.Absent} {
		slices.Sort(times[i])
		*p50 = times[i][len(times[i])/2]
	}
	return nil
}

// areaUnderCurve is the share of all pairs of an a and a b in which a is the
// larger one, equal ones half (Mann and Whitney's U, over the number of pairs).
func areaUnderCurve(a, b []float64) float64 {
	b = slices.Sorted(slices.Values(b))
	sum := 0.0
	for _, x := range a {
		below, _ := slices.BinarySearch(b, x)
		equal := 0
		for below+equal < len(b) && b[below+equal] == x {
			equal++
		}
		sum += float64(below) + float64(equal)/2
	}
	return sum / float64(len(a)) / float64(len(b))
}

func hiddenTable(rows []hiddenRow, io stdio) error {
	t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nhidden\tagents\tpairs\thidden p50 ms\tabsent p50 ms\tAUC\tbar\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%d\t%.3f\t%.3f\t%.3f\t%.2f-%.2f %s\t\n", r.Rules, r.Agents, r.Pairs, r.Hidden, r.Absent, r.AUC,
			hiddenLow, hiddenHigh, map[bool]string{true: "met", false: "missed"}[r.Met])
	}
	return t.Flush()
}
