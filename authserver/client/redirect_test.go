package client

import (
	"strings"
	"testing"

	"github.com/ostiary/ostiary/store"
)

// Security catalogue A-034.
func TestARedirectURIMatchesAsAString(t *testing.T) {
	c := &store.Client{RedirectURIs: []string{"https://app.example/cb", "https://app.example/q?a=1", "cursor://anysphere.cursor-mcp/oauth/callback"}}
	tests := []struct {
		name, asked string
		want        bool
	}{
		{"the same", "https://app.example/cb", true},
		{"the same with its query", "https://app.example/q?a=1", true},
		{"the same of a private scheme", "cursor://anysphere.cursor-mcp/oauth/callback", true},
		{"nothing", "", false},
		{"another host", "https://evil.example/cb", false},
		{"a path suffix", "https://app.example/cb/evil", false},
		{"a slash more", "https://app.example/cb/", false},
		{"a dot segment", "https://app.example/x/../cb", false},
		{"an encoded dot segment", "https://app.example/x/%2e%2e/cb", false},
		{"path case", "https://app.example/CB", false},
		{"host case", "https://APP.example/cb", false},
		{"scheme case", "HTTPS://app.example/cb", false},
		{"a user", "https://app.example@evil.example/cb", false},
		{"a user in front", "https://evil@app.example/cb", false},
		{"a fragment", "https://app.example/cb#x", false},
		{"an extra query", "https://app.example/cb?x=1", false},
		{"an empty query", "https://app.example/cb?", false},
		{"an encoded slash", "https://app.example%2fcb", false},
		{"an encoded letter", "https://app.example/%63b", false},
		{"a backslash", `https://app.example\@evil.example/cb`, false},
		{"an IDN homoglyph", "https://аpp.example/cb", false},
		{"the default port", "https://app.example:443/cb", false},
		{"another port", "https://app.example:8443/cb", false},
		{"plain http", "http://app.example/cb", false},
		{"a dot after the host", "https://app.example./cb", false},
		{"a host suffix", "https://app.example.evil.example/cb", false},
		{"a space behind", "https://app.example/cb ", false},
		{"a line end behind", "https://app.example/cb\r\n", false},
		{"another private host", "cursor://evil/oauth/callback", false},
		{"another private scheme", "cursors://anysphere.cursor-mcp/oauth/callback", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := MatchRedirect(c, tt.asked); got != tt.want {
				t.Errorf("MatchRedirect(%q) = %v", tt.asked, got)
			}
		})
	}
}

