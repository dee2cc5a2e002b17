package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ostiary/ostiary/gateway"
	"github.com/ostiary/ostiary/store/audit"
)

// config is what the operator asked for, after flags, environment, file and
// defaults were laid over each other. Each part of the program gets the few
// fields that it needs.
type config struct {
	File      string // ostiary.yaml, "" when there is none
	Listen    string
	PublicURL string // "" = http(s)://{listen address}
	Data      string
	Catalogs  string
	Policies  string // "" = ./policies if it exists
	LogFormat string
	NoAuth    bool
	Stdio     bool
	Dev       bool

	AllowedOrigins []string
	LegacySSE      bool
	CertFile       string
	KeyFile        string
	MasterKey      []byte   // nil = a key file in the data directory
	SecretFiles    []string // that secrets were read from

	signIn
	auditKeep

	Limits           gateway.Limits
	Rates            []gateway.Rate // classes of budgets that policies spend from
	Arguments        int            // bytes that rules may have to read; 0 = 256 KiB
	PolicyTimeout    time.Duration  // 0 = 250 ms
	TimeZone         *time.Location // of input.time; nil = the machine's
	AuditDeadline    time.Duration
	AuditSegmentSize int64
	Redaction        audit.Redaction

	getenv func(string) (string, bool) // for ${VARIABLE} in secrets
}

func defaults() *config {
	return &config{
		Listen: "127.0.0.1:8080", Data: "./data", Catalogs: "./catalogs",
		LogFormat: "text",
		signIn:    signIn{Registration: true, Documents: true},
	}
}

// errNotBuilt: the word is in the contract, what it stands for does not exist
// yet. Ignoring it would be worse than refusing it.
var errNotBuilt = errors.New("not built yet in this version")

// setting is one word of the configuration: the same as a key in ostiary.yaml,
// as OSTIARY_… and, where it has one, as a flag.
type setting struct {
	key   string // "publicUrl", "limits.body"
	flag  string // "" = no flag
	arg   string // how its value is called in --help; "" = a switch
	usage string // "" = understood, not listed
	list  bool   // a sequence in the file, comma-separated elsewhere
	set   func(c *config, value string) error

	// node reads a value of the file that is more than text; nil = set does.
	node func(r *fileReader, n *yaml.Node)
}

// env is the name of the setting's variable: publicUrl is OSTIARY_PUBLIC_URL,
// oauth.accessTTL is OSTIARY_OAUTH_ACCESS_TTL.
func (s setting) env() string {
	var b strings.Builder
	b.WriteString("OSTIARY_")
	word := false // a lower-case letter came before
	for _, r := range s.key {
		if r == '.' || word && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		if word = r >= 'a' && r <= 'z'; r != '.' {
			b.WriteString(strings.ToUpper(string(r)))
		}
	}
	return b.String()
}

