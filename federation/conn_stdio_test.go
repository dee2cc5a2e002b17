package federation

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

// actAs is the main function of the test binary as a stdio upstream. Words in
// name choose what it is and does.
func actAs(name string) int {
	is := func(word string) bool { return strings.Contains(name, word) }
	var mu sync.Mutex
	say := func(format string, a ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", a...)
	}
	if is("sleeper") {
		time.Sleep(time.Minute)
		return 0
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 8<<20)
	parked := make(map[string]rpc)
	for in.Scan() {
		var m rpc
		if err := json.Unmarshal(in.Bytes(), &m); err != nil {
			fmt.Fprintf(os.Stderr, "not one message a line: %v\n", err)
			return 3
		}
		switch {
		case m.Method == "server/discover" && is("modern"):
			say("%s", m.result(discoverResult))
		case m.Method == "server/discover" && is("silent"):
		case m.Method == "server/discover" && is("fragile"):
			fmt.Fprintln(os.Stderr, "unexpected message")
			return 1
		case m.Method == "server/discover":
			say(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID)
		case m.Method == "initialize":
			say("%s", m.result(helloResult))
		case m.Method == "subscriptions/listen":
			for _, what := range []string{"subscriptions/acknowledged", "prompts/list_changed", "tools/list_changed"} {
				say(`{"jsonrpc":"2.0","method":"notifications/%s","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%s}}}`, what, m.ID)
			}
		case m.Method == "notifications/cancelled":
			fmt.Fprintf(os.Stderr, "cancelled %s\n", m.Params)
		case m.Method == "resources/subscribe" || m.Method == "logging/setLevel":
			fmt.Fprintf(os.Stderr, "%s %s\n", m.Method, m.Params)
			say("%s", m.result(`{}`))
		case m.Method == "" && m.ID != nil: // an answer to our question
			say("%s", parked[string(m.ID)].result(`{"answer":`+string(m.Result)+string(m.Error)+`}`))
		case m.Method == "tools/call":
			call(m, say, parked)
		case m.ID != nil:
			say("%s", m.result(`{}`))
		}
	}
	if is("stubborn") {
		time.Sleep(time.Minute)
	}
	return 0
}

// call is one tools/call of the scripted process; the tool's name says what
// happens.
func call(m rpc, say func(string, ...any), parked map[string]rpc) {
	var p struct {
		Name string
		Args struct{ N int } `json:"arguments"`
	}
	json.Unmarshal(m.Params, &p)
	switch p.Name {
	case "crash":
		fmt.Fprintln(os.Stderr, "panic: token hunter22hunter")
		os.Exit(7)
	case "hang":
	case "deaf":
		say("%s", m.result(`{}`))
		time.Sleep(time.Minute)
	case "garbage":
		say("Listening on port 3000\n\n{]\n{\"jsonrpc\":\"2.0\"}")
		say("%s", m.result(`{}`))
	case "wrong-id":
		say(`{"jsonrpc":"2.0","id":777777,"result":{}}`)
		say(`{"jsonrpc":"2.0","id":"%s","result":{}}`, m.ID)
		say("%s", m.result(`{"right":true}`))
	case "bad":
		say(`{"jsonrpc":"2.0","id":%s,"result":{"a":1,"a":2}}`, m.ID)
	case "later":
		go func() {
			time.Sleep(time.Duration(p.Args.N) * time.Millisecond)
			say("%s", m.result(fmt.Sprintf(`{"n":%d}`, p.Args.N)))
		}()
	case "big":
		empty := len(m.result(`{"text":""}`))
		say("%s", m.result(`{"text":"`+strings.Repeat("x", p.Args.N-empty)+`"}`))
	case "env":
		env, _ := json.Marshal(os.Environ())
		say("%s", m.result(string(env)))
	case "ask":
		parked[`"q1"`] = m
		say(`{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"sure?"}}`)
	case "sample":
		parked[`"q2"`] = m
		say(`{"jsonrpc":"2.0","id":"q2","method":"sampling/createMessage","params":{}}`)
	case "chatty":
		for n := range p.Args.N {
			say(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, m.token(), n)
		}
		say(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"oh"}}`)
		say("%s", m.result(`{}`))
	case "changed":
		say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		say(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x://a"}}`)
		say("%s", m.result(`{}`))
	case "family":
		// A child and, through it, a grandchild that would outlive us.
		sh := exec.Command("/bin/sh", "-c", "sleep 60 & echo $!; wait")
		out, _ := sh.StdoutPipe()
		sh.Start()
		grandchild, _ := bufio.NewReader(out).ReadString('\n')
		say("%s", m.result(fmt.Sprintf(`{"pids":[%d,%d,%s]}`, os.Getpid(), sh.Process.Pid, strings.TrimSpace(grandchild))))
	default:
		say("%s", m.result(fmt.Sprintf(`{"echo":%s}`, m.Params)))
	}
}