// Security catalogue A-035.
func TestOnLoopbackOnlyThePortMayDiffer(t *testing.T) {
	tests := []struct {
		known, asked string
		want         bool
	}{
		{"http://127.0.0.1/callback", "http://127.0.0.1:49152/callback", true},
		{"http://127.0.0.1:33418/", "http://127.0.0.1:1/", true},
		{"http://localhost:3118/callback", "http://localhost:65535/callback", true},
		{"http://localhost:3118/callback", "http://localhost/callback", true},
		{"http://[::1]:80/cb", "http://[::1]:8080/cb", true},
		{"http://localhost/cb?a=1", "http://localhost:9/cb?a=1", true},
		{"http://localhost", "http://localhost:8080", true},

		{"http://localhost/cb", "http://127.0.0.1:9/cb", false},
		{"http://127.0.0.1/cb", "http://localhost:9/cb", false},
		{"http://127.0.0.1/cb", "http://[::1]:9/cb", false},
		{"http://[::1]/cb", "http://[0:0:0:0:0:0:0:1]:9/cb", false},
		{"http://127.0.0.1/cb", "http://127.1:9/cb", false},
		{"http://127.0.0.1/cb", "http://0x7f.1:9/cb", false},
		{"http://127.0.0.1/cb", "http://2130706433:9/cb", false},
		{"http://127.0.0.1/cb", "http://0177.0.0.1:9/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.2:9/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1.:9/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1.evil.example:9/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:9@evil.example/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1@evil.example/cb", false},
		{"http://127.0.0.1/cb", `http://127.0.0.1:9\@evil.example/cb`, false},
		{"http://127.0.0.1/cb", "https://127.0.0.1:9/cb", false},
		{"http://127.0.0.1/cb", "HTTP://127.0.0.1:9/cb", false},
		{"http://localhost/cb", "http://LOCALHOST:9/cb", false},
		{"http://localhost/cb", "http://localhost.:9/cb", false},
		{"http://localhost/cb", "http://user@localhost:9/cb", false},
		{"http://localhost/cb", "http://localhost:9/cb/x", false},
		{"http://localhost/cb", "http://localhost:9/x/../cb", false},
		{"http://localhost/cb", "http://localhost:9/CB", false},
		{"http://localhost/cb", "http://localhost:9/cb?x=1", false},
		{"http://localhost/cb", "http://localhost:9/cb#x", false},
		{"http://localhost/cb", "http://localhost:9%2fcb", false},
		{"http://localhost/cb", "http://localhost:0/cb", false},
		{"http://localhost/cb", "http://localhost:65536/cb", false},
		{"http://localhost/cb", "http://localhost:09/cb", false},
		{"http://localhost/cb", "http://localhost:/cb", false},
		{"http://localhost/cb", "http://localhost:+9/cb", false},
		{"http://localhost/cb?a=1", "http://localhost:9/cb?a=2", false},
		{"http://localhost/cb", "http://localhost9/cb", false},
		{"https://localhost/cb", "https://localhost:9/cb", false},
		{"https://app.example/cb", "http://localhost:9/cb", false},
	}
	for _, tt := range tests {
		t.Run(tt.known+" "+tt.asked, func(t *testing.T) {
			if got := MatchRedirect(&store.Client{RedirectURIs: []string{tt.known}}, tt.asked); got != tt.want {
				t.Errorf("= %v", got)
			}
		})
	}
}

// Security catalogue A-045.
func TestWhatMayBeRegisteredAsARedirectURI(t *testing.T) {
	schemes := []string{"cursor", "com.example.app"}
	good := []string{
		"https://claude.ai/api/mcp/auth_callback", "https://app.example", "https://app.example:8443/cb?x=1", "https://[2001:db8::1]/cb",
		"https://xn--bcher-kva.example/cb", "https://vscode.dev/redirect", "https://localhost:8443/cb",
		"http://localhost:1234/callback", "http://127.0.0.1/", "http://127.0.0.1:33418/", "http://[::1]:9/cb", "http://localhost",
		"cursor://anysphere.cursor-mcp/oauth/callback", "com.example.app:/oauth2redirect",
		"https://app.example/" + strings.Repeat("a", MaxURI-len("https://app.example/")),
	}
	for _, uri := range good {
		if err := checkRedirect(uri, schemes); err != nil {
			t.Errorf("%.80q refused: %v", uri, err)
		}
	}
	bad := []string{
		"", "/cb", "app.example/cb", "//app.example/cb", "https:app.example", "https:/app.example/cb", "https://", "https:///cb",
		"http://app.example/cb", "http://10.0.0.1/cb", "http://localhost.evil.example/cb", "http://127.0.0.1.:9/cb", "http://LOCALHOST/cb",
		"http://127.1/cb", "http://0x7f.1/cb", "https://127.1/cb", "https://0x7f000001/cb", "https://2130706433/cb", "https://1.2.3.4.5/cb",
		"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "blob:https://a/b",
		"https://*.example.com/cb", "https://app.example/*", "https://app.example/cb#x", "https://app.example/cb#",
		"https://user@app.example/cb", "https://user:pw@app.example/cb", "https://@app.example/cb", `https://app.example\@evil/cb`,
		"https://аpp.example/cb", "https://app.example/c b", "https://app.example/cb\n", "https://app.example/\x00", "https://app.example/\u202ecb",
		"https://app.example/a/../cb", "https://app.example/./cb", "https://app.example/%2e%2e/cb", "https://app%2eexample/cb",
		"https://app.example:0/cb", "https://app.example:65536/cb", "https://app.example:/cb", "HTTPS://app.example/cb",
		"vscode://x/cb", "cursor:", "Cursor://x/cb", "cursor://user@x/cb", "com.example.other:/cb",
		"https://app.example/" + strings.Repeat("a", MaxURI-len("https://app.example/")+1),
	}
	for _, uri := range bad {
		if checkRedirect(uri, schemes) == nil {
			t.Errorf("%.80q taken", uri)
		}
	}
}

