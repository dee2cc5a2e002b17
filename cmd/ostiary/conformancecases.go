package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ostiary/ostiary/conformance/cases"
	"github.com/ostiary/ostiary/store/audit"
)

// casesOptions are the flags of `conformance`.
type casesOptions struct {
	url, recorder, bearer, data, only string
	catalog                           bool
	format                            *format
}

// recorderAddr is where the upstreams of the cases listen by default.
const recorderAddr = "127.0.0.1:8099"

// readyWait is how long the target may take to offer the cases' upstreams.
const readyWait = 30 * time.Second

func conformanceVerb() verb {
	return verb{
		name: "conformance", short: "run the cases of wrong, hostile and broken messages against a running gateway",
		long: "Sends what agents must not send and plays upstreams that misbehave, and judges what the\n" +
			"gateway answers, what reaches the upstreams, what it records (with --data, on the same\n" +
			"machine) and whether it stays well. The gateway needs the upstreams that --catalog\n" +
			"prints and allowedOrigins: [https://allowed.example.com]; nobody else should use it\n" +
			"meanwhile. Exit code 1 if a case fails. `ostiary conformance official` runs the public\nsuite instead.",
		examples: []string{
			"ostiary conformance --catalog > catalogs/conformance.yaml",
			"ostiary conformance --url http://127.0.0.1:8080 --data ./data",
			"ostiary conformance --url http://127.0.0.1:8080 --case A-086 --format json",
		},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			var o casesOptions
			fs.StringVar(&o.url, "url", "", "`URL` of the gateway")
			fs.StringVar(&o.recorder, "recorder", recorderAddr, "`ADDR` where the upstreams of the cases listen")
			fs.StringVar(&o.bearer, "bearer", "", "`TOKEN` to send to the gateway (default $"+tokenVariable+")")
			fs.StringVar(&o.data, "data", "", "data `DIR` of the gateway: judge its records and files, too")
			fs.StringVar(&o.only, "case", "", "only the cases whose `ID` begins so, such as A-086")
			fs.BoolVar(&o.catalog, "catalog", false, "print the catalog file that the gateway needs, and end")
			o.format = formatFlag(fs, "table")
			return func(ctx context.Context, args []string) error {
				if err := noWords("conformance", args); err != nil {
					return err
				}
				return o.run(ctx, io)
			}
		},
	}
}

func (o *casesOptions) run(ctx context.Context, io stdio) error {
	if o.catalog {
		_, err := io.Out.Write(cases.Catalog("http://" + o.recorder))
		return err
	}
	at, err := url.Parse(o.url)
	if o.url == "" || err != nil || at.Host == "" {
		return usagef("conformance: --url is the gateway's, such as http://127.0.0.1:8080; `ostiary conformance official` runs the public suite")
	}
	chosen, err := o.choose()
	if err != nil {
		return err
	}
	if o.data != "" {
		if err := dataExists(o.data); err != nil {
			return err
		}
	}
	upstream := &cases.Recorder{}
	stop, err := serveRecorder(upstream, o.recorder)
	if err != nil {
		return err
	}
	defer stop()
	if token, ok := io.Getenv(tokenVariable); ok && o.bearer == "" {
		o.bearer = token
	}
	target := cases.Target{URL: at.Scheme + "://" + at.Host, Upstream: upstream, Bearer: o.bearer, Data: o.data}
	if o.data != "" {
		target.Records = func(since time.Time) ([]map[string]any, error) { return recordsSince(o.data, since) }
	}
	fmt.Fprintf(io.Err, "the gateway's catalog needs these upstreams, and it allowedOrigins: [https://allowed.example.com]\n\n%s\n", cases.Catalog("http://"+o.recorder))
	if err := waitReady(ctx, target); err != nil {
		return err
	}
	report, err := runCases(ctx, target, chosen, io.Err)
	if err != nil {
		return err
	}
	if o.format.json() {
		err = writeJSON(io.Out, report)
	} else {
		err = report.writeTable(io.Out)
	}
	if err == nil && report.Failed > 0 {
		err = fmt.Errorf("conformance: %s failed; the table says where", plural(report.Failed, "case"))
	}
	return err
}

