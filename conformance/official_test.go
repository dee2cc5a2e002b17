package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMain lets this binary play the programs that an official run starts, so
// that the run itself is tested with real processes and without Node.
func TestMain(m *testing.M) {
	if os.Getenv("OSTIARY_CONFORMANCE_ROLES") == "" {
		os.Exit(m.Run())
	}
	if err := play(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// play tells the roles apart by their arguments.
func play(args []string) error {
	switch {
	case len(args) > 0 && args[0] == "serve":
		return playGateway(args[1:])
	case len(args) > 1 && args[1] == "server":
		return playSuite(args[2:])
	case len(args) > 1 && args[1] == "authorization":
		return playAuthorization(args[2:])
	case len(args) > 1 && (args[0] == "user" || args[0] == "client") && args[1] == "add":
		return playAdd(args[0], args[2:])
	case len(args) == 3 && filepath.Base(args[0]) == "browser.mjs":
		resp, err := http.Get(args[2])
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	return playFixture(args)
}

// playFixture lists one tool and counts nothing.
func playFixture(args []string) error {
	flags := flag.NewFlagSet("fixture", flag.ContinueOnError)
	addr, stateless := flags.String("http", "", ""), flags.Bool("stateless", true, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return http.ListenAndServe(*addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"tools":[{"name":"test_simple_text"}],"stateless":%t,"authorization":%q}`, *stateless, r.Header.Get("Authorization"))
	}))
}

// playGateway relays to the upstreams of its catalog.
func playGateway(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	noAuth, data := flags.Bool("no-auth", false, ""), flags.String("data", "", "")
	listen, catalogs := flags.String("listen", "", ""), flags.String("catalogs", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(*catalogs, "conformance.yaml"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for _, m := range regexp.MustCompile(`(?m)^  (\w+):\n    title: .*\n    url: (.*)\n(    prefix: "")?`).FindAllStringSubmatch(string(b), -1) {
		to, err := url.Parse(m[2])
		if err != nil {
			return err
		}
		path := "/mcp/" + m[1]
		if m[3] != "" {
			path = "/mcp"
		}
		mux.Handle(path, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = to }})
	}
	if *noAuth {
		return http.ListenAndServe(*listen, mux)
	}
	return http.ListenAndServe(*listen, playSignIn(mux, *data))
}

// theToken is what playSignIn's tokens are.
const theToken = "a-token"

// playSignIn lets in who has a token, and gives one for every code, without a
// page in between, if the user and the client were added.
func playSignIn(behind http.Handler, data string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/oauth/authorize", func(w http.ResponseWriter, r *http.Request) {
		for _, kind := range []string{"user", "client"} {
			if _, err := os.Stat(filepath.Join(data, kind)); err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
				return
			}
		}
		q := r.URL.Query()
		http.Redirect(w, r, q.Get("redirect_uri")+"?code="+q.Get("code_challenge")+"&state="+q.Get("state"), http.StatusSeeOther)
	})
	mux.HandleFunc("/oauth/token", func(w http.ResponseWriter, r *http.Request) {
		proof := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if r.FormValue("code") != base64.RawURLEncoding.EncodeToString(proof[:]) {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q}`, theToken)
	})
	mux.HandleFunc("/mcp/", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+theToken {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		behind.ServeHTTP(w, r)
	})
	return mux
}

// playAdd leaves a mark in the data directory.
func playAdd(kind string, args []string) error {
	i := slices.Index(args, "--data")
	if err := os.MkdirAll(args[i+1], 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(args[i+1], kind), nil, 0o600)
}

// playAuthorization prints an address to sign in at and waits for the answer,
// as the suite does.
func playAuthorization(args []string) error {
	flags := flag.NewFlagSet("authorization", flag.ContinueOnError)
	flags.String("resource", "", "")
	target, id, port, out := flags.String("url", "", ""), flags.String("client-id", "", ""), flags.String("port", "", ""), flags.String("o", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+*port)
	if err != nil {
		return err
	}
	fmt.Printf("Access the following URL in your browser\n%s/oauth/authorize?response_type=code&client_id=%s&redirect_uri=%s\n",
		*target, *id, url.QueryEscape("http://127.0.0.1:"+*port+"/callback"))
	c, err := l.Accept()
	if err != nil {
		return err
	}
	// An answer that comes before its request is none.
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return err
	}
	fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	if err := c.Close(); err != nil {
		return err
	}
	return resultsOf("authorization-server", *out, map[string]string{
		"authorization-server-metadata-endpoint": "SUCCESS", "authorization-code-grant": "SUCCESS",
	})
}