// processFor is a catalog entry that runs the test binary as name.
func processFor(name string) *catalogs.Upstream {
	u := entryFor("")
	u.Command = []string{os.Args[0]}
	u.Transport = catalogs.Stdio
	u.Env = map[string]catalogs.Secret{
		"TEST_UPSTREAM": catalogs.Secret(name),
		"GORACE":        "atexit_sleep_ms=0", // the race detector would linger for a second
	}
	return u
}

func toolNamed(name string, n int) *Call {
	return &Call{Method: "tools/call", Params: fmt.Appendf(nil, `{"name":"%s","arguments":{"n":%d}}`, name, n)}
}

func TestStdioEraIsFoundOut(t *testing.T) {
	leavesNothing(t)
	for name, want := range map[string]wire.Era{"modern": wire.Modern, "plain": wire.Legacy, "fragile": wire.Legacy} {
		for _, known := range []*wire.Era{nil, era(wire.Modern), era(wire.Legacy)} {
			c, err := dial(t.Context(), dialConfig{Upstream: processFor(name), Era: known})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			// The modern script answers initialize too: who is believed to be
			// legacy stays so while that works.
			if got := c.peer().Era; got != want && !(name == "modern" && known != nil && *known == wire.Legacy) {
				t.Errorf("%s: %v", name, got)
			}
			if a, err := c.do(t.Context(), echoCall()); err != nil || !strings.Contains(string(a.Result), `"name":"echo"`) {
				t.Errorf("%s: %+v %v", name, a, err)
			}
			c.close(t.Context())
		}
	}
}

func TestStdioAnswersComeInAnyOrder(t *testing.T) {
	c := connect(t, dialConfig{Upstream: processFor("plain")})
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			ms := (20 - n) * 3
			a, err := c.do(t.Context(), toolNamed("later", ms))
			if err != nil || string(a.Result) != fmt.Sprintf(`{"n":%d}`, ms) {
				t.Errorf("%d: %+v %v", ms, a, err)
			}
		})
	}
	wg.Wait()
}

func TestStdioWhatIsNoAnswerIsPassedOver(t *testing.T) {
	var log logged
	c := connect(t, dialConfig{Upstream: processFor("plain"), Logger: log.logger()})
	for _, name := range []string{"garbage", "wrong-id", "pretty"} {
		call := toolNamed(name, 1)
		call.Params = []byte(strings.ReplaceAll(string(call.Params), ",", ",\r\n ")) // one line all the same
		if _, err := c.do(t.Context(), call); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := c.do(t.Context(), toolNamed("bad", 1))
	wantKind(t, err, ErrBadAnswer)
	if !strings.Contains(log.String(), "Listening on port") {
		t.Error("nobody is told of the garbage")
	}
}

func TestStdioLineLimit(t *testing.T) {
	leavesNothing(t)
	const limit = 100 << 10
	u := processFor("plain")
	u.Limits.Response = limit
	c := connect(t, dialConfig{Upstream: u})
	if _, err := c.do(t.Context(), toolNamed("big", limit)); err != nil {
		t.Fatal("at the limit:", err)
	}
	_, err := c.do(t.Context(), toolNamed("big", limit+1))
	wantKind(t, err, ErrTooLarge)
	<-c.done()
}

func TestStdioCrash(t *testing.T) {
	leavesNothing(t)
	var log logged
	u := processFor("plain")
	u.Env["TOKEN"] = "hunter22hunter"
	c := connect(t, dialConfig{Upstream: u, Logger: log.logger()})
	_, err := c.do(t.Context(), toolNamed("crash", 0))
	if f := wantKind(t, err, ErrUnknownOutcome); !strings.Contains(f.Detail, "exit status 7") {
		t.Error(f)
	}
	<-c.done()
	_, err = c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnavailable)
	c.close(t.Context())
	if s := log.String(); strings.Contains(s, "hunter22") || !strings.Contains(s, "panic: token (secret)") {
		t.Error("log:", s)
	}
}

