package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// patience is for what must come: it bounds a broken test, and measures nothing.
const patience = 30 * time.Second

// comes waits for a condition.
func comes(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// neighbour is an upstream that is well until falls is called.
type neighbour struct {
	*upstream
	ill   atomic.Pointer[http.HandlerFunc]
	hurts atomic.Int32 // requests that met the illness and were not answered yet, or never
}

func newNeighbour(t *testing.T, era wire.Era) *neighbour {
	n := &neighbour{upstream: &upstream{era: era, tools: `{"name":"echo","inputSchema":{"type":"object"}}`, extra: map[string]string{}}}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ill := n.ill.Load(); ill != nil {
			n.hurts.Add(1)
			(*ill)(w, r)
			return
		}
		n.serve(w, r)
	}))
	t.Cleanup(n.Server.Close)
	t.Cleanup(n.CloseClientConnections)
	return n
}

func (n *neighbour) falls(ill http.HandlerFunc) { n.ill.Store(&ill) }

// ask posts one request of alice's; unlike the rig's own methods it may be used
// from many goroutines.
func ask(ctx context.Context, url, method, params string, header ...string) (string, error) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}%s}}`, method, params)
	if len(header) == 0 {
		header = modernHeaders(method, strings.TrimPrefix(params, ","))
	} else {
		body = fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s}}`, method, strings.TrimPrefix(params, ","))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return string(raw), err
}

// Promise 7: one upstream is killed, one hangs, one answers garbage and one
// flaps, in the middle of calls of the same agent. The lists show what they
// offered last, and the healthy one is listed and called while the one that
// hangs is held: what waits for it waits alone.
func TestFourIllNeighboursAreNoneOfTheHealthyOnesBusiness(t *testing.T) {
	for _, era := range []wire.Era{wire.Modern, wire.Legacy} {
		t.Run(era.String(), func(t *testing.T) {
			names := []string{"healthy", "killed", "hanging", "garbage", "flapping"}
			all := map[string]*neighbour{}
			ups := map[string]*upstream{}
			for _, name := range names {
				all[name] = newNeighbour(t, era)
				ups[name] = all[name].upstream
			}
			r := newRig(t, ups)
			session := r.legacy("/mcp")

			released := make(chan struct{})
			var flips atomic.Int32
			all["hanging"].falls(func(http.ResponseWriter, *http.Request) { <-released })
			all["garbage"].falls(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, "{\x00]<html>"+strings.Repeat("}", 1<<10))
			})
			all["flapping"].falls(func(w http.ResponseWriter, r *http.Request) {
				if flips.Add(1)%2 == 0 {
					all["flapping"].serve(w, r)
					return
				}
				panic(http.ErrAbortHandler)
			})
			all["killed"].Listener.Close()
			all["killed"].CloseClientConnections()

			// The ill ones' entries change, so that they are connected anew: none
			// can be reached now, and the hanging one is held there, too.
			next := &catalogs.Catalog{Revision: "next"}
			for _, u := range r.fed.Snapshot().Upstreams() {
				config := *u.Config
				if config.Name != "healthy" {
					config.Limits.Timeout = 2 * patience
				}
				next.Upstreams = append(next.Upstreams, &config)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := r.fed.Apply(ctx, next); err != nil {
				t.Fatal(err)
			}
			hanging := &all["hanging"].hurts
			comes(t, "the hanging upstream to be dialled", func() bool { return hanging.Load() > 0 })

			const each = 8 // calls of the same principal to each ill one
			var suffering sync.WaitGroup
			var ended atomic.Int32 // calls of the hanging one
			suffer, relieve := context.WithCancel(t.Context())
			defer func() { relieve(); close(released); suffering.Wait() }()
			for range each {
				for _, name := range names[1:] {
					suffering.Go(func() {
						ask(suffer, r.URL+"/mcp", "tools/call", `,"name":"`+name+`__echo"`)
						if name == "hanging" {
							ended.Add(1)
						}
					})
				}
			}
			comes(t, "the others to suffer", func() bool {
				return hanging.Load() > 1 && all["garbage"].hurts.Load() > 0 && flips.Load() > 1
			})

			for range 3 {
				for what, header := range map[string][]string{"modern": nil, "legacy": session} {
					list, err := ask(ctx, r.URL+"/mcp", "tools/list", "", header...)
					if err != nil {
						t.Fatalf("%s list: %v", what, err)
					}
					for _, name := range names {
						if !strings.Contains(list, `"`+name+`__echo"`) {
							t.Errorf("%s list lacks %s: %s", what, name, list)
						}
					}
					got, err := ask(ctx, r.URL+"/mcp", "tools/call", `,"name":"healthy__echo"`, header...)
					if err != nil || !strings.Contains(got, `"content":[]`) {
						t.Errorf("%s call: %s %v", what, got, err)
					}
				}
				own, err := ask(ctx, r.URL+"/mcp/healthy", "tools/list", "")
				if err != nil || !strings.Contains(own, `"name":"echo"`) {
					t.Errorf("its own endpoint: %s %v", own, err)
				}
			}
			if n := ended.Load(); n != 0 {
				t.Errorf("%d calls of the hanging upstream ended: the test held nothing", n)
			}
		})
	}
}
