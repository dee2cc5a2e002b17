package cases

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Target is a gateway under test. What it does not name is not judged.
type Target struct {
	URL      string       // its origin, without a path
	Upstream *Recorder    // behind the upstreams of Catalog
	Client   *http.Client // for what is not under test; nil = http.DefaultClient
	Bearer   string       // sent with every request that names no Authorization; "" = none

	// Records are the audit records written at or after a moment, oldest first,
	// as the lines of the log have them.
	Records func(since time.Time) ([]map[string]any, error)

	Log  func() string // all that the target logged so far
	Data string        // its data directory

	patience time.Duration // for records to appear and upstreams to recover; 0 = recordTime and settleBound
}

// Result is one step's verdict.
type Result struct {
	Case     string   `json:"case"`
	Step     string   `json:"step"`
	Line     int      `json:"line"` // of the step in the case's file
	Problems []string `json:"problems,omitempty"`
}

// Run runs every case that keep keeps (nil = all) as a subtest.
func Run(t *testing.T, target Target, keep func(Case) bool) {
	t.Helper()
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	var ran []Case
	for _, c := range all {
		if keep != nil && !keep(c) {
			continue
		}
		ran = append(ran, c)
		t.Run(c.Name, func(t *testing.T) {
			results, err := c.Check(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				t.Run(r.Step, func(t *testing.T) {
					for _, p := range r.Problems {
						t.Error(p)
					}
				})
			}
		})
	}
	t.Run("no secret is kept", func(t *testing.T) {
		problems, err := Kept(ran, target)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Error(p)
		}
	})
}

// Raw tells whether a case needs a connection of its own: it sends what no
// HTTP client would.
func (c Case) Raw() bool {
	for _, s := range c.Steps {
		if s.Raw {
			return true
		}
	}
	return false
}

// runner is one case being run.
type runner struct {
	Target
	c     Case
	at    *url.URL
	vars  map[string]string
	began time.Time
	log   int // bytes logged before

	mu   sync.Mutex
	open map[string]string // legacy sessions by upstream
}

// Check runs one case. The error says why it could not be run; what the target
// did wrong is in the results. Cases of one Recorder run one after another.
func (c Case) Check(ctx context.Context, target Target) ([]Result, error) {
	at, err := url.Parse(target.URL)
	if err != nil {
		return nil, err
	}
	if target.Client == nil {
		target.Client = http.DefaultClient
	}
	_, port, _ := strings.Cut(at.Host, ":")
	r := &runner{Target: target, c: c, at: at, vars: map[string]string{"HOST": at.Host, "PORT": port}, open: map[string]string{}, began: time.Now()}
	if r.Log != nil {
		r.log = len(r.Log())
	}
	if c.Session != "" {
		if r.vars["SESSION"], err = r.openSession(ctx, plain, c.Session); err != nil {
			return nil, fmt.Errorf("case %s: session: %w", c.Name, err)
		}
	}
	first, err := r.alive(ctx)
	if err != nil {
		return nil, fmt.Errorf("case %s: the target does not answer: %w", c.Name, err)
	}
	outcomes := make([]*outcome, len(c.Steps))
	results := make([]Result, len(c.Steps))
	marks := make([]string, len(c.Steps)) // of the probe behind each step
	for from, to := 0, 0; from < len(c.Steps); from = to {
		// Steps of one section are one call to several upstreams: at once.
		for to = from; to < len(c.Steps) && c.Steps[to].Line == c.Steps[from].Line; to++ {
		}
		var work sync.WaitGroup
		for i := from; i < to; i++ {
			work.Go(func() {
				s := c.Steps[i]
				results[i] = Result{Case: c.Name, Step: s.Name, Line: s.Line}
				var err error
				if outcomes[i], err = r.step(ctx, s); err == nil {
					err = r.settle(ctx, s)
				}
				if err != nil {
					results[i].Problems = append(results[i].Problems, r.place(s.Line)+err.Error())
				}
			})
		}
		work.Wait()
		mark, err := r.alive(ctx)
		if err != nil {
			results[from].Problems = append(results[from].Problems, r.place(c.Steps[from].Line)+"the target does not answer afterwards: "+err.Error())
		}
		for i := from; i < to; i++ {
			marks[i] = mark
		}
	}
	if err := r.audit(ctx, first, marks, outcomes); err != nil {
		return nil, fmt.Errorf("case %s: audit records: %w", c.Name, err)
	}
	for i, s := range c.Steps {
		if o := outcomes[i]; o != nil {
			results[i].Problems = append(results[i].Problems, r.verdict(s, o)...)
		}
	}
	if len(results) > 0 {
		last := &results[len(results)-1]
		last.Problems = append(last.Problems, r.leaks(outcomes)...)
	}
	return results, nil
}

// place is where a line of the case stands.
func (r *runner) place(line int) string {
	return fmt.Sprintf("%s%s.txtar:%d: ", folder, r.c.Name, line)
}

// verdict judges a step with everything that is known about it.
func (r *runner) verdict(s Step, o *outcome) []string {
	var problems []string
	for _, p := range judge(o, r.expected(s)) {
		problems = append(problems, r.place(p.Number)+p.Text)
	}
	if len(problems) > 0 {
		problems = append(problems, fmt.Sprintf("the answer was %d %.300s", o.status, o.message()))
		if o.audited {
			problems = append(problems, fmt.Sprintf("the records were %.900s", o.shown()))
		}
	}
	for _, p := range o.trouble {
		problems = append(problems, r.place(s.Line)+p)
	}
	return problems
}

// expected are a step's expectations with variables in place.
func (r *runner) expected(s Step) [][]Line {
	expect := make([][]Line, len(s.Expect))
	for i, lines := range s.Expect {
		for _, line := range lines {
			for name, value := range r.vars {
				line.Text = strings.ReplaceAll(line.Text, "$"+name, value)
			}
			expect[i] = append(expect[i], line)
		}
	}
	return expect
}
