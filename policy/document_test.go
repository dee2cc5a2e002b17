package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata anew")

// documents are requests whose form as input of rules is fixed: version 1.
func documents() map[string]*Request {
	at := At(time.Date(2026, 3, 2, 14, 5, 6, 0, time.FixedZone("CET", 3600)))
	base := func() *Request {
		return &Request{
			Version:  Version,
			Request:  Act{Method: "tools/call", Kind: "tool", Era: "modern", Endpoint: "/mcp"},
			Upstream: "github",
			Target: Target{
				Kind: "tool", Name: "create_issue", Labels: []string{"write"},
				Annotations: json.RawMessage(`{"readOnlyHint":false}`), Trusted: true, Visibility: []string{"model", "app"},
				Digest: "5d41402abc4b2a76b9719d911017c592ae2f1d3c4b5a69788796a5b4c3d2e1f0",
			},
			Arguments: json.RawMessage(`{"title":"Broken","amount":9007199254740993,"rate":1e-7}`),
			User:      User{ID: "https://id.example:alice", Name: "alice", Groups: []string{"engineering"}, AuthTime: 1772456000, AMR: []string{"pwd", "otp"}},
			Client:    Client{ID: "https://app.example/client.json", Kind: "document", VerifiedName: "App", RedirectHost: "app.example"},
			Grant:     Grant{Scopes: []string{"mcp", "offline_access"}, Resource: "https://gateway.example/mcp", ConsentedAt: 1772450000},
			Agent:     Agent{Name: "claude-code", Version: "2.1"},
			Source:    Source{IP: "2001:db8::7", Proxied: true, TLS: true},
			Time:      at,
		}
	}
	retry := base()
	retry.Responses = json.RawMessage(`{"q1":{"action":"accept","content":{"sure":true}}}`)
	retry.Counters = map[string]int64{"calls": 3}
	listing := base()
	listing.Listing, listing.Arguments, listing.Source, listing.Request.Era = true, nil, Source{}, ""
	bare := &Request{
		Version:  Version,
		Request:  Act{Method: "resources/read", Kind: "resource", Era: "legacy", Endpoint: "/mcp/files"},
		Upstream: "files",
		Target:   Target{Kind: "resource", Name: "file:///srv/a%20b.txt", Labels: []string{}},
		User:     User{ID: "local:local", Name: "local", Groups: []string{}, AMR: []string{}},
		Client:   Client{Kind: "none"},
		Grant:    Grant{Scopes: []string{}},
		Source:   Source{IP: "127.0.0.1"},
		Time:     at,
	}
	return map[string]*Request{"call": base(), "retry": retry, "listing": listing, "without-sign-in": bare}
}

// TestTheInputDocumentKeepsItsForm: rules in the field read these documents. A
// change of one is a new version.
func TestTheInputDocumentKeepsItsForm(t *testing.T) {
	for name, r := range documents() {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(r, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			var back Request
			if err := json.Unmarshal(want, &back); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(&back)
			if err != nil {
				t.Fatal(err)
			}
			if first, _ := json.Marshal(r); !bytes.Equal(first, again) {
				t.Errorf("read back it is\n%s\nwant\n%s", again, first)
			}
		})
	}
}
