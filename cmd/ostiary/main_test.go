package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// The test binary is also the program, and a stdio upstream: what `bench` and
// catalog entries start is real.
const (
	asProgram  = "TEST_AS_PROGRAM"
	asUpstream = "TEST_AS_UPSTREAM"
)

func TestMain(m *testing.M) {
	federation.Shim()
	switch {
	case os.Getenv(asUpstream) != "":
		echoOverPipes()
	case os.Getenv(asProgram) != "":
		main()
	default:
		os.Exit(m.Run())
	}
}

// echoOverPipes is the benchmark's upstream over stdio, until stdin ends.
func echoOverPipes() {
	server := newEcho(2)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m, err := wire.Parse(lines.Bytes(), wire.Limits{})
		if err != nil || m.Kind != wire.Request {
			continue
		}
		_, modern := m.Meta.Get("io.modelcontextprotocol/protocolVersion")
		answer := wire.AppendError(nil, m.ID, &wire.Error{Code: -32601, Message: "Method not found"})
		if result := server.result(m, modern); result != nil {
			answer = wire.AppendResult(nil, m.ID, result)
		}
		fmt.Printf("%s\n", answer)
	}
}

// console is the world around one run of the program.
type console struct {
	in       string
	env      map[string]string
	out, err syncBuffer
}

// ostiary runs one command line in this process.
func ostiary(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	c := &console{}
	code = c.run(t.Context(), args...)
	return code, c.out.String(), c.err.String()
}

func (c *console) run(ctx context.Context, args ...string) int {
	return run(ctx, args, stdio{
		In: strings.NewReader(c.in), Out: &c.out, Err: &c.err,
		Getenv: func(name string) (string, bool) { v, ok := c.env[name]; return v, ok },
	})
}

// syncBuffer is a buffer that a test may read while the program writes.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestWrongCommandLinesEndWith2AndSayWhatToDo(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"", "no verb given; `ostiary help` lists them"},
		{"srve", `no verb "srve", did you mean "serve"?`},
		{"frobnicate", "no verb \"frobnicate\"; `ostiary help`"},
		{"catalog", "catalog: needs one of check, list, test"},
		{"catalog chek", `catalog: no verb "chek", did you mean "check"?`},
		{"serve --lisen x", `no flag --lisen, did you mean "--listen"?`},
		{"serve extra", `unexpected "extra"`},
		{"serve --listen nonsense --no-auth", "--listen: \"nonsense\" is not an address"},
		{"serve --url http://127.0.0.1:1/mcp", "--url goes with --stdio"},
		{"serve --stdio --url 127.0.0.1:1/mcp", "is not an http or https URL of an endpoint"},
		{"serve --no-auth=perhaps", `--no-auth: "perhaps" is neither true nor false`},
		{"version --format yaml", "want text or json"},
		{"audit query --decision maybe", "allow or deny"},
		{"audit query --since yesterday", "24h"},
		{"tools call", "which tool?"},
		{"tools call x novalue", `"novalue" is not KEY=VALUE`},
		{"tools call x --args [1]", "not a JSON object"},
		{"tools call x k=v --args {}", "don't go together"},
		{"tools call x --as alice --token t", "--as and --token don't go together"},
		{"user add", "user add: want one NAME"},
		{"user add a b", "user add: want one NAME"},
		{"user set alice", "nothing to change"},
		{"user set alice --group a --no-groups", "don't go together"},
		{"user passwd alice", "give --password-stdin"},
		{"user passwd alice --password x", "no flag --password"},
		{"token issue", "--user NAME is needed"},
		{"token issue --user a --ttl never", "--ttl: \"never\" is not a duration"},
		{"backup a b", "at most one FILE"},
		{"restore", "want one FILE"},
		{"bench --connections 33", "1 to 32"},
		{"bench --repeat 0", "above 0"},
		{"conformance official --repeat 0", "at least 1"},
		{"conformance official --save .", "--save goes with --crossed"},
		{"conformance official --crossed --merged", "don't go together"},
		{"conformance", "--url is the gateway's"},
		{"conformance --url nonsense", "--url is the gateway's"},
		{"conformance --url http://127.0.0.1:1 --case Z", `no case "Z"`},
	} {
		code, out, errs := ostiary(t, strings.Fields(c.line)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit %d, out %q, err %q; want exit 2 and %q", c.line, code, out, errs, c.want)
		}
		for line := range strings.Lines(errs) {
			if c.line != "" && !strings.HasPrefix(line, "ostiary: ") {
				t.Errorf("%q: a line of the error lacks its prefix: %q", c.line, line)
			}
		}
	}
}

func TestVerbsThatAreNotBuiltSaySoAndAreNotListed(t *testing.T) {
	_, listed, _ := ostiary(t, "help")
	for _, name := range plannedVerbs {
		code, _, errs := ostiary(t, append(strings.Fields(name), "add", "x")...)
		if code != exitUsage || !strings.Contains(errs, name+": not built yet in this version") {
			t.Errorf("%s: exit %d, %q", name, code, errs)
		}
		if strings.Contains(listed, "  "+name) {
			t.Errorf("help lists %s", name)
		}
	}
}

func TestEveryVerbExplainsItself(t *testing.T) {
	_, overview, _ := ostiary(t, "help")
	for _, v := range verbs() {
		code, out, errs := ostiary(t, append(strings.Fields(v.name), "--help")...)
		if code != exitDone || errs != "" || !strings.HasPrefix(out, "Usage: ostiary "+v.name) {
			t.Errorf("%s --help: exit %d, err %q, out %q", v.name, code, errs, out)
		}
		if len(v.examples) == 0 || !strings.Contains(out, v.examples[0]) {
			t.Errorf("%s --help shows no example", v.name)
		}
		if strings.Contains(out, hiddenFlag+"\n") {
			t.Errorf("%s --help lists a flag that is not built", v.name)
		}
		if !strings.Contains(overview, "  "+v.name+" ") {
			t.Errorf("help does not list %s", v.name)
		}
		if _, again, _ := ostiary(t, append([]string{"help"}, strings.Fields(v.name)...)...); again != out {
			t.Errorf("help %s differs from %s --help", v.name, v.name)
		}
	}
}

func TestServeHelpListsEveryFlagThatWorks(t *testing.T) {
	_, out, _ := ostiary(t, "serve", "--help")
	for _, flag := range []string{"--config FILE", "--listen ADDR", "--public-url URL", "--data DIR", "--catalogs DIR", "--log-format json|text", "--no-auth", "--stdio", "--url URL", "--dev"} {
		if !strings.Contains(out, "  "+flag+" ") {
			t.Errorf("serve --help lacks %s:\n%s", flag, out)
		}
	}
}

func TestFlagsAndWordsStandInAnyOrder(t *testing.T) {
	_, a, _ := ostiary(t, "version", "--format", "json")
	_, b, _ := ostiary(t, "version", "--format=json", "--")
	if a == "" || a != b {
		t.Errorf("%q, %q", a, b)
	}
	code, _, errs := ostiary(t, "version", "--", "--format")
	if code != exitUsage || !strings.Contains(errs, `unexpected "--format"`) {
		t.Errorf("after --, --format is a word: exit %d, %q", code, errs)
	}
}
