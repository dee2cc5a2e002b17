package wire

import (
	"errors"
	"net/http"
	"testing"
)

func TestEraIsChosenByMarkersNeverByMethod(t *testing.T) {
	const (
		body    = `{"jsonrpc":"2.0","id":1,"method":"%","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`
		capable = `{"jsonrpc":"2.0","id":1,"method":"%","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}}`
		number  = `{"jsonrpc":"2.0","id":1,"method":"%","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}}`
		old     = `{"jsonrpc":"2.0","id":1,"method":"%","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-06-18"}}}`
		plain   = `{"jsonrpc":"2.0","id":1,"method":"%","params":{"protocolVersion":"2026-07-28","_meta":{"progressToken":1}}}`
	)
	tests := []struct {
		rule    string
		headers []string
		body    string
		era     Era
		version string
		wrong   bool
	}{
		{"nothing", nil, plain, Legacy, "2025-03-26", false},
		{"legacy header", []string{"2025-11-25"}, plain, Legacy, "2025-11-25", false},
		{"modern header", []string{"2026-07-28"}, plain, Modern, "2026-07-28", false},
		{"outer whitespace", []string{" 2026-07-28\t"}, plain, Modern, "2026-07-28", false},
		{"future header", []string{"2099-01-01"}, plain, Modern, "2099-01-01", false},
		{"unknown old header", []string{"2025-01-01"}, plain, Legacy, "2025-01-01", false},
		{"no version at all", []string{"v2"}, plain, Legacy, "v2", true},
		{"no date", []string{"2026-13-01"}, plain, Legacy, "2026-13-01", true},
		{"empty header", []string{""}, plain, Legacy, "", true},
		{"two headers", []string{"2026-07-28", "2026-07-28"}, plain, Legacy, "", true},
		{"body alone", nil, body, Modern, "2026-07-28", false},
		{"body and legacy header", []string{"2025-06-18"}, body, Modern, "2026-07-28", false},
		{"body and broken header", []string{"v2"}, body, Modern, "2026-07-28", false},
		{"capabilities alone", nil, capable, Modern, "", false},
		{"capabilities and header", []string{"2026-07-28"}, capable, Modern, "2026-07-28", false},
		{"capabilities and two headers", []string{"2026-07-28", "2025-06-18"}, capable, Modern, "", true},
		{"body version is no string", nil, number, Modern, "", false},
		{"body names a legacy version", nil, old, Modern, "2025-06-18", false},
	}
	for _, test := range tests {
		for _, method := range []string{"initialize", "ping", "server/discover", "tools/call"} {
			t.Run(test.rule+", "+method, func(t *testing.T) {
				h := http.Header{"Mcp-Protocol-Version": test.headers}
				m := parse(t, test.body, method)
				era, version, err := EraOf(h, m)
				var wrong *VersionError
				if era != test.era || version != test.version || errors.As(err, &wrong) != test.wrong {
					t.Errorf("%v %q %v", era, version, err)
				}
			})
		}
	}
	t.Run("no message", func(t *testing.T) {
		if era, version, err := EraOf(http.Header{}, nil); era != Legacy || version != AssumedVersion || err != nil {
			t.Errorf("%v %q %v", era, version, err)
		}
		if era, _, _ := EraOf(http.Header{"Mcp-Protocol-Version": {"2026-07-28"}}, nil); era != Modern {
			t.Error(era)
		}
	})
}

func TestVersionErrorIsShort(t *testing.T) {
	long := make([]byte, 100_000)
	for i := range long {
		long[i] = 'x'
	}
	_, version, err := EraOf(http.Header{"Mcp-Protocol-Version": {string(long)}}, nil)
	var wrong *VersionError
	if !errors.As(err, &wrong) || len(wrong.Requested) != 64 || len(version) != 64 || len(err.Error()) > 200 {
		t.Errorf("%d %v", len(version), err)
	}
}

func TestVersionsAreNegotiated(t *testing.T) {
	for requested, want := range map[string]string{
		"2024-11-05": "2024-11-05", "2025-03-26": "2025-03-26", "2025-06-18": "2025-06-18", "2025-11-25": "2025-11-25",
		"2026-07-28": "2025-11-25", "2099-01-01": "2025-11-25", "1.0": "2025-11-25", "": AssumedVersion,
	} {
		if got := NegotiateLegacy(requested); got != want {
			t.Errorf("%q: %q", requested, got)
		}
	}
	for i, version := range Versions() {
		era, known := KnownVersion(version)
		if !known || (era == Modern) != (i == 0) {
			t.Errorf("%s: %v %v", version, era, known)
		}
	}
	for version, want := range map[string]Era{"2099-01-01": Modern, "draft": Legacy, "2026-7-28": Legacy} {
		if era, known := KnownVersion(version); known || era != want {
			t.Errorf("%s: %v %v", version, era, known)
		}
	}
}
