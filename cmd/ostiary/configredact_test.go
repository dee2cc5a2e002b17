package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/store/audit"
)

func auditConfig(t *testing.T, yaml string) (*config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ostiary.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadConfig(file, nil, func(string) (string, bool) { return "", false })
}

func TestWhatIsRedactedIsReadFromTheFile(t *testing.T) {
	c, err := auditConfig(t, `
audit:
  redact:
    pointers: [/arguments/ssn, {upstream: hr, tool: find, path: /responses/*/pin}]
    keys: [iban, customer no]
    off: [card, cookie]
  quota: {requests: 6000, refused: 60}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := audit.Redaction{
		Pointers: []audit.Pointer{{Path: "/arguments/ssn"}, {Upstream: "hr", Tool: "find", Path: "/responses/*/pin"}},
		Keys:     []string{"iban", "customer no"}, Off: []string{"card", "cookie"},
	}
	if !reflect.DeepEqual(c.Redaction, want) || c.Limits.Requests != 6000 || c.Limits.Refused != 60 {
		t.Errorf("%+v, %+v", c.Redaction, c.Limits)
	}
}

func TestARedactionThatCantBeMeantIsRefused(t *testing.T) {
	for yaml, want := range map[string]string{
		"audit: {redact: {pointers: [ssn]}}":                             "write /arguments/NAME",
		"audit: {redact: {pointers: [{path: /arguments/a, user: bob}]}}": "write path, upstream and tool",
		"audit: {redact: {pointers: /arguments/a}}":                      "want a list",
		"audit: {redact: {off: [jwts]}}":                                 "is no built-in key or detector",
		"audit: {redact: {keys: ['--']}}":                                "letters and digits",
		"audit: {redact: {paths: [a]}}":                                  "unknown key",
		"audit: {quota: {refused: 0}}":                                   "above 0",
	} {
		if _, err := auditConfig(t, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", yaml, err, want)
		}
	}
}
