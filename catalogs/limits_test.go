package catalogs

import (
	"fmt"
	"strings"
	"testing"
)

func TestEveryLimitHoldsJustBelowAndJustAbove(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct {
		name, keys string // %s is the value
		good, bad  string
		says       string
	}{
		{"title", "command: [x], title: %s", long(MaxTitle), long(MaxTitle + 1), "128"},
		{"title, in characters", "command: [x], title: %s", strings.Repeat("ä", MaxTitle), strings.Repeat("ä", MaxTitle+1), "128"},
		{"prefix", "command: [x], prefix: %s", long(MaxPrefix), long(MaxPrefix + 1), "32"},
		{"label", "command: [x], labels: [%s]", long(MaxLabel), long(MaxLabel + 1), "64"},
		{"tool name", "command: [x], tools: {%s: {labels: [a]}}", long(MaxToolName), long(MaxToolName + 1), "256"},
		{"meta key", "command: [x], meta: [%s]", long(MaxMetaKey), long(MaxMetaKey + 1), "_meta"},
		{"timeout above", "command: [x], limits: {timeout: %s}", "24h", "24h0m1s", "24h"},
		{"timeout below", "command: [x], limits: {timeout: %s}", "1ns", "0s", "more than nothing"},
		{"timeout negative", "command: [x], limits: {timeout: %s}", "1s", "-1s", "more than nothing"},
		{"tool timeout", "command: [x], tools: {t: {timeout: %s}}", "24h", "24h0m1s", "24h"},
		{"concurrency above", "command: [x], limits: {concurrency: %s}", "10000", "10001", "10000"},
		{"concurrency below", "command: [x], limits: {concurrency: %s}", "1", "0", "between 1"},
		{"concurrency negative", "command: [x], limits: {concurrency: %s}", "1", "-1", "between 1"},
		{"response above", "command: [x], limits: {response: %s}", "1GiB", "1073741825", "1GiB"},
		{"response in other units", "command: [x], limits: {response: %s}", "1024MiB", "1025MiB", "1GiB"},
		{"response below", "command: [x], limits: {response: %s}", "1KiB", "1023", "1KiB"},
		{"response negative", "command: [x], limits: {response: %s}", "1024B", "-1024", "1KiB"},
		{"response that overflows", "command: [x], limits: {response: %s}", "1 GiB", "9223372036854775807GiB", "1GiB"},
		{"port", "url: 'http://a.example:%s'", "65535", "65536", "host"},
		{"value", "command: [x, %s]", long(MaxValue), long(MaxValue + 1), "64 KiB"},
		{"nesting", "url: 'http://a.example', auth: {type: mtls, a: %s}", strings.Repeat("[", MaxDepth-1) + "1" + strings.Repeat("]", MaxDepth-1),
			strings.Repeat("[", MaxDepth) + "1" + strings.Repeat("]", MaxDepth), "nested"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := only(t, fmt.Sprintf(c.keys, c.good), Options{}); err != nil {
				t.Errorf("just below: %.200v", err)
			}
			if _, err := only(t, fmt.Sprintf(c.keys, c.bad), Options{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("just above: %.200v", err)
			}
		})
	}
}

func TestNamesHaveAtMostMaxNameCharacters(t *testing.T) {
	for n, ok := range map[int]bool{1: true, MaxName: true, MaxName + 1: false} {
		_, err := Load(folder(t, "a.yaml", "upstreams: {"+strings.Repeat("a", n)+": {command: [x]}}"), Options{Getenv: none})
		if (err == nil) != ok {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestFilesHaveAtMostTheirBytes(t *testing.T) {
	for limit, write := range map[int]func(content string) []string{
		MaxFile:  func(c string) []string { return []string{"a.yaml", "upstreams: {x: {command: [x]}}\n#" + c[32:]} },
		MaxValue: func(c string) []string { return []string{"a.yaml", "upstreams: {x: {command: [x, 'file:s']}}", "s", c} },
	} {
		if _, err := Load(folder(t, write(strings.Repeat("a", limit))...), Options{Getenv: none}); err != nil {
			t.Errorf("%d bytes: %.200v", limit, err)
		}
		if _, err := Load(folder(t, write(strings.Repeat("a", limit+1))...), Options{Getenv: none}); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%d bytes: %.200v", limit+1, err)
		}
	}
	pem := certificate(t)
	for extra, ok := range map[int]bool{0: true, 1: false} {
		content := pem + strings.Repeat("\n", MaxCAFile-len(pem)+extra)
		_, err := Load(folder(t, "a.yaml", "upstreams: {x: {url: 'https://a.example', caFile: ca.pem}}", "ca.pem", content), Options{Getenv: none})
		if (err == nil) != ok {
			t.Errorf("caFile of %d bytes: %.200v", len(content), err)
		}
	}
}
