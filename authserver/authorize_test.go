package authserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAuthorizeRefusals: what can't be trusted ends on a page, everything else
// goes back to the client with error, state and iss (A-034, A-036, A-043,
//
func TestAuthorizeRefusals(t *testing.T) {
	h := newHouse(t)
	b := h.browser().signIn("alice")
	good := authorize("loop", loopUsed)
	for name, c := range map[string]struct{ address, want string }{
		"unknown client":           {authorize("nobody", loopUsed), "page"},
		"no client":                {authorize("", loopUsed), "page"},
		"built-in client":          {authorize("cli", loopUsed), "page"},
		"unregistered address":     {authorize("loop", "https://evil.example/cb"), "page"},
		"longer path":              {authorize("loop", loopUsed+"/x"), "page"},
		"user in the address":      {authorize("loop", "http://127.0.0.1@evil.example/callback"), "page"},
		"another loopback name":    {authorize("loop", "http://localhost:20117/callback"), "page"},
		"fragment":                 {authorize("loop", loopUsed+"#x"), "page"},
		"two addresses":            {good + "&redirect_uri=" + url.QueryEscape("https://evil.example/"), "page"},
		"two clients":              {good + "&client_id=web", "page"},
		"invalid UTF-8":            {good + "&x=%ff", "page"},
		"a stale request_uri":      {authorize("loop", loopUsed, "request_uri", pushedPrefix+"X"), "page"},
		"state twice":              {good + "&state=other", "invalid_request"},
		"scope twice":              {good + "&scope=mcp", "invalid_request"},
		"token":                    {authorize("loop", loopUsed, "response_type", "token"), "unsupported_response_type"},
		"id_token":                 {authorize("loop", loopUsed, "response_type", "id_token code"), "unsupported_response_type"},
		"no response_type":         {authorize("loop", loopUsed, "response_type", ""), "unsupported_response_type"},
		"fragment mode":            {authorize("loop", loopUsed, "response_mode", "fragment"), "invalid_request"},
		"no challenge":             {authorize("loop", loopUsed, "code_challenge", ""), "invalid_request"},
		"plain":                    {authorize("loop", loopUsed, "code_challenge_method", "plain"), "invalid_request"},
		"no method":                {authorize("loop", loopUsed, "code_challenge_method", ""), "invalid_request"},
		"a short challenge":        {authorize("loop", loopUsed, "code_challenge", strings.Repeat("a", 42)), "invalid_request"},
		"unknown scope":            {authorize("loop", loopUsed, "scope", "mcp admin"), "invalid_scope"},
		"foreign resource":         {authorize("loop", loopUsed, "resource", "https://evil.example/mcp"), "invalid_target"},
		"resource with fragment":   {authorize("loop", loopUsed, "resource", h.url+"/mcp#x"), "invalid_target"},
		"relative resource":        {authorize("loop", loopUsed, "resource", "/mcp"), "invalid_target"},
		"two resources":            {authorize("loop", loopUsed, "resource", h.url+"/mcp") + "&resource=" + url.QueryEscape(h.url+"/mcp/github"), "invalid_target"},
		"request object":           {authorize("loop", loopUsed, "request", "e30.e30."), "request_not_supported"},
		"foreign request_uri":      {authorize("loop", loopUsed, "request_uri", "http://169.254.169.254/"), "request_uri_not_supported"},
		"registration":             {authorize("loop", loopUsed, "registration", "{}"), "registration_not_supported"},
		"unknown prompt":           {authorize("loop", loopUsed, "prompt", "create"), "invalid_request"},
		"none and login":           {authorize("loop", loopUsed, "prompt", "none login"), "invalid_request"},
		"none, never asked":        {authorize("loop", loopUsed, "prompt", "none"), "consent_required"},
		"max_age of no number":     {authorize("loop", loopUsed, "max_age", "-1"), "invalid_request"},
		"same resource twice":      {authorize("loop", loopUsed, "resource", h.url+"/mcp") + "&resource=" + url.QueryEscape(h.url+"/mcp/"), ""},
		"upper-case resource":      {authorize("loop", loopUsed, "resource", strings.ToUpper(h.url)+"/mcp"), ""},
		"another loopback spelled": {authorize("loop", loopUsed, "resource", strings.Replace(h.url, "127.0.0.1", "localhost", 1)+"/mcp"), ""},
		"an upstream":              {authorize("loop", loopUsed, "resource", h.url+"/mcp/none-such"), ""},
		"no state":                 {authorize("loop", loopUsed, "state", ""), ""},
		"explicit query mode":      {authorize("loop", loopUsed, "response_mode", "query"), ""},
		"audience is not read":     {authorize("loop", loopUsed, "audience", "https://evil.example/"), ""},
	} {
		a := b.get(c.address)
		q := a.query()
		switch c.want {
		case "page":
			if a.StatusCode != 400 || q != nil || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") {
				t.Errorf("%s: %d %s, want a page", name, a.StatusCode, a.Header.Get("Location"))
			}
		case "":
			if a.StatusCode != 200 || a.at() != "/consent" {
				t.Errorf("%s: %d %s %s, want consent", name, a.StatusCode, a.at(), a.Header.Get("Location"))
			}
		default:
			if a.StatusCode != 303 || q.Get("error") != c.want || q.Get("iss") != h.url || q.Get("state") != "the-state-of-loop" || q.Has("code") {
				t.Errorf("%s: %d %s, want %s", name, a.StatusCode, a.Header.Get("Location"), c.want)
			}
		}
	}
	if a := h.browser().get(authorize("loop", loopUsed, "prompt", "none")); a.query().Get("error") != "login_required" {
		t.Errorf("prompt=none, nobody signed in: %s", a.Header.Get("Location"))
	}
	mixed := h.browser().do("POST", good, url.Values{"client_id": {"loop"}})
	if mixed.StatusCode != 400 || mixed.query() != nil {
		t.Errorf("query and body mixed: %d", mixed.StatusCode)
	}
	if a := h.browser().do("PUT", good, nil); a.StatusCode != 405 {
		t.Errorf("PUT: %d", a.StatusCode)
	}
	if a := h.browser().get(good + "&x=" + strings.Repeat("y", maxQuery)); a.StatusCode != 400 {
		t.Errorf("over the limit: %d", a.StatusCode)
	}
}

