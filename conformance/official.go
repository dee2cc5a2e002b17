package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// OfficialOptions say what the public suite runs against. The zero value is
// refused: name Program or Gateway.
type OfficialOptions struct {
	// Program is the ostiary binary to start, with a catalog of two upstreams,
	// legacy and modern.
	Program string

	// Gateway is the URL of a gateway that runs already, with {upstream} in
	// the place of legacy and modern: http://localhost:8080/mcp/{upstream}.
	// Program is not started then.
	Gateway string

	// Legacy and Modern are the URLs of fixtures that run already; "" starts
	// them. With Gateway, "" leaves the direct column out.
	Legacy, Modern string

	// Bearer is sent to a Gateway (never to a fixture).
	Bearer string

	// SignIn starts gateways that ask for sign-in: a scripted person signs in
	// and approves, everything goes with the token that comes of it, and the
	// suite's checks of authorization servers run first.
	SignIn bool

	// Merged runs through /mcp with an empty prefix, one gateway for each
	// upstream, instead of /mcp/{upstream}.
	Merged bool

	// Crossed runs each revision's set through the upstream of the other era,
	// through the gateway alone. What is to pass then, Differences says.
	Crossed bool

	// Repeat runs everything so many times and asks for the same result each
	// time; 0 is 1.
	Repeat int

	// Cache is where tools are installed; "" = OSTIARY_TOOLS, else the user's.
	Cache string

	// Log gets one line for each run; nil = silence.
	Log io.Writer
}

// Official runs the public conformance suite, both revisions' required sets
// and three scenarios more, directly against the fixture and through a
// gateway; through a gateway that it starts, those of the Tasks extension too.
// With SignIn that gateway lets in who has signed in, and the suite's checks of
// authorization servers run as well. The error says why it could not be run;
// what failed is in the Report. It starts processes and has ended them when it returns.
func Official(ctx context.Context, o OfficialOptions) (Report, error) {
	if o.Program == "" && o.Gateway == "" {
		return Report{}, errors.New("conformance: neither a program nor a gateway is named; give --gateway URL or the path of an ostiary binary")
	}
	if o.Gateway != "" && !o.Merged && !strings.Contains(o.Gateway, "{upstream}") {
		return Report{}, fmt.Errorf("conformance: gateway %q lacks {upstream}; for example http://localhost:8080/mcp/{upstream}", o.Gateway)
	}
	if o.Crossed && o.Merged {
		return Report{}, errors.New("conformance: crossed and merged don't go together; run one after the other")
	}
	if o.Crossed && o.SignIn {
		return Report{}, errors.New("conformance: crossed and signing in don't go together; run one after the other")
	}
	if o.SignIn && o.Gateway != "" {
		return Report{}, errors.New("conformance: signing in is for a gateway that is started here; for one that runs, give its token")
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	fmt.Fprintln(o.Log, "looking for the suite; installed once")
	t, err := install(ctx, o.Cache)
	if err != nil {
		return Report{}, err
	}
	return official(ctx, o, t)
}

// official is the run itself, with whatever plays the tools.
func official(ctx context.Context, o OfficialOptions, t *tools) (_ Report, err error) {
	dir, err := os.MkdirTemp("", "ostiary-conformance-")
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var started []*process
	defer func() {
		for _, p := range slices.Backward(started) { // the gateway first, then its upstreams
			p.stop()
		}
	}()

	// Upstreams.
	direct := map[string]string{legacy: o.Legacy, modern: o.Modern}
	if o.Gateway == "" {
		for _, r := range revisions {
			if direct[r.upstream] != "" {
				continue
			}
			p, err := startFixture(ctx, t.fixture, r)
			if err != nil {
				return Report{}, err
			}
			started = append(started, p)
			direct[r.upstream] = "http://" + p.addr + "/mcp"
		}
	}

	// The gateway: one for both, or in merged mode one for each.
	var who *person
	if o.SignIn {
		if who, err = newPerson(t, dir); err != nil {
			return Report{}, err
		}
	}
	var report Report
	through, bearers := map[string]string{}, map[string]string{}
	switch {
	case o.Gateway != "":
		for _, r := range revisions {
			through[r.upstream], bearers[r.upstream] = strings.ReplaceAll(o.Gateway, "{upstream}", r.upstream), o.Bearer
		}
	case o.Merged:
		for _, r := range revisions {
			p, err := startGateway(ctx, o.Program, filepath.Join(dir, r.upstream), true, map[string]string{r.upstream: direct[r.upstream]}, fixtureTool, who)
			if err != nil {
				return Report{}, err
			}
			started = append(started, p)
			through[r.upstream], bearers[r.upstream] = localhost(p.addr)+"/mcp", p.bearer
		}
	default:
		p, err := startGateway(ctx, o.Program, dir, false, direct, fixtureTool, who)
		if err != nil {
			return Report{}, err
		}
		started = append(started, p)
		for _, r := range revisions {
			through[r.upstream], bearers[r.upstream] = localhost(p.addr)+"/mcp/"+r.upstream, p.bearer
		}
	}

	if o.Crossed {
		through = map[string]string{legacy: through[crossed(legacy)], modern: through[crossed(modern)]}
		clear(direct)
	}
	if who != nil {
		base, _, _ := strings.Cut(through[legacy], "/mcp")
		found, err := who.runAuthorization(ctx, base, filepath.Join(dir, "out-authorization"))
		if err != nil {
			return Report{}, err
		}
		report.add(authorizationSet, nil, nil, found)
		logRun(o.Log, 0, 1, authorizationSet.name, report.Score(authorizationSet.name))
	}
	for n := range max(o.Repeat, 1) {
		for _, r := range revisions {
			scored, err := t.required(r.name)
			if err != nil {
				return Report{}, err
			}
			out := filepath.Join(dir, fmt.Sprintf("out-%d-%s", n, r.name))
			var d map[string]Outcome
			if direct[r.upstream] != "" {
				if d, err = t.runSuite(ctx, strings.Replace(direct[r.upstream], "127.0.0.1", "localhost", 1), r, "", out+"-direct"); err != nil {
					return Report{}, err
				}
			}
			g, err := t.runSuite(ctx, through[r.upstream], r, bearers[r.upstream], out+"-through")
			if err != nil {
				return Report{}, err
			}
			report.add(r, scored, d, g)
			logRun(o.Log, n, o.Repeat, r.name, report.Score(r.name))
		}
	}
	if o.Program == "" || o.Gateway != "" || o.Crossed {
		return report, nil
	}
	return report, officialTasks(ctx, o, t, who, dir, &report)
}

// localhost is the origin under the name that the suite's dns-rebinding
// scenario asks for.
func localhost(addr string) string {
	_, port, _ := strings.Cut(addr, ":")
	return "http://localhost:" + port
}
