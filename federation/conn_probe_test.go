package federation

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

func TestHTTPEraIsFoundOut(t *testing.T) {
	leavesNothing(t)
	rpcError := func(status int, code int, data string) func(http.ResponseWriter, rpc) {
		return func(w http.ResponseWriter, m rpc) {
			sendJSON(w, status, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"SECRET-BODY"%s}}`, m.ID, code, data))
		}
	}
	result := func(r string) func(http.ResponseWriter, rpc) {
		return func(w http.ResponseWriter, m rpc) { sendJSON(w, 200, m.result(r)) }
	}
	status := func(n int) func(http.ResponseWriter, rpc) {
		return func(w http.ResponseWriter, m rpc) { w.WriteHeader(n) }
	}
	cases := []struct {
		name     string
		discover func(http.ResponseWriter, rpc)
		era      string // "" = unavailable
	}{
		{"modern", result(discoverResult), "modern"},
		{"modern on a stream", func(w http.ResponseWriter, m rpc) { sendEvents(w)(m.result(discoverResult)) }, "modern"},
		{"modern without discover", rpcError(404, -32601, ""), "modern"},
		{"unknown method, the old way", rpcError(200, -32601, ""), "legacy"},
		{"session wanted", rpcError(400, -32000, ""), "legacy"},
		{"400 without a body", status(400), "legacy"},
		{"404 without a body", status(404), "legacy"},
		{"405", status(405), "legacy"},
		{"500", status(500), "legacy"},
		{"202", status(202), "legacy"},
		{"html", func(w http.ResponseWriter, m rpc) { w.Write([]byte("<html>")) }, "legacy"},
		{"dual, modern switched off", rpcError(400, -32022, `,"data":{"supported":["2025-11-25"]}`), "legacy"},
		{"discovers older versions only", result(`{"supportedVersions":["2025-06-18"]}`), "legacy"},
		{"only newer versions", rpcError(400, -32022, `,"data":{"supported":["2031-01-01"]}`), ""},
		{"contradicts itself", rpcError(400, -32022, `,"data":{"supported":["2026-07-28"]}`), ""},
		{"modern, refuses", rpcError(400, -32020, ""), ""},
		{"401", status(401), ""},
		{"403", status(403), ""},
		{"503", status(503), ""},
		{"redirect", status(307), ""},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			var methods []string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				m := readRPC(r)
				methods = append(methods, m.Method)
				switch m.Method {
				case "server/discover":
					tt.discover(w, m)
				case "initialize":
					sendJSON(w, 200, m.result(helloResult))
				default:
					w.WriteHeader(202)
				}
			}))
			defer s.Close()
			c, err := dial(t.Context(), dialConfig{Upstream: entryFor(s.URL)})
			if tt.era == "" {
				wantKind(t, err, ErrUnavailable)
				if len(methods) != 1 {
					t.Errorf("asked %q", methods)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.close(t.Context())
			if got := c.peer().Era.String(); got != tt.era {
				t.Errorf("%s", got)
			}
		})
	}
}

func TestKnownEraSavesTheQuestionAndIsDoubtedWhenItFails(t *testing.T) {
	var methods []string
	modern := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := readRPC(r)
		methods = append(methods, m.Method)
		if m.Method == "server/discover" {
			sendJSON(w, 200, m.result(discoverResult))
			return
		}
		sendJSON(w, 404, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"m"}}`, m.ID))
	}))
	t.Cleanup(modern.Close)
	if p := connect(t, dialConfig{Upstream: entryFor(modern.URL), Era: era(wire.Legacy)}).peer(); p.Era != wire.Modern {
		t.Error("not doubted")
	}
	methods = nil
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) { t.Errorf("asked %s", m.Method) })
	if p := connect(t, dialConfig{Upstream: entryFor(l.URL), Era: era(wire.Legacy)}).peer(); p.Era != wire.Legacy {
		t.Error("era forgotten")
	}
	if p := connect(t, dialConfig{Upstream: entryFor(newLegacyUpstream(t, nil).URL), Era: era(wire.Modern)}).peer(); p.Era != wire.Legacy {
		t.Error("not doubted")
	}
}

func TestInitializeNeedsACommonRevision(t *testing.T) {
	for version, ok := range map[string]bool{"2025-11-25": true, "2025-06-18": true, "2025-03-26": true, "2024-11-05": true, "2026-07-28": false, "2023-01-01": false, "": false} {
		var header string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch m := readRPC(r); m.Method {
			case "initialize":
				sendJSON(w, 200, m.result(`{"protocolVersion":"`+version+`","capabilities":{}}`))
			case "notifications/initialized":
				header = r.Header.Get("Mcp-Protocol-Version")
				w.WriteHeader(202)
			default:
				w.WriteHeader(400)
			}
		}))
		c, err := dial(t.Context(), dialConfig{Upstream: entryFor(s.URL)})
		if (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
		if ok {
			if want := version; version >= "2025-06-18" && header != want || version < "2025-06-18" && header != "" {
				t.Errorf("%s: header %q", version, header)
			}
			c.close(t.Context())
		}
		s.Close()
	}
}