// TestASealedRequestExpires: ten minutes, and only while the client may ask.
func TestASealedRequestExpires(t *testing.T) {
	h := newHouse(t)
	a := h.browser().get(authorize("loop", loopUsed))
	sealed := a.field("request")
	h.forward(authorizationLife - time.Minute)
	if _, err := h.openAuthorization(t.Context(), sealed); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	h.forward(time.Minute)
	if _, err := h.openAuthorization(t.Context(), sealed); err == nil {
		t.Error("opens after its end")
	}
	fresh := h.browser().get(authorize("loop", loopUsed)).field("request")
	if err := h.RevokeClient(t.Context(), "loop"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.openAuthorization(t.Context(), fresh); err == nil {
		t.Error("opens for a client that is gone")
	}
	if _, err := h.openAuthorization(t.Context(), fresh[:len(fresh)-2]); err == nil {
		t.Error("opens when cut")
	}
}

// TestPushedRequests (RFC 9126): a reference works once, for its client, for a
// minute; what could not be asked openly can't be pushed.
func TestPushedRequests(t *testing.T) {
	h := newHouse(t)
	u := must(url.Parse(authorize("loop", loopUsed, "state", "pushed")))
	push := func(more ...string) said {
		v := u.Query()
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return h.ask("/oauth/par", v)
	}
	b := h.browser().signIn("alice")
	use := func(id, uri string) answer {
		return b.get("/oauth/authorize?" + url.Values{"client_id": {id}, "request_uri": {uri}}.Encode())
	}
	p := push()
	uri, _ := p.body["request_uri"].(string)
	if p.StatusCode != 201 || p.body["expires_in"] != 60.0 || !strings.HasPrefix(uri, pushedPrefix) || p.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", p.StatusCode, p.body)
	}
	a := use("loop", uri)
	if a.at() != "/consent" || b.decide(a, "approve").query().Get("state") != "pushed" {
		t.Errorf("the pushed request is not used: %s", a.at())
	}
	if a := use("loop", uri); a.StatusCode != 400 {
		t.Errorf("used twice: %d", a.StatusCode)
	}
	uri, _ = push().body["request_uri"].(string)
	if a := use("web", uri); a.StatusCode != 400 {
		t.Errorf("another client's: %d", a.StatusCode)
	}
	uri, _ = push().body["request_uri"].(string)
	h.forward(pushedLife)
	if a := use("loop", uri); a.StatusCode != 400 {
		t.Errorf("expired: %d", a.StatusCode)
	}
	for name, c := range map[string]struct {
		got  said
		want string
	}{
		"nested":             {push("request_uri", uri), "invalid_request"},
		"a wrong address":    {push("redirect_uri", "https://evil.example/"), "invalid_request"},
		"an unknown client":  {push("client_id", "nobody"), "invalid_client"},
		"an unknown scope":   {push("scope", "admin"), "invalid_scope"},
		"without PKCE":       {push("code_challenge", ""), "invalid_request"},
		"a foreign resource": {push("resource", "https://evil.example/mcp"), "invalid_target"},
	} {
		if c.got.word() != c.want {
			t.Errorf("%s: %d %v", name, c.got.StatusCode, c.got.body)
		}
	}
}