// settings is the table of all words. What has no flag is for the file and
// the environment.
func settings() []setting {
	return append([]setting{
		{key: "listen", flag: "listen", arg: "ADDR", usage: "`ADDR` to serve on (default 127.0.0.1:8080)", set: text(func(c *config) *string { return &c.Listen }, checkAddress)},
		{key: "publicUrl", flag: "public-url", arg: "URL", usage: "base `URL` that agents use, without a path (default http://ADDR)", set: text(func(c *config) *string { return &c.PublicURL }, checkBaseURL)},
		{key: "data", flag: "data", arg: "DIR", usage: "`DIR` of database, audit log and keys (default ./data)", set: text(func(c *config) *string { return &c.Data }, notEmpty)},
		{key: "catalogs", flag: "catalogs", arg: "DIR", usage: "`DIR` of upstream catalogs (default ./catalogs)", set: text(func(c *config) *string { return &c.Catalogs }, notEmpty)},
		{key: "policies", flag: "policies", arg: "DIR", usage: "`DIR` of policies in Rego (default ./policies if it exists)", set: text(func(c *config) *string { return &c.Policies }, notEmpty)},
		{key: "metricsListen", flag: "metrics-listen", arg: "ADDR", set: notBuilt},
		{key: "logFormat", flag: "log-format", arg: "FORMAT", usage: "log as `json|text` on stderr (default text)", set: text(func(c *config) *string { return &c.LogFormat }, oneOf("json", "text"))},
		{key: "noAuth", flag: "no-auth", usage: "no sign-in: whoever reaches the address is the user local; loopback addresses only", set: toggle(func(c *config) *bool { return &c.NoAuth })},
		{key: "stdio", flag: "stdio", usage: "serve stdin and stdout instead of an address: a bridge to the running gateway, or with --no-auth the gateway itself", set: toggle(func(c *config) *bool { return &c.Stdio })},
		{key: "dev", flag: "dev", usage: "for tests, on loopback addresses: client documents and identity providers may use plain http there", set: toggle(func(c *config) *bool { return &c.Dev })},
		{key: "allowedOrigins", arg: "LIST", list: true, set: setOrigins},
		{key: "legacySse", set: toggle(func(c *config) *bool { return &c.LegacySSE })},
		{key: "tls.certFile", arg: "FILE", set: text(func(c *config) *string { return &c.CertFile }, notEmpty)},
		{key: "tls.keyFile", arg: "FILE", set: text(func(c *config) *string { return &c.KeyFile }, notEmpty)},
		{key: "masterKey", arg: "KEY", set: setMasterKey},
		{key: "limits.body", arg: "SIZE", set: measured(parseSize, func(c *config) *int { return &c.Limits.Body })},
		{key: "limits.page", arg: "N", set: measured(parseCount, func(c *config) *int { return &c.Limits.Page })},
		{key: "limits.arguments", arg: "SIZE", set: measured(parseSize, func(c *config) *int { return &c.Arguments })},
		{key: "limits.record", arg: "SIZE", set: measured(parseRecord, func(c *config) *int { return &c.Limits.Record })},
		{key: "limits.parked", arg: "TIME", set: measured(parseDuration, func(c *config) *time.Duration { return &c.Limits.Parked })},
		{key: "limits.parkedCalls", arg: "N", set: measured(parseCount, func(c *config) *int { return &c.Limits.ParkedCalls })},
		{key: "limits.session", arg: "TIME", set: measured(parseDuration, func(c *config) *time.Duration { return &c.Limits.Session })},
		{key: "limits.state", arg: "TIME", set: measured(parseDuration, func(c *config) *time.Duration { return &c.Limits.State })},
		{key: "limits.streams", arg: "N", set: measured(parseCount, func(c *config) *int { return &c.Limits.Streams })},
		{key: "limits.calls", arg: "N", set: measured(parseCount, func(c *config) *int { return &c.Limits.Calls })},
		{key: "limits.replay", arg: "SIZE", set: measured(parseSize, func(c *config) *int { return &c.Limits.Replay })},
		{key: "limits.keepAlive", arg: "TIME", set: measured(parseKeepAlive, func(c *config) *time.Duration { return &c.Limits.KeepAlive })},
		{key: "audit.deadline", arg: "TIME", set: measured(parseDuration, func(c *config) *time.Duration { return &c.AuditDeadline })},
		{key: "audit.segmentSize", arg: "SIZE", set: measured(parseSize64, func(c *config) *int64 { return &c.AuditSegmentSize })},
		{key: "policy.timeZone", arg: "ZONE", set: checkZone},
		{key: "policy.timeout", arg: "TIME", set: measured(parseDuration, func(c *config) *time.Duration { return &c.PolicyTimeout })},
		{key: "rates", node: readRates, set: fileOnly},
	}, slices.Concat(recordSettings(), auditKeepSettings(), signInSettings())...)
}

