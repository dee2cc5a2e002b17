package authserver

import (
	"html"
	"net/http"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/store"
)

// TestErrorsLeadNobodyToAStrangersSite (RFC 9700 4.11.2): anyone can register a
// client, so a link to this gateway that is refused before anybody was asked
// must not lead to that client's site without the person.
func TestErrorsLeadNobodyToAStrangersSite(t *testing.T) {
	h := newHouse(t, func(_ *house, c *Config) {
		c.Clients.Static = []store.Client{{ID: "ours", RedirectURIs: []string{webURI}}}
		must(0, c.Clients.Check())
		must(0, c.Store.CreateClient(t.Context(), store.Client{ID: "desk", Kind: client.Dynamic, RedirectURIs: []string{"http://[::1]/cb"}, AuthMethod: "none", GrantTypes: []string{"authorization_code"}}, 0))
	})
	bad := []string{"scope", "mcp admin"}
	for name, c := range map[string]struct {
		b        *browser
		address  string
		redirect bool
	}{
		"a stranger's site":               {h.browser(), authorize("web", webURI, bad...), false},
		"and another error":               {h.browser(), authorize("web", webURI, "response_type", "token"), false},
		"and a parameter twice":           {h.browser(), authorize("web", webURI) + "&state=b", false},
		"somebody is signed in":           {h.browser().signIn("alice"), authorize("web", webURI, bad...), false},
		"the operator's client":           {h.browser(), authorize("ours", webURI, bad...), true},
		"a program on this computer":      {h.browser(), authorize("loop", loopUsed, bad...), true},
		"and over IPv6":                   {h.browser(), authorize("desk", "http://[::1]:20117/cb", bad...), true},
		"an app":                          {h.browser(), authorize("app", appURI, bad...), true},
		"in silence":                      {h.browser(), authorize("web", webURI, "scope", "admin", "prompt", "none"), false},
		"in silence, nobody is here":      {h.browser(), authorize("web", webURI, "prompt", "none"), false},
		"in silence, nothing was allowed": {h.browser().signIn("alice"), authorize("web", webURI, "prompt", "none"), false},
	} {
		a := c.b.get(c.address)
		if c.redirect {
			if a.StatusCode != http.StatusSeeOther || a.query().Get("error") == "" || a.query().Get("iss") != h.url {
				t.Errorf("%s: %d %s, want a redirect", name, a.StatusCode, a.Header.Get("Location"))
			}
			continue
		}
		if a.StatusCode != http.StatusBadRequest || a.Header.Get("Location") != "" || a.Header.Get("Refresh") != "" {
			t.Errorf("%s: %d %s, want a page", name, a.StatusCode, a.Header.Get("Location"))
		}
		// The person may go there, knowing where, and the client is told.
		body := html.UnescapeString(a.body)
		if !strings.Contains(body, `href="`+webURI+"?error=") || !strings.Contains(body, "state=") || !strings.Contains(body, "iss=") || !strings.Contains(body, "Go back to app.example") {
			t.Errorf("%s: the page does not lead back\n%s", name, body)
		}
	}
	// Where the person lets this client's answers go already, errors go, too.
	alice := h.browser().signIn("alice")
	alice.connect("web", webURI)
	if a := alice.get(authorize("web", webURI, bad...)); a.query().Get("error") != "invalid_scope" {
		t.Errorf("allowed before: %d", a.StatusCode)
	}
	if a := h.browser().signIn("bob").get(authorize("web", webURI, bad...)); a.Header.Get("Location") != "" {
		t.Error("bob is sent where alice let it")
	}
	if a := h.browser().get(authorize("web", webURI, append(bad, "prompt", "none")...)); a.query().Get("error") != "invalid_scope" {
		t.Errorf("in silence, of a client that alice let in: %d", a.StatusCode)
	}
}
