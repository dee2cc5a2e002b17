package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// interleavedRequests is how many requests of two people go through one
	// gateway at once; OSTIARY_TEST_INTERLEAVED asks for more.
	interleavedRequests = 600

	byGroup = "package ostiary\n\ndefault allow := false\n\nallow if { input.upstream in input.user.groups }\n"

	requestMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"test","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
)

// town is a gateway with two upstreams, east and west, and two people who may
// use one each.
type town struct {
	*site
	*served
	policies string
	tokens   map[string]string // by user
}

func newTown(t *testing.T) *town {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("ostiary.yaml", []byte("policy: {timeout: 20s}\naudit: {deadline: 60s}\n"), 0o600); err != nil {
		t.Fatal(err) // bounds for machines that have no time
	}
	upstream := httptest.NewServer(newEcho(3))
	t.Cleanup(upstream.Close)
	w := &town{site: newSite(t), policies: t.TempDir(), tokens: map[string]string{}}
	w.open(t, upstream.URL, true)
	w.rules(t, byGroup)
	w.verb(t, "user", "add", "alice", "--group", "east")
	w.verb(t, "user", "add", "bob", "--group", "west")
	w.served = w.start(t, &console{}, "--policies", w.policies)
	for _, user := range []string{"alice", "bob"} {
		w.tokens[user] = w.verb(t, "token", "issue", "--user", user)
		eventually(t, user+"'s tools", func() bool { return len(w.list(t, user)) == 3 })
	}
	return w
}

// open declares both upstreams, east enabled or not.
func (w *town) open(t *testing.T, url string, east bool) {
	w.declare(t, fmt.Sprintf("upstreams:\n  east: {url: %q, enabled: %v}\n  west: {url: %q}\n", url, east, url))
}

