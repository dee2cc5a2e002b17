package audit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
)

func TestVerifyNamesTheFirstBadRecord(t *testing.T) {
	swap := func(lines []string, i, j int) []string {
		lines[i], lines[j] = lines[j], lines[i]
		return lines
	}
	for name, c := range map[string]struct {
		change func(lines []string) []string // of segment 2: a header and records
		want   string
	}{
		"edited":        {func(l []string) []string { l[2] = strings.Replace(l[2], "e", "E", 1); return l }, "record"},
		"value changed": {func(l []string) []string { l[1] = strings.Replace(l[1], `"event"`, `"evenT"`, 1); return l }, "record"},
		"removed":       {func(l []string) []string { return slices.Delete(l, 1, 2) }, "follows record"},
		"swapped":       {func(l []string) []string { return swap(l, 1, 2) }, "follows record"},
		"repeated":      {func(l []string) []string { return slices.Insert(l, 2, l[1]) }, "follows record"},
		"header edited": {func(l []string) []string {
			l[0] = strings.Replace(l[0], `"timestamp":"2`, `"timestamp":"3`, 1)
			return l
		}, "segment-00000002"},
		"emptied": {func(l []string) []string { return l[:1] }, "segment-00000002"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := logOf(t, 12, Options{SegmentSize: 900})
			if rep, err := Verify(dir); err != nil || rep.Records != 12 || rep.First != 1 || rep.Last != 12 || rep.Segments < 3 || len(rep.Head) != 64 {
				t.Fatalf("%+v, %v", rep, err)
			}
			path := filepath.Join(dir, folder, segmentName(2))
			edit(t, path, func(b []byte) []byte {
				return []byte(strings.Join(c.change(strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")), "\n") + "\n")
			})
			_, err := Verify(dir)
			if !errors.Is(err, ErrChain) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestRemovedSegmentIsFound(t *testing.T) {
	dir := logOf(t, 12, Options{SegmentSize: 900})
	if err := os.Rename(filepath.Join(dir, folder, segmentName(2)), filepath.Join(dir, "kept")); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(dir); !errors.Is(err, ErrChain) {
		t.Errorf("the second is missing: %v", err)
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a log with a hole opens")
	}
	if err := os.Remove(filepath.Join(dir, folder, segmentName(1))); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(dir); !errors.Is(err, ErrChain) || !strings.Contains(err.Error(), "are missing before it") {
		t.Errorf("the oldest are missing: %v", err)
	}
}

func TestEmptyOrMissingLogReadsAsNothing(t *testing.T) {
	for range Read(t.TempDir()) {
		t.Error("a record from nowhere")
	}
	if rep, err := Verify(t.TempDir()); err != nil || rep.Records != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestReadGoesOnBehindABadLine(t *testing.T) {
	dir := logOf(t, 3, Options{})
	edit(t, filepath.Join(dir, folder, segmentName(1)), func(b []byte) []byte {
		return []byte(strings.Replace(string(b), `"event":"e1"`, `"event":"e1`, 1))
	})
	good, bad := 0, 0
	for r, err := range Read(dir) {
		switch {
		case err == nil && r != nil:
			good++
		default:
			bad++
			if !strings.Contains(err.Error(), segmentName(1)+", byte ") {
				t.Errorf("the error doesn't say where: %v", err)
			}
		}
	}
	if good != 2 || bad != 1 {
		t.Errorf("%d good, %d bad", good, bad)
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	dir := logOf(t, 1, Options{})
	edit(t, filepath.Join(dir, folder, segmentName(1)), func(b []byte) []byte {
		return []byte(strings.Replace(string(b), `{"format":1,"kind":"segment"`, `{"format":2,"kind":"segment"`, 1))
	})
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("got %v", err)
	}
}

func TestQuerySelects(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, r := range []*Record{
		{Kind: "decision", DecisionID: "1", User: policy.User{ID: "u1", Name: "alice"}, Client: policy.Client{ID: "c1"}, Upstream: "up",
			Target: policy.Target{Name: "read"}, Decision: &policy.Decision{Allow: true}},
		{Kind: "decision", DecisionID: "2", User: policy.User{ID: "u2", Name: "bob"}, Client: policy.Client{ID: "c2"}, Upstream: "up",
			Target: policy.Target{Name: "write"}, Decision: &policy.Decision{Reasons: []string{"No Writes at night"}}},
		{Kind: "outcome", DecisionID: "1", Outcome: "ok"},
	} {
		r.Time = base.Add(time.Duration(i) * time.Hour)
		if err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		f    Filter
		want string
	}{
		"all":         {Filter{}, "1 2 3"},
		"user id":     {Filter{User: "u1"}, "1"},
		"user name":   {Filter{User: "bob"}, "2"},
		"client":      {Filter{Client: "c2"}, "2"},
		"upstream":    {Filter{Upstream: "up"}, "1 2"},
		"tool":        {Filter{Tool: "read"}, "1"},
		"allowed":     {Filter{Decision: "allow"}, "1"},
		"denied":      {Filter{Decision: "deny"}, "2"},
		"kind":        {Filter{Kind: "outcome"}, "3"},
		"outcome":     {Filter{Outcome: "ok"}, "3"},
		"decision id": {Filter{DecisionID: "1"}, "1 3"},
		"since":       {Filter{Since: base.Add(time.Hour)}, "2 3"},
		"until":       {Filter{Until: base.Add(time.Hour)}, "1"},
		"text":        {Filter{Text: "no writes"}, "2"},
		"both":        {Filter{Upstream: "up", Decision: "allow", Text: "write"}, ""},
		"none":        {Filter{User: "alic"}, ""},
	} {
		var got []string
		for r, err := range Query(dir, c.f) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string('0'+rune(r.Seq)))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %q, want %q", name, s, c.want)
		}
	}
	for range Query(dir, Filter{}) {
		break // stopping early is allowed
	}
}

// FuzzRead: whatever stands in the files, reading, verifying and opening
// return; what opened can be appended to and then holds the new record.
func FuzzRead(f *testing.F) {
	first := `{"format":1,"kind":"segment","segment":1,"first":1,"timestamp":"2026-01-01T00:00:00Z","prev":""}` + "\n"
	record := string(encode(&Record{Kind: "decision", DecisionID: "d"})) + "\n"
	f.Add([]byte(first+record), []byte{})
	f.Add([]byte(first+record+"{"), []byte(`{"format":1,"kind":"segment","segment":2,"first":2,"timestamp":"2026-01-01T00:00:00Z","prev":"","after":{"segment":1,"size":100},"open":["d"]}`+"\n"))
	f.Add([]byte("\n\n"), []byte("\x00"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		for n, b := range map[int][]byte{1: one, 2: two} {
			if err := os.WriteFile(filepath.Join(dir, folder, segmentName(n)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for r, err := range Read(dir) {
			if (r == nil) == (err == nil) {
				t.Fatal("neither record nor error")
			}
		}
		Verify(dir)
		l, err := Open(dir, Options{Reserve: -1})
		if err != nil {
			return
		}
		if err := l.Append(t.Context(), &Record{Kind: "event", Event: "fuzz.new"}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		last := ""
		for r, err := range Read(dir) {
			if err == nil {
				last = r.Event
			}
		}
		if last != "fuzz.new" {
			t.Fatal("the new record is not the last")
		}
	})
}