// playSuite asks the server what it is and writes results as the suite does.
// A scenario passes when the server is of the right kind; "flaky" fails the
// second time through a gateway.
func playSuite(args []string) error {
	flags := flag.NewFlagSet("suite", flag.ContinueOnError)
	target, requirements, out := flags.String("url", "", ""), flags.String("requirements", "", ""), flags.String("o", "", "")
	scenario, force := flags.String("scenario", "", ""), flags.Bool("force", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *scenario != "" { // of an extension: skipped unless forced
		if err := lists(context.Background(), *target, os.Getenv("OSTIARY_CONFORMANCE_BEARER"), taskTool); err != nil {
			return err
		}
		return results(*out, map[string]string{*scenario: map[bool]string{true: "SUCCESS", false: "SKIPPED"}[*force]})
	}
	req, err := http.NewRequest(http.MethodPost, *target, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	if token := os.Getenv("OSTIARY_CONFORMANCE_BEARER"); token != "" { // as preload.mjs does
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var says struct{ Stateless bool }
	if err := json.Unmarshal(body, &says); err != nil {
		return err
	}
	status := func(ok bool) string {
		if ok {
			return "SUCCESS"
		}
		return "FAILURE"
	}
	all := map[string]string{
		"right-era": status(says.Stateless == (*requirements == "2026-07-28")),
		"unscored":  status(!strings.Contains(*out, "through")),
	}
	all["flaky"] = status(!strings.Contains(*out, "out-1-2026-07-28-through"))
	for _, name := range revisions[1].extra {
		all[name] = "SUCCESS"
	}
	if err := results(*out, all); err != nil {
		return err
	}
	os.Exit(1) // as the suite does whenever anything failed
	return nil
}

// results writes the status of each scenario's one check into dir, as the suite
// does.
func results(dir string, all map[string]string) error { return resultsOf("server", dir, all) }

func resultsOf(mode, dir string, all map[string]string) error {
	for name, s := range all {
		folder := filepath.Join(dir, mode+"-"+name+"-2026-11-24T13-31-27-997Z")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		checks := fmt.Sprintf(`[{"id":"the-check","status":%q,"errorMessage":"what went wrong"},{"id":"n","status":"INFO"}]`, s)
		if err := os.WriteFile(filepath.Join(folder, "checks.json"), []byte(checks), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// roles are tools that are all this binary.
func roles(t *testing.T, scenarios string) *tools {
	t.Helper()
	t.Setenv("OSTIARY_CONFORMANCE_ROLES", "1")
	pinned := t.TempDir()
	for _, r := range revisions {
		list := "# frozen\n\nserver:\n" + scenarios + "client:\n  - tools_call\nnot_scored:\n  - scenario: unscored\n"
		if err := os.WriteFile(filepath.Join(pinned, r.name+".yaml"), []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &tools{node: os.Args[0], suite: "index.js", fixture: os.Args[0], pinned: pinned}
}

func TestOfficialRunsBothRevisionsDirectAndThrough(t *testing.T) {
	for _, merged := range []bool{false, true} {
		t.Run(fmt.Sprintf("merged=%t", merged), func(t *testing.T) {
			tl := roles(t, "  - right-era\n")
			var log bytes.Buffer
			report, err := official(t.Context(), OfficialOptions{Program: os.Args[0], Merged: merged, Log: &log}, tl)
			if err != nil {
				t.Fatal(err)
			}
			if !report.OK() {
				t.Errorf("not OK: %+v", report)
			}
			if got, want := report.Score("2025-11-25"), "1/1 direct, 1/1 through the gateway"; got != want {
				t.Errorf("score %q, want %q", got, want)
			}
			if got, want := report.Score("2026-07-28"), "1/1+3/3 direct, 1/1+3/3 through the gateway"; got != want {
				t.Errorf("score %q, want %q: our three extra scenarios count", got, want)
			}
			if got, want := report.Score(taskSet.name), "9/9 direct, 9/9 through the gateway"; got != want {
				t.Errorf("score %q, want %q", got, want)
			}
			var table bytes.Buffer
			if err := report.WriteTable(&table); err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{
				`2025-11-25 +right-era +ok 1 +ok 1`,
				`2026-07-28 +http-header-validation +ok 1 +ok 1 +extra`,
				`2026-07-28 +unscored +ok 1 +FAIL 1 of 1 +not scored; worse than direct`,
				`2026-07-28 tasks +tasks-lifecycle +ok 1 +ok 1 +extra`,
				`the-check: what went wrong`,
				`(?m)^2026-07-28 tasks: 9/9 direct, 9/9 through the gateway$`,
			} {
				if !regexp.MustCompile(line).Match(table.Bytes()) {
					t.Errorf("no line %q in\n%s", line, &table)
				}
			}
		})
	}
}

func TestSignedInTheRunIsTheSameAndTheAuthorizationServerCounts(t *testing.T) {
	tl := roles(t, "  - right-era\n")
	report, err := official(t.Context(), OfficialOptions{Program: os.Args[0], SignIn: true, Log: io.Discard}, tl)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Errorf("not OK: %+v", report)
	}
	for set, want := range map[string]string{
		"authorization": "2/2 through the gateway",
		"2025-11-25":    "1/1 direct, 1/1 through the gateway",
		"2026-07-28":    "1/1+3/3 direct, 1/1+3/3 through the gateway",
		taskSet.name:    "9/9 direct, 9/9 through the gateway",
	} {
		if got := report.Score(set); got != want {
			t.Errorf("%s: score %q, want %q", set, got, want)
		}
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "\nauthorization: 2/2 through the gateway\n") {
		t.Errorf("the table does not show the score:\n%s", &table)
	}
}

func TestAFlakeInOneOfManyRunsIsAFailure(t *testing.T) {
	tl := roles(t, "  - right-era\n  - flaky\n")
	report, err := official(t.Context(), OfficialOptions{Program: os.Args[0], Repeat: 3, Log: io.Discard}, tl)
	if err != nil {
		t.Fatal(err)
	}
	if report.OK() {
		t.Error("a flaky report is OK")
	}
	var table bytes.Buffer
	if err := report.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`2026-07-28 +flaky +ok, 3 runs +FAIL in 1 of 3 runs`).Match(table.Bytes()) {
		t.Errorf("table does not show the flake:\n%s", &table)
	}
}

func TestAScoredScenarioWithoutResultFails(t *testing.T) {
	tl := roles(t, "  - right-era\n  - never-ran\n")
	report, err := official(t.Context(), OfficialOptions{Program: os.Args[0], Log: io.Discard}, tl)
	if err != nil {
		t.Fatal(err)
	}
	if report.OK() {
		t.Error("OK although a scenario did not run")
	}
	if got, want := report.Score("2025-11-25"), "1/2 direct, 1/2 through the gateway"; got != want {
		t.Errorf("score %q, want %q", got, want)
	}
}

func TestARunningGatewayIsUsedAsItIs(t *testing.T) {
	tl := roles(t, "  - right-era\n")
	var fixtures []string
	for _, r := range revisions {
		p, err := startFixture(t.Context(), tl.fixture, r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.stop)
		fixtures = append(fixtures, "http://"+p.addr+"/mcp")
	}
	p, err := startGateway(t.Context(), os.Args[0], t.TempDir(), false, map[string]string{legacy: fixtures[0], modern: fixtures[1]}, fixtureTool, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	report, err := official(t.Context(), OfficialOptions{Gateway: "http://" + p.addr + "/mcp/{upstream}", Log: io.Discard}, tl)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := report.Score("2025-11-25"), "1/1 through the gateway"; got != want {
		t.Errorf("score %q, want %q: without fixtures there is no direct column", got, want)
	}
}

func TestOfficialRefusesWhatItCannotRun(t *testing.T) {
	for rule, tt := range map[string]struct {
		o    OfficialOptions
		want string
	}{
		"no gateway at all":         {OfficialOptions{}, "neither a program nor a gateway"},
		"crossed and signed in":     {OfficialOptions{Program: "x", Crossed: true, SignIn: true}, "don't go together"},
		"a person, but no program":  {OfficialOptions{Gateway: "http://localhost:1/mcp/{upstream}", SignIn: true}, "give its token"},
		"crossed and merged":        {OfficialOptions{Program: "x", Crossed: true, Merged: true}, "don't go together"},
		"a gateway for one of both": {OfficialOptions{Gateway: "http://localhost:1/mcp"}, "lacks {upstream}"},
	} {
		if _, err := Official(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want …%s…", rule, err, tt.want)
		}
	}
}

func TestAProgramThatEndsAtOnceIsReportedWithItsLog(t *testing.T) {
	tl := roles(t, "  - right-era\n")
	_, err := start(t.Context(), "broken", "127.0.0.1:1", tl.fixture, "-nonsense")
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready") || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("error %v; want what ended and its last words", err)
	}
}

func TestEveryNpmPackageIsPinnedExactlyAndNamesNoRegistry(t *testing.T) {
	var manifest struct {
		Dependencies, OptionalDependencies map[string]string
	}
	b, err := os.ReadFile("package.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &manifest); err != nil {
		t.Fatal(err)
	}
	exact := regexp.MustCompile(`^\d+\.\d+\.\d+(-[a-z0-9.]+)?$`)
	for _, deps := range []map[string]string{manifest.Dependencies, manifest.OptionalDependencies} {
		for name, version := range deps {
			if !exact.MatchString(version) {
				t.Errorf("%s: %q is not an exact version", name, version)
			}
		}
	}
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(lock, []byte(`"resolved"`)) {
		t.Error("package-lock.json names where packages come from; make it with npm install --omit-lockfile-registry-resolved")
	}
}

func TestTheBearerIsForTheGatewayUnderBothLoopbackNames(t *testing.T) {
	got := strings.Fields(origins("http://localhost:8080/mcp/legacy"))
	slices.Sort(got)
	if want := []string{"http://127.0.0.1:8080", "http://localhost:8080"}; !slices.Equal(slices.Compact(got), want) {
		t.Errorf("origins %v, want %v", got, want)
	}
	if got := origins("https://gw.example.com/mcp"); got != "https://gw.example.com" {
		t.Errorf("origins %q", got)
	}
}

func TestToolsAreUnpackedByContent(t *testing.T) {
	cache := t.TempDir()
	dir, err := unpack(cache)
	if err != nil {
		t.Fatal(err)
	}
	again, err := unpack(cache)
	if err != nil || again != dir {
		t.Errorf("second time %q, %v; want %q", again, err, dir)
	}
	for _, name := range []string{"package.json", "package-lock.json", "tools.sh", "preload.mjs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is missing", name)
		}
	}
}