// configFlags declares --config and the named flags of the table on fs; load
// lays flags over environment over file over defaults.
func configFlags(fs *flag.FlagSet, io stdio, names ...string) (load func() (*config, error)) {
	file := fs.String("config", "", "configuration `FILE` (default ./ostiary.yaml if it exists)")
	given := map[string]string{}
	for _, s := range settings() {
		if s.flag == "" || !slices.Contains(names, s.flag) {
			continue
		}
		usage := s.usage
		if usage == "" {
			usage = hiddenFlag
		}
		keep := func(v string) error { given[s.key] = v; return nil }
		if s.arg == "" {
			fs.BoolFunc(s.flag, usage, keep)
		} else {
			fs.Func(s.flag, usage, keep)
		}
	}
	return func() (*config, error) { return loadConfig(*file, given, io.Getenv) }
}

// loadConfig builds the configuration. Its error names every problem, one a
// line.
func loadConfig(file string, flags map[string]string, getenv func(string) (string, bool)) (*config, error) {
	c := defaults()
	c.getenv = getenv
	if v, ok := getenv("OSTIARY_CONFIG"); file == "" && ok {
		file = v
	}
	if file == "" {
		if _, err := os.Stat("ostiary.yaml"); err == nil {
			file = "ostiary.yaml"
		}
	}
	var problems []error
	if file != "" {
		c.File = file
		problems = append(problems, readConfigFile(file, c)...)
	}
	for _, s := range settings() {
		if v, ok := getenv(s.env()); ok {
			if err := s.set(c, v); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", s.env(), err))
			}
		}
		if v, ok := flags[s.key]; ok {
			if err := s.set(c, v); err != nil {
				problems = append(problems, usagef("--%s: %v", s.flag, err))
			}
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		problems = append(problems, errors.New("tls: certFile and keyFile go together; set both or neither"))
	}
	problems = append(problems, c.signIn.check(), c.auditKeep.check(c.Data))
	return c, errors.Join(problems...)
}

func text(field func(*config) *string, check func(string) error) func(*config, string) error {
	return func(c *config, v string) error {
		if err := check(v); err != nil {
			return err
		}
		*field(c) = v
		return nil
	}
}

func toggle(field func(*config) *bool) func(*config, string) error {
	return measured(parseBool, field)
}

func measured[T any](parse func(string) (T, error), field func(*config) *T) func(*config, string) error {
	return func(c *config, v string) error {
		n, err := parse(v)
		if err != nil {
			return err
		}
		*field(c) = n
		return nil
	}
}

func parseSize64(s string) (int64, error) { n, err := parseSize(s); return int64(n), err }

func notBuilt(*config, string) error { return errNotBuilt }

func notEmpty(v string) error {
	if v == "" {
		return errors.New("is empty")
	}
	return nil
}

func oneOf(words ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(words, v) {
			return fmt.Errorf("%q is not one of %s", v, strings.Join(words, ", "))
		}
		return nil
	}
}

func checkAddress(v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is not an address; write HOST:PORT, for example 127.0.0.1:8080", v)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port number between 0 and 65535", v)
	}
	return nil
}

func checkBaseURL(v string) error {
	u, err := url.Parse(v)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q is not an http or https URL; write https://gateway.example.com", v)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("%q has more than scheme, host and port; the endpoints' paths are added to it", v)
	}
	return nil
}

// setOrigins takes origins, comma-separated. A later layer replaces an earlier
// one: lists are never added up.
func setOrigins(c *config, v string) error {
	var origins []string
	for o := range strings.SplitSeq(v, ",") {
		o = strings.TrimSpace(o)
		if checkBaseURL(o) != nil {
			return fmt.Errorf("%q is not an origin; write https://app.example.com", o)
		}
		origins = append(origins, strings.TrimSuffix(o, "/"))
	}
	c.AllowedOrigins = origins
	return nil
}

// setMasterKey takes 32 bytes as hex or base64, ${VARIABLE} or file:PATH of such
// a text. Its errors never show the value.
func setMasterKey(c *config, v string) error {
	v, err := c.secret(v)
	if err != nil {
		return err
	}
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(v); err == nil && len(key) == 32 {
			c.MasterKey = key
			return nil
		}
	}
	return errors.New("is not 32 bytes in hex or base64; make one with `openssl rand -base64 32`")
}

// loopback says whether addr can only be reached from this machine.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