func TestDialFailuresAreNeverUnknownOutcomes(t *testing.T) {
	leavesNothing(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	}))
	defer s.Close()
	_, err := dial(t.Context(), dialConfig{Upstream: entryFor(s.URL)})
	wantKind(t, err, ErrUnavailable)
}

func TestBadEntriesAreRefusedInWords(t *testing.T) {
	for name, change := range map[string]func(*catalogs.Upstream){
		"url":        func(u *catalogs.Upstream) { u.URL = "ftp://127.0.0.1/" },
		"proxy":      func(u *catalogs.Upstream) { u.Proxy = "user:hunter2@proxy" },
		"caFile":     func(u *catalogs.Upstream) { u.CAFile = "/no/such/file" },
		"caFile pem": func(u *catalogs.Upstream) { u.CAFile = os.Args[0] },
	} {
		u := entryFor("http://127.0.0.1:1/")
		change(u)
		_, err := dial(t.Context(), dialConfig{Upstream: u})
		f := wantKind(t, err, ErrUnavailable)
		if word, _, _ := strings.Cut(name, " "); !strings.Contains(f.Detail, word) || strings.Contains(f.Detail, "hunter2") {
			t.Errorf("%s: %v", name, f)
		}
	}
}

func TestCAFileIsTrustedBesideTheSystem(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := readRPC(r)
		sendJSON(w, 200, m.result(discoverResult))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	_, err := dial(t.Context(), dialConfig{Upstream: entryFor(s.URL)})
	wantKind(t, err, ErrUnavailable)
	u := entryFor(s.URL)
	u.CAFile = t.TempDir() + "/ca.pem"
	os.WriteFile(u.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600)
	if _, err := connect(t, dialConfig{Upstream: u}).do(t.Context(), echoCall()); err != nil {
		t.Error(err)
	}
}

func TestProxyIsUsed(t *testing.T) {
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.String())
		m := readRPC(r)
		sendJSON(w, 200, m.result(discoverResult))
	}))
	t.Cleanup(proxy.Close)
	u := entryFor("http://mcp.example/mcp")
	u.Proxy = proxy.URL
	connect(t, dialConfig{Upstream: u})
	if asked.Load() != "http://mcp.example/mcp" {
		t.Error(asked.Load())
	}
}

// A literal private address in the entry's own url is permission for
// that host and port; what a name resolves to is not.
func TestAddressesThatMayBeDialled(t *testing.T) {
	cases := []struct {
		url, dialled string
		ok           bool
	}{
		{"https://mcp.example.com", "93.184.216.34:443", true},
		{"https://mcp.example.com", "[2606:2800:220:1::1]:443", true},
		{"http://127.0.0.1:8000", "127.0.0.1:8000", true},
		{"http://127.0.0.1:8000", "127.0.0.1:8001", false},
		{"http://127.0.0.1:8000", "127.0.0.2:8000", false},
		{"http://[::1]:8000", "[::1]:8000", true},
		{"http://localhost:8000", "127.0.0.1:8000", true},
		{"http://localhost:8000", "[::1]:8000", true},
		{"http://localhost:8000", "127.0.0.1:9000", false},
		{"http://localhost:8000", "10.0.0.1:8000", false},
		{"http://10.1.2.3", "10.1.2.3:80", true},
		{"https://10.1.2.3", "10.1.2.3:443", true},
		{"https://[fd12::1]", "[fd12::1]:443", true},
		{"http://100.64.1.1", "100.64.1.1:80", true},
		{"http://169.254.169.254", "169.254.169.254:80", false},
		{"http://100.100.100.200", "100.100.100.200:80", false},
		{"http://[fd00:ec2::254]", "[fd00:ec2::254]:80", false},
		{"http://0.0.0.0:80", "0.0.0.0:80", false},
	}
	for _, inside := range []string{"10.0.0.1", "127.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
		"224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1",
		"64:ff9b::a00:1", "2002:a00:1::", "::10.0.0.1"} {
		cases = append(cases, struct {
			url, dialled string
			ok           bool
		}{"https://rebound.example.com", netip.AddrPortFrom(netip.MustParseAddr(inside), 443).String(), false})
	}
	for _, tt := range cases {
		u, _ := url.Parse(tt.url)
		err := newGuard(u, nil).check(netip.MustParseAddrPort(tt.dialled), false)
		if (err == nil) != tt.ok {
			t.Errorf("%s to %s: %v", tt.url, tt.dialled, err)
		}
	}
	private := netip.MustParseAddrPort("10.9.9.9:3128")
	u, _ := url.Parse("https://mcp.example.com")
	p, _ := url.Parse("http://proxy.corp:3128")
	if err := newGuard(u, p).check(private, true); err != nil {
		t.Error("the operator's proxy:", err)
	}
	if newGuard(u, p).check(netip.MustParseAddrPort("169.254.169.254:3128"), true) == nil {
		t.Error("a proxy that is the metadata service")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "0": 0, "30": 30 * time.Second, "3600": time.Hour, "3601": time.Hour,
		"Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Thu, 01 Jan 2025 00:01:00 GMT": 0,
	} {
		if got := retryAfter(v, now); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}
