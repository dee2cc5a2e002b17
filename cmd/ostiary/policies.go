package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"
	_ "time/tzdata" // policy.timeZone works where the system has no zones

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/policy/rego"
	"github.com/ostiary/ostiary/store/audit"
)

// defaultPolicies is used if it exists and no other directory is named.
const defaultPolicies = "./policies"

// policyDir is the directory of rules, "" for none. One that is named must
// exist.
func policyDir(c *config) string {
	if c.Policies != "" {
		return c.Policies
	}
	if _, err := os.Stat(defaultPolicies); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return defaultPolicies
}

// clock is the time in the zone that policies are written for.
func clock(c *config) func() time.Time {
	if c.TimeZone == nil {
		return time.Now
	}
	return func() time.Time { return time.Now().In(c.TimeZone) }
}

func policyOptions(c *config) rego.Options {
	return rego.Options{Timeout: c.PolicyTimeout, Arguments: c.Arguments, Now: clock(c), Classes: c.classes()}
}

// openPolicies makes the decider: the rules of the policy directory, else the
// default policy. live is nil for the default.
func openPolicies(c *config) (d policy.Decider, live *rego.Live, err error) {
	dir := policyDir(c)
	if dir == "" {
		return policy.AllowAll{}, nil, nil
	}
	if live, err = rego.Open(dir, policyOptions(c)); err != nil {
		return nil, nil, policiesRefused(dir, err)
	}
	return live, live, nil
}

// policiesRefused names every problem, one a line.
func policiesRefused(dir string, err error) error {
	return fmt.Errorf("%w\npolicies %s refused; mend the above, `ostiary policy check %s` shows it again", err, dir, dir)
}

// What `serve` says of the default policy, with and without sign-in.
const (
	defaultSentence = "allow-all: a signed-in user may use every enabled upstream"
	noAuthSentence  = "allow-all: anyone who reaches this address may use every enabled upstream"
)

// policyWords is what `serve` says of the decider in force.
func (h *house) policyWords(c *config) string {
	switch {
	case h.policies == nil && c.NoAuth:
		return noAuthSentence
	case h.policies == nil:
		return defaultSentence
	}
	return fmt.Sprintf("%s of %s, revision %s", plural(h.policies.Engine().Files(), "file"), policyDir(c), h.policies.Revision())
}

// warnOfPolicies logs what is worth saying of the rules in force.
func (h *house) warnOfPolicies(log *slog.Logger) {
	if h.policies == nil {
		return
	}
	for _, w := range h.policies.Engine().Warnings() {
		log.Warn("policies", "warning", w.String())
	}
}

// followPolicies applies each good change of the files and keeps the last good
// rules over bad ones, until ctx ends.
func (h *house) followPolicies(ctx context.Context, ready *readiness, log *slog.Logger) {
	if h.policies == nil {
		return
	}
	h.policies.Watch(ctx, 0, func(e *rego.Engine, ps rego.Problems) {
		r := &audit.Record{Kind: "event", Event: "policy.reload", Time: time.Now(), Revisions: audit.Revisions{Policy: h.policies.Revision()}}
		if e != nil {
			log.Info("policies reloaded", "revision", e.Revision(), "files", e.Files(), "tests", e.Tested())
			h.warnOfPolicies(log)
			ready.setPolicies("")
		} else {
			for line := range strings.SplitSeq(ps.Error(), "\n") {
				log.Error("policies refused, the last good ones decide", "problem", line)
			}
			ready.setPolicies(fmt.Sprintf("%s in the files; the last good policies decide, the log says what and where", plural(len(ps), "problem")))
			r.Event, r.Detail = "policy.refused", ps.Error()
		}
		h.audit.Note(r)
	})
}

// checkZone reads policy.timeZone.
func checkZone(c *config, v string) error {
	zone, err := time.LoadLocation(v)
	if err != nil || v == "" {
		return fmt.Errorf("%q is not a time zone; write UTC, Local or a name such as Europe/Berlin", v)
	}
	c.TimeZone = zone
	return nil
}