func TestStdioTimeLimitAndCancelAreToldToTheProcess(t *testing.T) {
	var log logged
	c := connect(t, dialConfig{Upstream: processFor("plain"), Logger: log.logger()})
	call := toolNamed("hang", 0)
	call.Item = &Item{Timeout: 50 * time.Millisecond}
	_, err := c.do(t.Context(), call)
	wantKind(t, err, ErrTimeout)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.do(ctx, toolNamed("hang", 0))
	wantKind(t, err, ErrCancelled)
	if _, err := c.do(t.Context(), echoCall()); err != nil {
		t.Error("the process is still good:", err)
	}
	c.close(t.Context())
	if s := log.String(); !strings.Contains(s, `timed out`) || !strings.Contains(s, "cancelled by the client") {
		t.Error("log:", s)
	}
}

func TestStdioEnvironmentIsMinimal(t *testing.T) {
	t.Setenv("OSTIARY_MASTER_KEY", "k")
	t.Setenv("SOME_TOKEN", "k")
	u := processFor("plain")
	u.Env["OSTIARY_DATA"] = "d"
	u.Env["OWN"] = "yes"
	c := connect(t, dialConfig{Upstream: u, Credential: credential.Credential{Environ: map[string]catalogs.Secret{"API_KEY": "key"}}})
	a, err := c.do(t.Context(), toolNamed("env", 0))
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	json.Unmarshal(a.Result, &env)
	allowed := []string{"PATH", "HOME", "LANG", "TMPDIR", "TEST_UPSTREAM", "GORACE", "OWN", "API_KEY", "PWD"}
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); !slices.Contains(allowed, name) {
			t.Errorf("%s was passed on", name)
		}
	}
	if !slices.Contains(env, "API_KEY=key") || !slices.Contains(env, "OWN=yes") {
		t.Error(env)
	}
}

func TestStdioQuestions(t *testing.T) {
	c := connect(t, dialConfig{Upstream: processFor("plain"), Capabilities: []byte(`{"elicitation":{}}`)})
	call := toolNamed("ask", 0)
	call.Item = &Item{Timeout: 80 * time.Millisecond}
	call.Ask = func(ctx context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
		time.Sleep(160 * time.Millisecond) // the agent's time is not the upstream's
		return []byte(`{"action":"accept"}`), nil, nil
	}
	a, err := c.do(t.Context(), call)
	if err != nil || string(a.Result) != `{"answer":{"action":"accept"}}` {
		t.Errorf("%+v %v", a, err)
	}
	// Not declared, so it never reaches the agent.
	call = toolNamed("sample", 0)
	call.Ask = func(context.Context, string, []byte) ([]byte, *wire.Error, error) {
		t.Error("asked")
		return nil, nil, nil
	}
	a, err = c.do(t.Context(), call)
	if err != nil || !strings.Contains(string(a.Result), `-32601`) {
		t.Errorf("%+v %v", a, err)
	}
	// Two calls with somebody to ask: whose question it is can't be told.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan bool)
	other := toolNamed("hang", 0)
	other.Ask = call.Ask
	go func() { c.do(ctx, other); close(done) }()
	time.Sleep(50 * time.Millisecond)
	call = toolNamed("ask", 0)
	call.Ask = other.Ask
	a, err = c.do(t.Context(), call)
	if err != nil || !strings.Contains(string(a.Result), `-32602`) {
		t.Errorf("%+v %v", a, err)
	}
	cancel()
	<-done
}

