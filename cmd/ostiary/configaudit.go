package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

// auditKeep is the part of the configuration that says where checkpoints of the
// audit log go, and how long records are kept.
type auditKeep struct {
	CheckpointEvery   time.Duration // 0 = a minute
	CheckpointFile    string        // "" = none, as with the others
	CheckpointSyslog  *audit.SyslogPlace
	CheckpointWebhook *url.URL
	CheckpointHeader  string // sent to the webhook; default Authorization
	CheckpointSecret  string // its value; "" = no header
	Retention         audit.Retention
}

func auditKeepSettings() []setting {
	return []setting{
		{key: "audit.checkpoint.every", arg: "TIME", set: measured(parseEvery, func(c *config) *time.Duration { return &c.CheckpointEvery })},
		{key: "audit.checkpoint.file", arg: "FILE", set: text(func(c *config) *string { return &c.CheckpointFile }, notEmpty)},
		{key: "audit.checkpoint.syslog", arg: "PLACE", set: measured(parseSyslog, func(c *config) **audit.SyslogPlace { return &c.CheckpointSyslog })},
		{key: "audit.checkpoint.webhook", arg: "URL", set: measured(parseWebhook, func(c *config) **url.URL { return &c.CheckpointWebhook })},
		{key: "audit.checkpoint.header", arg: "NAME", set: text(func(c *config) *string { return &c.CheckpointHeader }, checkHeaderName)},
		{key: "audit.checkpoint.secret", arg: "SECRET", set: setCheckpointSecret},
		{key: "audit.retention.age", arg: "AGE", set: measured(parseAge, func(c *config) *time.Duration { return &c.Retention.Age })},
		{key: "audit.retention.size", arg: "SIZE", set: measured(parseSize64, func(c *config) *int64 { return &c.Retention.Size })},
	}
}

// outside lists the places that checkpoints are copied to.
func (k *auditKeep) outside() []audit.Outside {
	var places []audit.Outside
	if k.CheckpointFile != "" {
		places = append(places, audit.FilePlace{Path: k.CheckpointFile})
	}
	if k.CheckpointSyslog != nil {
		places = append(places, *k.CheckpointSyslog)
	}
	if k.CheckpointWebhook != nil {
		w := audit.WebhookPlace{URL: k.CheckpointWebhook}
		if k.CheckpointSecret != "" {
			w.Header, w.Secret = or(k.CheckpointHeader, "Authorization"), k.CheckpointSecret
		}
		places = append(places, w)
	}
	return places
}

// check is about settings that only make sense together.
func (k *auditKeep) check(data string) error {
	var problems []error
	if k.CheckpointWebhook == nil && (k.CheckpointHeader != "" || k.CheckpointSecret != "") {
		problems = append(problems, errors.New("audit.checkpoint: header and secret are for the webhook; set webhook, too, or remove them"))
	}
	if k.CheckpointHeader != "" && k.CheckpointSecret == "" {
		problems = append(problems, errors.New("audit.checkpoint: header has no value; set secret, too, or remove it"))
	}
	if k.CheckpointFile != "" && inside(k.CheckpointFile, data) {
		problems = append(problems, fmt.Errorf("audit.checkpoint.file: %s lies in the data directory, beside what it is to prove; name a file elsewhere, best on another machine", k.CheckpointFile))
	}
	return errors.Join(problems...)
}

func inside(path, dir string) bool {
	p, err1 := filepath.Abs(path)
	d, err2 := filepath.Abs(dir)
	rel, err3 := filepath.Rel(d, p)
	return err1 == nil && err2 == nil && err3 == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// parseEvery reads a time up to the one that records may stand unsigned.
func parseEvery(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err == nil && d > audit.MaxCheckpointEvery {
		return 0, fmt.Errorf("%q is too long; write 60s or less", s)
	}
	return d, err
}

// parseSyslog reads "local" or udp://HOST:PORT.
func parseSyslog(s string) (*audit.SyslogPlace, error) {
	if s == "local" {
		return &audit.SyslogPlace{}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "udp" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("%q is not a syslog; write local, or udp://syslog.example.com:514", s)
	}
	return &audit.SyslogPlace{Network: "udp", Address: net.JoinHostPort(u.Hostname(), or(u.Port(), "514"))}, nil
}

// parseWebhook reads a URL that a secret may be sent to. Its errors don't show
// it: webhooks have secrets in their paths.
func parseWebhook(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("is not an https URL; write https://hooks.example.com/…, and what it asks for under header and secret")
	}
	if u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "80")) {
		return nil, errors.New("sends checkpoints in clear text to another machine; write https")
	}
	return u, nil
}

// checkHeaderName: RFC 9110 5.1, a field name is a token. Those that make up
// the message are not the operator's.
func checkHeaderName(s string) error {
	for _, taken := range []string{"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection"} {
		if http.CanonicalHeaderKey(s) == taken {
			return fmt.Errorf("%q can't be set; write the header that the webhook knows its callers by", s)
		}
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}) {
		return fmt.Errorf("%q is not a header; write its name alone, for example X-Api-Key", s)
	}
	return nil
}

// setCheckpointSecret takes a header's value, ${VARIABLE} or file:PATH.
func setCheckpointSecret(c *config, v string) error {
	v, err := c.secret(v)
	if err != nil {
		return err
	}
	if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return errors.New("holds characters that no header may have")
	}
	c.CheckpointSecret = v
	return nil
}

// parseAge reads days ("90d") or a duration.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n <= 0 || n > maxAgeDays {
			return 0, fmt.Errorf("%q is not an age; write 90d, or 36h", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not an age; write 90d, or 36h", s)
	}
	return d, nil
}

const maxAgeDays = 100_000 // what a Duration holds, and no record is older
