package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

func TestPlacesForCheckpointsAndRetentionAreRead(t *testing.T) {
	secret := write(t, "secret", "hush\n")
	file := write(t, "ostiary.yaml", `audit:
  checkpoint:
    every: 30s
    file: /mnt/worm/checkpoints
    syslog: udp://log.example:1514
    webhook: https://hooks.example/abc
    header: X-Key
    secret: file:`+secret+`
  retention: {age: 90d, size: 10GiB}
`)
	c, err := loadConfig(file, nil, environ())
	if err != nil {
		t.Fatal(err)
	}
	places := c.outside()
	if len(places) != 3 || places[0] != (audit.FilePlace{Path: "/mnt/worm/checkpoints"}) ||
		places[1] != (audit.SyslogPlace{Network: "udp", Address: "log.example:1514"}) {
		t.Fatalf("%v", places)
	}
	if w := places[2].(audit.WebhookPlace); w.URL.Path != "/abc" || w.Header != "X-Key" || w.Secret != "hush" || w.String() != "webhook https://hooks.example" {
		t.Errorf("%v", w)
	}
	if c.CheckpointEvery != 30*time.Second || c.Retention != (audit.Retention{Age: 90 * 24 * time.Hour, Size: 10 << 30}) {
		t.Errorf("%v, %+v", c.CheckpointEvery, c.Retention)
	}
	c, err = loadConfig(write(t, "o.yaml", "audit: {checkpoint: {syslog: local, webhook: http://127.0.0.1:9/x, secret: \"${S}\"}, retention: {age: 36h}}\n"), nil, environ("S", "Bearer x"))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.outside(); p[0] != (audit.SyslogPlace{}) || p[1].(audit.WebhookPlace).Header != "Authorization" || c.Retention.Age != 36*time.Hour {
		t.Errorf("%v", p)
	}
}

func TestPlacesForCheckpointsThatCanNotBeAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"checkpoint: {every: 61s}":                                    "write 60s or less",
		"checkpoint: {file: \"\"}":                                    "is empty",
		"checkpoint: {file: ./data/audit/c}":                          "lies in the data directory",
		"checkpoint: {syslog: tcp://a:1}":                             "is not a syslog",
		"checkpoint: {syslog: udp://}":                                "is not a syslog",
		"checkpoint: {syslog: \"udp://a:1/x\"}":                       "is not a syslog",
		"checkpoint: {webhook: \"http://hooks.example/sesame\"}":      "clear text",
		"checkpoint: {webhook: \"ftp://hooks.example/sesame\"}":       "not an https URL",
		"checkpoint: {webhook: \"https://u:p@hooks.example/sesame\"}": "not an https URL",
		"checkpoint: {header: X-Key}":                                 "for the webhook",
		"checkpoint: {webhook: https://a.example, header: X-Key}":     "has no value",
		"checkpoint: {webhook: https://a.example, header: \"X Key\"}": "is not a header",
		"checkpoint: {webhook: https://a.example, header: host}":      "can't be set",
		"checkpoint: {webhook: https://a.example, secret: \"${NO}\"}": "NO is not set",
		"checkpoint: {webhook: https://a.example, secret: \"a\\nb\"}": "no header may have",
		"retention: {age: 0d}":                                        "is not an age",
		"retention: {age: 3}":                                         "is not an age",
		"retention: {age: 100001d}":                                   "is not an age",
		"retention: {size: 0}":                                        "is not a size",
		"retention: {count: 5}":                                       "unknown key",
	} {
		_, err := loadConfig(write(t, "ostiary.yaml", "audit:\n  "+text+"\n"), nil, environ())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"checkpoint: {every: 60s}", "retention: {age: 100000d}", "checkpoint: {file: ./database/c}"} {
		if _, err := loadConfig(write(t, "ostiary.yaml", "audit:\n  "+text+"\n"), nil, environ()); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if !inside(filepath.Join("x", "..", "data", "c"), "data") || inside("data2/c", "data") || inside("c", "data") {
		t.Error("inside")
	}
}