func TestStdioNotificationsPrecedeTheAnswer(t *testing.T) {
	for _, script := range []string{"plain", "modern"} {
		var log logged
		c := connect(t, dialConfig{Upstream: processFor(script), Logger: log.logger()})
		const token = `123456789012345678901234567890`
		call := toolNamed("chatty", 100)
		call.ProgressToken = []byte(token)
		call.Agent.LogLevel = "info"
		var got []string
		call.Notify = func(method string, params []byte) { got = append(got, string(params)) }
		if _, err := c.do(t.Context(), call); err != nil {
			t.Fatal(err)
		}
		if len(got) != 101 || got[99] != `{"progressToken":`+token+`,"progress":99}` || got[100] != `{"level":"error","data":"oh"}` {
			t.Errorf("%s: %d: %.200q", script, len(got), got)
		}
		c.close(t.Context())
		if asked := strings.Contains(log.String(), `logging/setLevel {\"level\":\"info\"}`); asked != (script == "plain") {
			t.Errorf("%s: setLevel asked: %v", script, asked)
		}
	}
}

func TestStdioListenersShareOneStream(t *testing.T) {
	leavesNothing(t)
	var log logged
	c := connect(t, dialConfig{Upstream: processFor("plain"), Logger: log.logger()})
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan string, 10)
	ready := make(chan bool, 2)
	var wg sync.WaitGroup
	for name, f := range map[string]listenFilter{"tools": {Tools: true, Prompts: true}, "uri": {URIs: []string{"x://a"}}} {
		wg.Go(func() {
			c.listen(ctx, f, func() { ready <- true }, func(method string, _ []byte) { events <- name + " " + method })
		})
	}
	<-ready
	<-ready
	if _, err := c.do(t.Context(), toolNamed("changed", 0)); err != nil {
		t.Fatal(err)
	}
	got := []string{<-events, <-events}
	slices.Sort(got)
	if want := []string{"tools notifications/tools/list_changed", "uri notifications/resources/updated"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	cancel()
	wg.Wait()
	c.close(t.Context())
	if len(events) > 0 {
		t.Error(<-events)
	}
	if !strings.Contains(log.String(), `resources/subscribe {\"uri\":\"x://a\"}`) {
		t.Error("not subscribed:", log.String())
	}
}

func TestStdioModernSubscription(t *testing.T) {
	leavesNothing(t)
	var log logged
	c := connect(t, dialConfig{Upstream: processFor("modern"), Logger: log.logger()})
	ctx, cancel := context.WithCancel(t.Context())
	ready := false
	var got []string
	c.listen(ctx, listenFilter{Tools: true}, func() { ready = true }, func(method string, _ []byte) {
		got = append(got, method)
		cancel()
	})
	if !ready || len(got) != 1 || got[0] != toolsChanged {
		t.Errorf("ready %v, %q", ready, got)
	}
	c.close(t.Context())
	if !strings.Contains(log.String(), "cancelled") {
		t.Error("the subscription was not cancelled")
	}
}

func TestStdioLeavesNoProcess(t *testing.T) {
	leavesNothing(t)
	c := connect(t, dialConfig{Upstream: processFor("plain")})
	a, err := c.do(t.Context(), toolNamed("family", 0))
	if err != nil {
		t.Fatal(err)
	}
	var family struct{ Pids []int }
	json.Unmarshal(a.Result, &family)
	if len(family.Pids) != 3 {
		t.Fatalf("%s", a.Result)
	}
	c.close(t.Context())
	for _, pid := range family.Pids {
		wantGone(t, pid)
	}
}

// wantGone waits for a process to be gone; a zombie that init has not
// collected yet counts as gone.
func wantGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("process %d is left: %s", pid, stat)
			return
		}
	}
}

func TestStdioStubbornProcessIsTerminated(t *testing.T) {
	leavesNothing(t)
	c := connect(t, dialConfig{Upstream: processFor("plain stubborn")})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	c.close(ctx)
	if took := time.Since(began); took > termAfter {
		t.Errorf("took %v although the context ended", took)
	}
}

func TestStdioKilledChildIsNoticed(t *testing.T) {
	leavesNothing(t)
	c := connect(t, dialConfig{Upstream: processFor("plain")})
	pid := c.(*stdio).p.cmd.Process.Pid
	failed := make(chan error)
	go func() {
		_, err := c.do(t.Context(), toolNamed("hang", 0))
		failed <- err
	}()
	time.Sleep(30 * time.Millisecond)
	syscall.Kill(pid, syscall.SIGKILL)
	wantKind(t, <-failed, ErrUnknownOutcome)
	<-c.done()
}

