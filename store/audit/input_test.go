package audit

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// filled gives every field below v, which is settable, a value of its own.
func filled(v reflect.Value, g *rand.Rand) {
	word := func() string { return fmt.Sprintf("w%d \"é\u202e", g.IntN(1000)) }
	switch {
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		v.SetBytes(fmt.Appendf(nil, `{"n":%d.50,"big":9007199254740993,"%d":[null,"\u00e9"]}`, g.IntN(9), g.IntN(9)))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			filled(v.Field(i), g)
		}
	case v.Kind() == reflect.String:
		v.SetString(word())
	case v.Kind() == reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	case v.CanInt():
		v.SetInt(1 + g.Int64N(2_000_000_000))
	case v.Kind() == reflect.Slice:
		for range g.IntN(3) {
			v.Set(reflect.Append(v, reflect.ValueOf(word())))
		}
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(word()), reflect.ValueOf(g.Int64N(9)))
	default:
		panic(v.Type().String())
	}
}

// TestAskedIsWhatWasJudged: whatever a request holds, its record gives the same
// input document, to the last digit, after it was written and read.
func TestAskedIsWhatWasJudged(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := rand.New(rand.NewPCG(1, 2))
	var want []policy.Request
	for range 50 {
		var req policy.Request
		filled(reflect.ValueOf(&req).Elem(), g)
		zone := time.FixedZone([]string{"CET", "+0530", "UTC"}[g.IntN(3)], []int{3600, 19800, 0, -34200}[g.IntN(4)])
		at := time.Unix(g.Int64N(4_000_000_000), g.Int64N(1e9)).In(zone)
		req.Time = policy.At(at)
		r := &Record{
			Kind: "decision", DecisionID: fmt.Sprint(len(want)), Time: at, Outcome: "denied",
			User: req.User, Client: req.Client, Grant: req.Grant, Agent: req.Agent, Source: req.Source, Request: req.Request,
			Upstream: req.Upstream, Target: req.Target, Input: InputOf(&req), Decision: &policy.Decision{Revision: "r"},
			Arguments: &Payload{Value: req.Arguments, Size: len(req.Arguments)},
		}
		if g.IntN(3) > 0 {
			r.Responses = &Payload{Value: req.Responses, Size: len(req.Responses)}
		} else {
			req.Responses = nil
		}
		if err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want = append(want, req)
	}
	n := 0
	for r, err := range Query(dir, Filter{Kind: "decision"}) {
		if err != nil {
			t.Fatal(err)
		}
		got, unknown, err := Asked(r, nil)
		if err != nil || len(unknown) > 0 {
			t.Fatal(unknown, err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want[n])
		if string(a) != string(b) {
			t.Fatalf("got\n%s\nwant\n%s", a, b)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d records, want %d", n, len(want))
	}
}

func TestAskedNamesWhatARecordDoesNotHold(t *testing.T) {
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	old := &Record{Time: at, Arguments: &Payload{Digest: "d", Size: 9}}
	doc, unknown, err := Asked(old, nil)
	if err != nil || doc.Time.Unix != at.Unix() || fmt.Sprint(unknown) != "[arguments counters time.hour time.rfc3339 time.weekday time.zone]" {
		t.Errorf("a record of an earlier version: %+v, %v, %v", doc.Time, unknown, err)
	}
	broken := &Record{Time: at, Input: &Input{Time: "noon"}}
	if _, unknown, _ := Asked(broken, nil); fmt.Sprint(unknown) != "[time]" {
		t.Errorf("an unreadable time: %v", unknown)
	}
	if in := InputOf(&policy.Request{}); in != nil {
		t.Errorf("a request that came to no policy has %+v", in)
	}
}

func TestFindGivesOneRecord(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{SegmentSize: 2 << 10}) // several segments
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		if err := l.Append(t.Context(), &Record{Kind: "event", Event: fmt.Sprint("e", i)}); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	seen := 0
	for want, err := range Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := Find(dir, want.Seq)
		if err != nil || string(got.Line) != string(want.Line) {
			t.Fatalf("record %d: %v, %v", want.Seq, got, err)
		}
		seen++
	}
	if seen < 60 {
		t.Errorf("%d records", seen)
	}
	for _, seq := range []uint64{0, uint64(seen) + 1} {
		if r, err := Find(dir, seq); r != nil || err == nil {
			t.Errorf("record %d: %v", seq, r)
		}
	}
}