// TestMetadata: RFC 8414 and RFC 9728 under every name, alike for upstreams
// that exist and that don't, and following the loopback name that was used.
func TestMetadata(t *testing.T) {
	h := newHouse(t, withRegistration)
	get := func(host, path string) (int, map[string]any, http.Header) {
		r := must(http.NewRequest("GET", h.url+path, nil))
		r.Host = host
		r.Header.Set("Origin", "https://inspector.example")
		s := h.send(r)
		return s.StatusCode, s.body, s.Header
	}
	own := strings.TrimPrefix(h.url, "http://")
	_, port, _ := strings.Cut(own, ":")
	for _, host := range []string{own, "localhost:" + port, "[::1]:" + port} {
		base := "http://" + host
		for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
			"/.well-known/oauth-authorization-server/mcp", "/.well-known/oauth-authorization-server/mcp/github", "/mcp/.well-known/openid-configuration"} {
			status, m, header := get(host, path)
			if status != 200 || m["issuer"] != base || m["token_endpoint"] != base+"/oauth/token" || m["registration_endpoint"] != base+"/oauth/register" {
				t.Errorf("%s%s: %d %v", host, path, status, m)
			}
			if header.Get("Access-Control-Allow-Origin") != "*" || header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: header %v", path, header)
			}
		}
		for path, resource := range map[string]string{"": "/mcp", "/mcp": "/mcp", "/mcp/github": "/mcp/github", "/mcp/none-such": "/mcp/none-such"} {
			status, m, _ := get(host, "/.well-known/oauth-protected-resource"+path)
			if status != 200 || m["resource"] != base+resource || !slices.Equal(m["authorization_servers"].([]any), []any{base}) || !slices.Equal(m["scopes_supported"].([]any), []any{"mcp"}) {
				t.Errorf("%s%s: %d %v", host, path, status, m)
			}
		}
	}
	if _, m, _ := get("evil.example", "/.well-known/oauth-authorization-server"); m["issuer"] != h.url {
		t.Errorf("a foreign Host got into the document: %v", m["issuer"])
	}
	for _, path := range []string{"/other", "/mcp/a/b", "/mcp/UPPER", "/mcp/" + strings.Repeat("a", maxUpstreamName+1)} {
		if status, _, _ := get(own, "/.well-known/oauth-protected-resource"+path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	_, m, _ := get(own, "/.well-known/oauth-authorization-server")
	for name, want := range map[string]string{
		"code_challenge_methods_supported": `["S256"]`, "response_types_supported": `["code"]`, "response_modes_supported": `["query"]`,
		"scopes_supported": `["heavy","mcp","offline_access"]`, "authorization_response_iss_parameter_supported": `true`,
		"grant_types_supported": `["authorization_code","client_credentials","refresh_token"]`, "authorization_grant_profiles_supported": `null`,
	} {
		if got := string(must(json.Marshal(m[name]))); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	off := newHouse(t)
	r := must(http.NewRequest("GET", off.url+"/.well-known/oauth-authorization-server", nil))
	if s := off.send(r); s.body["registration_endpoint"] != nil {
		t.Error("registration is off and advertised")
	}
}

// TestResourceNames is the rule by which resources are equal.
func TestResourceNames(t *testing.T) {
	public := &Server{Config: Config{Issuer: "https://gw.example"}, issuer: must(url.Parse("https://gw.example"))}
	for asked, want := range map[string]string{
		"https://gw.example/mcp": "/mcp", "https://gw.example/mcp/": "/mcp", "HTTPS://GW.example:443/mcp": "/mcp", "https://gw.example": "/mcp",
		"https://gw.example/": "/mcp", "https://gw.example/mcp/git-hub": "/mcp/git-hub", "https://gw.example/mcp/a/": "/mcp/a",
		"https://gw.example/MCP": "", "https://gw.example/mcp/A": "", "https://gw.example/mcp/a/b": "", "https://gw.example/mcp?x": "", "https://gw.example/mcp#": "",
		"https://gw.example/mcp#x": "", "http://gw.example/mcp": "", "https://gw.example:8443/mcp": "", "https://u@gw.example/mcp": "", "//gw.example/mcp": "", "/mcp": "", "mcp": "",
		"https://gw.example/%6dcp": "", "https://gw.example/mcp%2fa": "", "https://gw.example/x/../mcp": "", "": "", "urn:mcp": "",
	} {
		if want != "" {
			want = public.Issuer + want
		}
		if got := public.resource(asked); got != want {
			t.Errorf("%q: %q, want %q", asked, got, want)
		}
	}
}

// TestSourceBehindProxies: only what a trusted proxy says counts.
func TestSourceBehindProxies(t *testing.T) {
	s := &Server{Config: Config{}}
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "10.0.0.1:5"
	r.Header["X-Forwarded-For"] = []string{"6.6.6.6, 203.0.113.9", "10.0.0.2"}
	if got := s.source(r); got != "10.0.0.1" {
		t.Errorf("nobody trusted: %s", got)
	}
	s.TrustedProxies = append(s.TrustedProxies, mustPrefix("10.0.0.0/8"))
	if got := s.source(r); got != "203.0.113.9" {
		t.Errorf("behind two proxies: %s", got)
	}
}

// What is kept for a stranger has bounds: its size, and how often.
func TestPushedRequestsAreBounded(t *testing.T) {
	h := newHouse(t)
	push := func(state string) said {
		v := must(url.Parse(authorize("loop", loopUsed))).Query()
		v.Set("state", state)
		return h.ask("/oauth/par", v)
	}
	v := must(url.Parse(authorize("loop", loopUsed))).Query()
	v.Set("state", "")
	room := maxPushed - len(v.Encode())
	if p := push(strings.Repeat("s", room)); p.StatusCode != 201 {
		t.Errorf("as large as is kept: %d %v", p.StatusCode, p.body)
	}
	if p := push(strings.Repeat("s", room+1)); p.StatusCode != 413 {
		t.Errorf("a byte more: %d", p.StatusCode)
	}
	for h.pushes.take("127.0.0.1", h.clock(), maxPushes-1, 0) == 0 {
	}
	if p := push("last"); p.StatusCode != 201 {
		t.Errorf("the last of a source: %d", p.StatusCode)
	}
	if p := push("more"); p.StatusCode != 429 || p.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %d", p.StatusCode)
	}
}
