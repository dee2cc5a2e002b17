package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestLimitsThatWouldHurtAreRefused(t *testing.T) {
	for _, c := range []struct{ key, value, problem string }{
		{"OSTIARY_LIMITS_RECORD", "128KiB", ""},
		{"OSTIARY_LIMITS_RECORD", "131073", "a record has room for 128KiB"},
		{"OSTIARY_LIMITS_KEEP_ALIVE", "1s", ""},
		{"OSTIARY_LIMITS_KEEP_ALIVE", "999ms", "write 1s or more"},
	} {
		_, err := loadConfig("", nil, func(k string) (string, bool) { return c.value, k == c.key })
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.key+": ") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s=%s: %v", c.key, c.value, err)
		}
	}
}

// Agents are often given the endpoint with a slash behind it.
func TestATrailingSlashNamesTheSameEndpoint(t *testing.T) {
	g := newSite(t).serve(t)
	for path, want := range map[string]int{"/mcp": 405, "/mcp/": 405, "/mcp/pipes": 405, "/mcp/pipes/": 405, "/mcp/pipes/x": 404} {
		resp, err := http.Get(g.base + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}