func TestTheOperatorCantAllowASchemeThatBrowsersRun(t *testing.T) {
	for _, s := range append([]string{"http", "https", "Cursor", "cursor:", "a b", ""}, neverSchemes...) {
		if (&Registry{PrivateSchemes: []string{s}}).Check() == nil {
			t.Errorf("%q allowed", s)
		}
	}
	if err := (&Registry{PrivateSchemes: []string{"cursor", "com.example.app"}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestWhereARedirectURILeads(t *testing.T) {
	tests := []struct {
		uri, host string
		loopback  bool
		private   bool
	}{
		{"https://App.example/cb", "app.example", false, false},
		{"https://app.example:443/cb", "app.example", false, false},
		{"https://app.example:8443/cb", "app.example:8443", false, false},
		{"http://localhost:1234/cb", "localhost", true, false},
		{"http://127.0.0.1:1234/cb", "127.0.0.1", true, false},
		{"http://[::1]:1234/cb", "[::1]", true, false},
		{"https://localhost:8443/cb", "localhost", true, false},
		{"https://a.localhost./cb", "a.localhost.", true, false},
		{"https://[::ffff:127.0.0.1]/cb", "[::ffff:127.0.0.1]", true, false},
		{"https://0.0.0.0/cb", "0.0.0.0", true, false},
		{"https://localhost.example/cb", "localhost.example", false, false},
		{"cursor://anysphere.cursor-mcp/cb", "cursor:", false, true},
		{"com.example.app:/cb", "com.example.app:", false, true},
		{"/cb", "", false, false},
		{"://", "", false, false},
	}
	for _, tt := range tests {
		if got := RedirectHost(tt.uri); got != tt.host {
			t.Errorf("RedirectHost(%q) = %q, want %q", tt.uri, got, tt.host)
		}
		if got := Loopback(tt.uri); got != tt.loopback {
			t.Errorf("Loopback(%q) = %v", tt.uri, got)
		}
		if got := PrivateScheme(tt.uri); got != tt.private {
			t.Errorf("PrivateScheme(%q) = %v", tt.uri, got)
		}
	}
}

// FuzzMatchRedirect: what matches is what was registered, or differs from it
// only by a port in its only spelling.
func FuzzMatchRedirect(f *testing.F) {
	f.Add("http://localhost/cb", "http://localhost:1/cb")
	f.Add("http://127.0.0.1:9/cb?x", `http://127.0.0.1:9\@evil/cb?x`)
	f.Add("https://a.example/cb", "https://a.example/cb")
	f.Add("http://[::1]", "http://[::1]:08")
	f.Fuzz(func(t *testing.T, known, asked string) {
		if checkRedirect(known, []string{"cursor"}) != nil || !MatchRedirect(&store.Client{RedirectURIs: []string{known}}, asked) {
			return
		}
		if known == asked {
			return
		}
		if err := checkRedirect(asked, nil); err != nil {
			t.Errorf("%q matches %q, but could not be registered: %v", asked, known, err)
		}
		if !Loopback(asked) || RedirectHost(asked) != RedirectHost(known) {
			t.Errorf("%q matches %q and leads elsewhere", asked, known)
		}
		k, _ := webURL(known)
		a, err := webURL(asked)
		if err != nil || a.EscapedPath() != k.EscapedPath() || a.RawQuery != k.RawQuery || a.Scheme != k.Scheme || a.Hostname() != k.Hostname() {
			t.Errorf("%q matches %q with more than another port", asked, known)
		}
	})
}
