package credential

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/catalogs"
)

func keyed(to string) *catalogs.Upstream {
	return &catalogs.Upstream{
		Name: "up", URL: to, Source: catalogs.Position{File: "catalogs/up.yaml", Line: 3},
		Auth: catalogs.Auth{Type: catalogs.AuthHeader, Header: "X-Api-Key", Value: "the-upstreams-key"},
	}
}

func request(to string) *http.Request {
	u, _ := url.Parse(to)
	return &http.Request{URL: u, Header: http.Header{}}
}

func TestAHeaderIsSentToTheEntrysOriginAlone(t *testing.T) {
	c, err := new(Keeper).Credential(t.Context(), keyed("https://a.example/mcp"), nil)
	if err != nil || c.ID != "up/header" {
		t.Fatal(c.ID, err)
	}
	for to, goes := range map[string]bool{
		"https://a.example/mcp":      true,
		"https://A.example:443/else": true,
		"http://a.example/mcp":       false,
		"https://a.example:8443/mcp": false,
		"https://b.example/mcp":      false,
		"https://a.example.b/mcp":    false,
	} {
		r := request(to)
		err := c.Authorize(r)
		if sent := r.Header.Get("X-Api-Key") == "the-upstreams-key"; sent != goes || (err == nil) != goes {
			t.Errorf("%s: sent %v, %v", to, sent, err)
		}
	}
}

func TestACredentialCrossesNoNetworkInClear(t *testing.T) {
	for to, fine := range map[string]bool{
		"http://127.0.0.1:1/mcp": true, "http://[::1]/mcp": true, "http://localhost:8080/mcp": true,
		"http://10.0.0.1/mcp": false, "http://a.example/mcp": false, "http://localhost.example/mcp": false,
		"http://127.0.0.1.example/mcp": false, "": false,
	} {
		if _, err := new(Keeper).Credential(t.Context(), keyed(to), nil); (err == nil) != fine {
			t.Errorf("%s: %v", to, err)
		}
	}
	u := keyed("http://127.0.0.1:1/mcp")
	u.Proxy = "http://proxy.example:3128"
	if _, err := new(Keeper).Credential(t.Context(), u, nil); err == nil || !strings.Contains(err.Error(), "proxy") {
		t.Error(err)
	}
}

func TestKindsThatAreNotBuiltAreRefusedInWords(t *testing.T) {
	for _, kind := range []string{catalogs.AuthOAuth, catalogs.AuthTokenExchange, catalogs.AuthIDJAG, catalogs.AuthMTLS, "else"} {
		u := keyed("https://a.example/mcp")
		u.Auth = catalogs.Auth{Type: kind}
		for _, source := range []Source{None{}, new(Keeper)} {
			_, err := source.Credential(t.Context(), u, nil)
			if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), kind) || !strings.Contains(err.Error(), "catalogs/up.yaml:3") {
				t.Errorf("%T: %v", source, err)
			}
		}
	}
	if _, err := (None{}).Credential(t.Context(), keyed("https://a.example/mcp"), nil); err == nil {
		t.Error("a header's entry was called bare")
	}
}

func TestAnotherValueIsAnotherCredential(t *testing.T) {
	var k Keeper
	value := func(u *catalogs.Upstream) string {
		c, err := k.Credential(t.Context(), u, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := request(u.URL)
		if err := c.Authorize(r); err != nil {
			t.Fatal(err)
		}
		if c.Mask().Text(u.Auth.Value.Reveal()) != hidden {
			t.Errorf("%s is not masked", r.Header.Get("X-Api-Key"))
		}
		return r.Header.Get("X-Api-Key")
	}
	u, rotated := keyed("https://a.example/mcp"), keyed("https://a.example/mcp")
	rotated.Auth.Value = "the-next-key"
	if a, b := value(u), value(rotated); a != "the-upstreams-key" || b != "the-next-key" {
		t.Error(a, b)
	}
}

func TestWhatTheEntryTellsTheUpstreamIsMasked(t *testing.T) {
	mask := func(u *catalogs.Upstream) *Mask {
		c, err := new(Keeper).Credential(t.Context(), u, nil)
		if err != nil || c.Mask == nil {
			t.Fatal("no mask", err)
		}
		return c.Mask()
	}
	basic := keyed("https://a.example/mcp")
	basic.Auth = catalogs.Auth{Type: catalogs.AuthHeader, Header: "Authorization", Prefix: "Basic ", Value: "dXNlcjpwYXNzd29yZC0x"}
	link := &catalogs.Upstream{Name: "up", URL: "https://a.example/mcp?api_key=key-in-the-query&page=something", Auth: catalogs.Auth{Type: catalogs.AuthNone}}
	process := &catalogs.Upstream{Name: "up", Command: []string{"x"}, Env: map[string]catalogs.Secret{"API_TOKEN": "token-of-a-process", "ROOT": "/srv/files"}}
	for text, want := range map[string]struct {
		u    *catalogs.Upstream
		want string
	}{
		"dXNlcjpwYXNzd29yZC0x user:password-1 password-1": {basic, "(credential) (credential) (credential)"},
		"key-in-the-query something":                      {link, "(credential) something"},
		"token-of-a-process /srv/files":                   {process, "(credential) /srv/files"},
	} {
		if got := mask(want.u).Text(text); got != want.want {
			t.Errorf("%s: %s", text, got)
		}
	}
	if c, err := new(Keeper).Credential(t.Context(), &catalogs.Upstream{Name: "up", URL: "https://a.example/mcp"}, nil); err != nil || c.Mask != nil || c.ID != "" {
		t.Error("an entry without secrets has a mask", err)
	}
}

func BenchmarkTakingACredential(b *testing.B) {
	var k Keeper
	u := keyed("https://a.example/mcp")
	r := request(u.URL)
	b.ReportAllocs()
	for b.Loop() {
		c, err := k.Credential(b.Context(), u, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Authorize(r); err != nil {
			b.Fatal(err)
		}
	}
}