func TestStdioStartFailuresSayWhatToDo(t *testing.T) {
	leavesNothing(t)
	dir := t.TempDir()
	os.WriteFile(dir+"/data", nil, 0o600)
	cases := map[string]struct {
		change func(*catalogs.Upstream)
		words  string
	}{
		"no program":     {func(u *catalogs.Upstream) { u.Command = []string{"no-such-program-here"} }, "program no-such-program-here is not installed"},
		"no file":        {func(u *catalogs.Upstream) { u.Command = []string{dir + "/nothing"} }, "is not installed"},
		"not executable": {func(u *catalogs.Upstream) { u.Command = []string{dir + "/data"} }, "may not be executed"},
		"no directory":   {func(u *catalogs.Upstream) { u.Dir = dir + "/nothing" }, "working directory"},
		"other user":     {func(u *catalogs.Upstream) { u.User = "no-such-user-here" }, "user:"},
		"ends at once":   {func(u *catalogs.Upstream) { u.Command = []string{"/bin/sh", "-c", "exit 4"} }, "exit status 4"},
	}
	for name, tt := range cases {
		u := processFor("plain")
		tt.change(u)
		_, err := dial(t.Context(), dialConfig{Upstream: u})
		if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, tt.words) {
			t.Errorf("%s: %v", name, f)
		}
	}
	// One that never says a word is given up, and killed, with the caller.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := dial(ctx, dialConfig{Upstream: processFor("sleeper")})
	wantKind(t, err, ErrCancelled)
}

func TestStderrIsBoundedAndEscaped(t *testing.T) {
	var log logged
	now := time.Unix(1000, 0)
	l := newStderrLog(&dialConfig{Upstream: entryFor(""), Logger: log.logger(), Now: func() time.Time { return now }}, []string{"abcd", "x"})
	l.read(strings.NewReader("\x1b[31mred\u0085 abcd x\n" + strings.Repeat("y", maxStderrLine+1) + "\n" + strings.Repeat("line\n", maxStderrLines)))
	s := log.String()
	if strings.Contains(s, "\x1b") || strings.Contains(s, "abcd") || !strings.Contains(s, "(secret) x") {
		t.Errorf("%.300q", s)
	}
	if n := strings.Count(s, "y"); n < maxStderrLine || n > maxStderrLine+100 {
		t.Errorf("a line of %d bytes", n)
	}
	if n := strings.Count(s, "upstream stderr"); n != maxStderrLines {
		t.Errorf("%d lines", n)
	}
	now = now.Add(time.Minute)
	l.put("upstream stderr", "again")
	if s := log.String(); !strings.Contains(s, "dropped=2") || !strings.Contains(s, "again") {
		t.Error("after a minute:", s[len(s)-300:])
	}
}

// Some servers ignore what comes before initialize.
func TestStdioSilenceOverDiscoverLeadsToInitialize(t *testing.T) {
	leavesNothing(t)
	d := dialConfig{Upstream: processFor("silent"), Version: "1", Logger: slog.New(slog.DiscardHandler), Now: time.Now}
	s, err := startStdio(&d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close(t.Context())
	s.patience = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := s.negotiate(ctx, true); err != nil || s.peer().Era != wire.Legacy {
		t.Error(err)
	}
}

// case A-087.
func TestStdioProcessThatStopsReadingHoldsUpNobodyForEver(t *testing.T) {
	leavesNothing(t)
	c := connect(t, dialConfig{Upstream: processFor("plain")})
	if _, err := c.do(t.Context(), toolNamed("deaf", 0)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var kinds [queueLength + 10]error
	for n := range kinds {
		wg.Go(func() {
			call := toolNamed("later", 0)
			call.Params = fmt.Appendf(nil, `{"name":"later","arguments":{"x":"%s"}}`, strings.Repeat("x", 100<<10))
			call.Item = &Item{Timeout: 100 * time.Millisecond}
			_, err := c.do(t.Context(), call)
			kinds[n] = err.(*Failure).Kind
		})
	}
	wg.Wait()
	unknown := 0
	for _, k := range kinds {
		if k == ErrTimeout {
			unknown++
		} else if k != ErrUnavailable {
			t.Error(k)
		}
	}
	if unknown != 1 { // the one that the pipe is full of
		t.Errorf("%d calls of unknown outcome", unknown)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.close(ctx)
}
