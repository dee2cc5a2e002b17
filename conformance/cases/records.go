package cases

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ours begins the trace ids of what the harness itself sends: its records are
// not judged.
const ours = "05714a2905714a29"

// ourTrace is a W3C traceparent that nobody used before.
func ourTrace() string {
	var id [16]byte
	rand.Read(id[:])
	return "00-" + ours + hex.EncodeToString(id[:8]) + "-" + hex.EncodeToString(id[8:]) + "-01"
}

// recordTime is how long records may take to appear in the log: only the
// decision is waited for before an answer goes out.
const recordTime = 20 * time.Second

// audit gives each outcome the records of its step: those between the probes
// before and behind it.
func (r *runner) audit(ctx context.Context, first string, marks []string, outcomes []*outcome) error {
	if r.Records == nil || len(marks) == 0 {
		return nil
	}
	var all []map[string]any
	for end := time.Now().Add(cmp.Or(r.patience, recordTime)); ; {
		var err error
		if all, err = r.Records(r.began); err != nil {
			return err
		}
		if at(all, marks[len(marks)-1]) >= 0 && complete(all) {
			break
		}
		if time.Now().After(end) {
			break // what is missing is said below, or by the steps
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
	}
	from, to := -1, at(all, first)
	for i, mark := range marks {
		if i == 0 || mark != marks[i-1] {
			from, to = to, at(all, mark)
		}
		if from < 0 || to < from {
			return errors.New("a request of the harness left no record, or not in order")
		}
		if o := outcomes[i]; o != nil {
			o.audited = true
			o.attempts, o.records = of(all, from+1, to, r.c.Steps[i].upstream)
		}
	}
	return nil
}

// at is where the lifecycle record with a trace id stands; -1 nowhere.
func at(all []map[string]any, trace string) int {
	return slices.IndexFunc(all, func(m map[string]any) bool { return m["trace_id"] == trace && m["kind"] == "lifecycle" })
}

// of are the records of one step: how many attempts there were, and all
// records of them, outcomes included. Those of a call are about its upstream.
func of(all []map[string]any, from, to int, upstream string) (attempts int, records []map[string]any) {
	mine := map[any]bool{}
	for _, m := range all[from:to] {
		trace, _ := m["trace_id"].(string)
		if kind := m["kind"]; kind != "decision" && kind != "lifecycle" || strings.HasPrefix(trace, ours) {
			continue
		}
		if act, _ := m["request"].(map[string]any); upstream != "" && act["endpoint"] != "/mcp/"+upstream {
			continue
		}
		attempts++
		mine[m["decision_id"]] = true
		records = append(records, m)
	}
	for _, m := range all[from:] { // an outcome may come late
		if m["kind"] == "outcome" && mine[m["decision_id"]] {
			records = append(records, m)
		}
	}
	return attempts, records
}

// complete tells whether every decision that let a request run has its
// outcome.
func complete(all []map[string]any) bool { return unfinished(all) == 0 }

// unfinished counts decisions without an outcome, be it their own.
func unfinished(all []map[string]any) int {
	open := map[any]bool{}
	for _, m := range all {
		switch {
		case m["kind"] == "decision" && m["outcome"] == nil:
			open[m["decision_id"]] = true
		case m["kind"] == "outcome":
			delete(open, m["decision_id"])
		}
	}
	return len(open)
}

// Record reads one line of a log as Target.Records gives it: numbers keep
// every digit.
func Record(line []byte) (map[string]any, error) {
	var r map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	err := d.Decode(&r)
	return r, err
}

// shown are the records in few words, for a message.
func (o *outcome) shown() string {
	var all []string
	for _, m := range o.records {
		words := map[string]any{}
		for _, key := range []string{"kind", "outcome", "reason", "code"} {
			if v, ok := m[key]; ok {
				words[key] = v
			}
		}
		b, err := json.Marshal(words)
		if err != nil {
			return err.Error()
		}
		all = append(all, string(b))
	}
	return fmt.Sprintf("%d: %s", o.attempts, strings.Join(all, " "))
}

// recorded judges what holds for every step: one decision for each attempt,
// and one outcome for each that was let through.
func (o *outcome) recorded() string {
	if n := unfinished(o.records); n > 0 {
		return fmt.Sprintf("%d decisions have no outcome", n)
	}
	if o.attempts != o.sent {
		return fmt.Sprintf("%d attempts are recorded, want %d", o.attempts, o.sent)
	}
	return ""
}