// choose are the cases that --case names.
func (o *casesOptions) choose() ([]cases.Case, error) {
	all, err := cases.All()
	if err != nil {
		return nil, err
	}
	chosen := slices.DeleteFunc(all, func(c cases.Case) bool { return !strings.HasPrefix(c.Name, o.only) })
	if len(chosen) == 0 {
		return nil, usagef("conformance: no case %q; they are named like A-001 and A-086", o.only)
	}
	return chosen, nil
}

// serveRecorder serves the cases' upstreams until stop is called.
func serveRecorder(upstream http.Handler, addr string) (stop func(), err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("conformance: no upstreams at %s: %w; choose another --recorder and change the catalog", addr, err)
	}
	server := &http.Server{Handler: upstream, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return func() { server.Close(); <-ended }, nil
}

// waitReady waits until every upstream of the cases can be called.
func waitReady(ctx context.Context, target cases.Target) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	for {
		err := cases.Ready(ctx, target)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("conformance: %w; does the gateway's catalog hold what `ostiary conformance --catalog` prints?", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// recordsSince reads the audit log beside the running server.
func recordsSince(dir string, since time.Time) ([]map[string]any, error) {
	var all []map[string]any
	for r, err := range audit.Read(dir) {
		if err != nil {
			return nil, err
		}
		if r.Time.Before(since) {
			continue
		}
		line, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		m, err := cases.Record(line)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// casesReport is the result of a run.
type casesReport struct {
	Passed int            `json:"passed"` // cases
	Failed int            `json:"failed"`
	Steps  []cases.Result `json:"steps"`
	Kept   []string       `json:"kept,omitempty"` // secrets found in the data directory
}

// runCases runs them one after another, with a line each on progress.
func runCases(ctx context.Context, target cases.Target, chosen []cases.Case, progress io.Writer) (*casesReport, error) {
	report := &casesReport{}
	for i, c := range chosen {
		results, err := c.Check(ctx, target)
		if err != nil {
			return nil, err
		}
		word := "ok"
		if slices.ContainsFunc(results, failed) {
			word = "FAILED"
			report.Failed++
		} else {
			report.Passed++
		}
		fmt.Fprintf(progress, "%d of %d, %s: %s, %s\n", i+1, len(chosen), c.Name, plural(len(results), "step"), word)
		report.Steps = append(report.Steps, results...)
	}
	var err error
	if report.Kept, err = cases.Kept(chosen, target); err != nil {
		return nil, errors.Join(errors.New("conformance: the data directory can't be read"), err)
	}
	if len(report.Kept) > 0 {
		report.Failed++
	}
	return report, nil
}

func failed(r cases.Result) bool { return len(r.Problems) > 0 }

// writeTable prints one line for each case, then what failed, with the places
// in the cases' files.
func (r *casesReport) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CASE\tSTEPS\tRESULT")
	for i := 0; i < len(r.Steps); {
		from, bad := i, 0
		for ; i < len(r.Steps) && r.Steps[i].Case == r.Steps[from].Case; i++ {
			if failed(r.Steps[i]) {
				bad++
			}
		}
		word := "ok"
		if bad > 0 {
			word = plural(bad, "step") + " failed"
		}
		fmt.Fprintf(t, "%s\t%d\t%s\n", r.Steps[from].Case, i-from, word)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.Steps {
		if failed(s) {
			fmt.Fprintf(w, "\n%s, %s:\n  %s\n", s.Case, s.Step, strings.Join(s.Problems, "\n  "))
		}
	}
	for _, k := range r.Kept {
		fmt.Fprintf(w, "\n%s\n", k)
	}
	_, err := fmt.Fprintf(w, "\n%s passed, %d failed\n", plural(r.Passed, "case"), r.Failed)
	return err
}