func (w *town) rules(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.policies, "p.rego"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ask sends one modern request as user.
func (w *town) ask(ctx context.Context, user, method, name, params string) (*http.Response, error) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s,%s}}`, method, params, requestMeta)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for key, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + w.tokens[user],
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": name,
	} {
		if value != "" {
			request.Header.Set(key, value)
		}
	}
	return http.DefaultClient.Do(request)
}

func (w *town) answer(ctx context.Context, user, method, name, params string) (string, error) {
	resp, err := w.ask(ctx, user, method, name, params)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// list is the names of the tools that user sees now.
func (w *town) list(t *testing.T, user string) (names []string) {
	t.Helper()
	body, err := w.answer(t.Context(), user, "tools/list", "", `"x":0`)
	var list struct {
		Result struct {
			Tools      []struct{ Name string }
			CacheScope string
		}
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &list)
	}
	if err != nil || list.Result.CacheScope != "private" {
		t.Fatalf("%v: %s", err, body)
	}
	for _, tool := range list.Result.Tools {
		names = append(names, tool.Name)
	}
	return names
}

// all tells whether there are names and all begin with prefix.
func all(names []string, prefix string) bool {
	return len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) })
}

// hears opens a stream of user's and returns what waits until it says that
// tools changed.
func (w *town) hears(t *testing.T, user string, legacy bool) (listChanged func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	var resp *http.Response
	var err error
	if legacy {
		session := postMCP(t, w.url, w.tokens[user], initialize)
		session.Body.Close()
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
		request.Header.Set("Accept", "text/event-stream")
		request.Header.Set("Authorization", "Bearer "+w.tokens[user])
		request.Header.Set("Mcp-Session-Id", session.Header.Get("Mcp-Session-Id"))
		resp, err = http.DefaultClient.Do(request)
	} else {
		resp, err = w.ask(ctx, user, "subscriptions/listen", "", `"notifications":{"toolsListChanged":true}`)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	if !legacy {
		for lines.Scan() && !strings.Contains(lines.Text(), "acknowledged") {
		}
	}
	return func() {
		t.Helper()
		began := time.Now()
		for lines.Scan() {
			if strings.Contains(lines.Text(), "notifications/tools/list_changed") {
				t.Logf("%s heard it after %v", user, time.Since(began))
				return
			}
		}
		t.Fatalf("%s's stream ended without saying that tools changed: %v", user, lines.Err())
	}
}

// Security catalogue A-101.
func TestTwoPeopleSeeTheirOwnListsAndHearWhenTheyChange(t *testing.T) {
	w := newTown(t)
	if a, b := w.list(t, "alice"), w.list(t, "bob"); !all(a, "east__") || !all(b, "west__") {
		t.Fatalf("alice sees %v, bob %v", a, b)
	}
	if got, err := w.answer(t.Context(), "bob", "tools/call", "east__echo", `"name":"east__echo","arguments":{}`); err != nil || !strings.Contains(got, "Unknown tool: east__echo") {
		t.Errorf("bob calls alice's tool: %s, %v", got, err)
	}

	// A group: both of alice's streams say so, and her next list is another.
	modern, legacy := w.hears(t, "alice", false), w.hears(t, "alice", true)
	w.verb(t, "user", "set", "alice", "--group", "west")
	modern()
	legacy()
	if got := w.list(t, "alice"); !all(got, "west__") {
		t.Errorf("alice in another group sees %v", got)
	}

	// A policy: bob may use nothing more, and hears that, too.
	modern, legacy = w.hears(t, "bob", false), w.hears(t, "alice", true)
	w.rules(t, strings.Replace(byGroup, "input.upstream in", `input.user.name != "bob"; input.upstream in`, 1))
	modern()
	legacy()
	if a, b := w.list(t, "alice"), w.list(t, "bob"); !all(a, "west__") || len(b) != 0 {
		t.Errorf("under the new policy alice sees %v, bob %v", a, b)
	}

	// The catalog.
	w.verb(t, "user", "set", "alice", "--group", "east")
	if got := w.list(t, "alice"); !all(got, "east__") {
		t.Errorf("alice is back and sees %v", got)
	}
	modern, legacy = w.hears(t, "alice", false), w.hears(t, "alice", true)
	w.open(t, "http://127.0.0.1:1/mcp", false)
	modern()
	legacy()
	if got := w.list(t, "alice"); len(got) != 0 {
		t.Errorf("without her upstream alice sees %v", got)
	}
}

// TestInterleavedPeopleNeverGetWhatIsTheOthers sends requests of two people at
// once, each with a word of its own that the other must not get.
// Security catalogue A-083.
func TestInterleavedPeopleNeverGetWhatIsTheOthers(t *testing.T) {
	requests := interleavedRequests
	if n, err := strconv.Atoi(os.Getenv("OSTIARY_TEST_INTERLEAVED")); err == nil {
		requests = n
	}
	w := newTown(t)
	const workers = 8
	var work sync.WaitGroup
	for n := range workers {
		work.Go(func() {
			for i := range requests / workers {
				me, other, mine, theirs := "alice", "bob", "east", "west"
				if rand.IntN(2) == 0 {
					me, other, mine, theirs = other, me, theirs, mine
				}
				canary := func(user string) string { return "canary-of-" + user }
				own := fmt.Sprintf("%s-%d-%d", canary(me), n, i)
				var got, want string
				var err error
				switch rand.IntN(4) {
				case 0:
					want = mine + "__echo"
					got, err = w.answer(t.Context(), me, "tools/list", "", `"x":0`)
				case 1:
					want = "Unknown tool: "
					got, err = w.answer(t.Context(), me, "tools/call", theirs+"__echo", fmt.Sprintf(`"name":"%s__echo","arguments":{"text":%q}`, theirs, own))
					got = strings.Replace(got, theirs+"__echo", "", 1) // as it was asked for
				default:
					want = own
					got, err = w.answer(t.Context(), me, "tools/call", mine+"__echo", fmt.Sprintf(`"name":"%s__echo","arguments":{"text":%q}`, mine, own))
				}
				switch {
				case err != nil:
					t.Error(err)
					return
				case !strings.Contains(got, want):
					t.Errorf("%s wanted %q: %s", me, want, got)
				case strings.Contains(got, canary(other)) || strings.Contains(got, theirs+"__"):
					t.Errorf("%s got what is %s's: %s", me, other, got)
				}
			}
		})
	}
	work.Wait()
}
