package main

import (
	"net/http"
	"testing"
)

func TestHTTPAndSSEIsSwitchedOnByConfiguration(t *testing.T) {
	for content, want := range map[string]int{"": http.StatusMethodNotAllowed, "legacySse: true\n": http.StatusOK} {
		g := newSite(t).serve(t, "--config", write(t, "ostiary.yaml", content))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/event-stream")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%q: HTTP %d, want %d", content, response.StatusCode, want)
		}
	}
	c, err := loadConfig(write(t, "ostiary.yaml", ""), nil, func(name string) (string, bool) { return "true", name == "OSTIARY_LEGACY_SSE" })
	if err != nil || !c.LegacySSE {
		t.Errorf("OSTIARY_LEGACY_SSE=true: %v, %v", c.LegacySSE, err)
	}
}
