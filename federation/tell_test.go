package federation

import (
	"testing"

	"github.com/ostiary/ostiary/catalogs"
)

// MCP 2024-11-05, Roots: a client that has roots tells when they change.
func TestAnUpstreamOfHTTPAndSSEHearsOfChangedRootsOfItsPrincipalAlone(t *testing.T) {
	u := newSSEUpstream(t, echoEvent)
	f := realWorld(t, u.entry(catalogs.SSE))
	if _, err := f.Call(t.Context(), user("alice"), echoCall()); err != nil {
		t.Fatal(err)
	}
	f.RootsChanged(user("bob"), "up")
	f.RootsChanged(user("alice"), "up")
	u.got(t, "notifications/roots/list_changed", func(m rpc) bool { return m.Method == "notifications/roots/list_changed" })
	if n := u.count("notifications/roots/list_changed"); n != 1 {
		t.Errorf("it heard %d times", n)
	}
}
