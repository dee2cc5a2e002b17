package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/ostiary/ostiary/conformance/tasks"
)

// taskTool is one of the tools of our fixture for tasks.
const taskTool = "greet"

// taskSet are the suite's scenarios of the Tasks extension (SEP-2663). In the
// set of the revision the suite runs them against a fixture that has no tasks;
// here they run against ours, and count. tasks-status-notifications is not
// among them: in this version of the suite it checks nothing.
var taskSet = revision{name: "2026-07-28 tasks", upstream: "tasks", extra: []string{
	"tasks-lifecycle", "tasks-capability-negotiation", "tasks-wire-fields", "tasks-request-state-removal", "tasks-mrtr-input",
	"tasks-request-headers", "tasks-dispatch-and-envelope", "tasks-required-task-error", "tasks-mrtr-composition",
}}

// officialTasks runs taskSet against the fixture and through a gateway of its
// own, once for each run, and adds the results to report. dir is for its files.
func officialTasks(ctx context.Context, o OfficialOptions, t *tools, who *person, dir string, report *Report) (err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("fixture for tasks: %w", err)
	}
	fixture := tasks.New(time.Second)
	server := &http.Server{Handler: fixture, ReadHeaderTimeout: startTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		closing := server.Close()
		fixture.Close()
		if serving := <-served; !errors.Is(serving, http.ErrServerClosed) {
			closing = errors.Join(closing, serving)
		}
		err = errors.Join(err, closing)
	}()
	direct := localhost(l.Addr().String()) + "/mcp"
	gateway, err := startGateway(ctx, o.Program, filepath.Join(dir, "tasks"), o.Merged, map[string]string{taskSet.upstream: direct}, taskTool, who)
	if err != nil {
		return err
	}
	defer gateway.stop()
	through := localhost(gateway.addr) + "/mcp"
	if !o.Merged {
		through += "/" + taskSet.upstream
	}
	for n := range max(o.Repeat, 1) {
		out := filepath.Join(dir, fmt.Sprintf("out-%d-tasks", n))
		d, err := t.runScenarios(ctx, direct, taskSet.extra, "", out+"-direct")
		if err != nil {
			return err
		}
		g, err := t.runScenarios(ctx, through, taskSet.extra, gateway.bearer, out+"-through")
		if err != nil {
			return err
		}
		report.add(taskSet, nil, d, g)
		logRun(o.Log, n, o.Repeat, taskSet.name, report.Score(taskSet.name))
	}
	return nil
}

// logRun says how one run of a set ended.
func logRun(log io.Writer, n, repeat int, set, score string) {
	fmt.Fprintf(log, "run %d of %d, %s: %s\n", n+1, max(repeat, 1), set, score)
}
