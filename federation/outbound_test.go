package federation

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/catalogs"
)

// cases: what an operator wrote is permission for that address and
// no other, and no redirect leads on from it.
func TestOutboundReachesWhatTheOperatorWroteAndNothingElseInside(t *testing.T) {
	leavesNothing(t)
	reached := make(chan string, 16)
	inner := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached <- r.URL.Path }))
	as := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inner+"/redirected", http.StatusTemporaryRedirect)
	}))
	client, err := Outbound(entryFor(as), as)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	resp, err := client.Post(as+"/token", "text/plain", strings.NewReader("secret"))
	if err != nil || resp.StatusCode != 307 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(inner, "http://"))
	for _, to := range []string{inner, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://0.0.0.0:" + port, "http://169.254.169.254/", "http://10.0.0.1:" + port} {
		if _, err := client.Get(to + "/guessed"); !errors.Is(err, errForbiddenAddress) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if len(reached) > 0 {
		t.Errorf("reached: %s", <-reached)
	}
	for _, written := range []string{"", "file:///etc/passwd", "unix:/x", "nonsense"} {
		if _, err := Outbound(&catalogs.Upstream{}, written); err == nil {
			t.Errorf("%q: taken", written)
		}
	}
}
