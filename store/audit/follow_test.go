package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
)

func TestFollowSeesEachRecordOnceAcrossSegments(t *testing.T) {
	for _, all := range []bool{false, true} {
		dir := t.TempDir()
		l := open(t, dir, Options{SegmentSize: 1000})
		for range 20 {
			if err := l.Append(t.Context(), &Record{Kind: "event", Event: "before"}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		done := make(chan struct{})
		go func() { // until enough was seen: when Follow begins is its own business
			defer close(done)
			for i := 0; ctx.Err() == nil; i++ {
				l.Note(&Record{Kind: "event", Event: fmt.Sprint("after", i)})
				time.Sleep(time.Millisecond)
			}
		}()
		first, last := uint64(0), uint64(0)
		for r, err := range Follow(ctx, dir, all) {
			if err != nil {
				t.Fatal(err)
			}
			if first == 0 {
				first, last = r.Seq, r.Seq-1
			}
			if r.Seq != last+1 {
				t.Fatalf("record %d after %d", r.Seq, last)
			}
			if last = r.Seq; last == first+200 {
				stop()
			}
		}
		<-done
		if all && first != 1 || !all && first <= 20 || last < first+200 {
			t.Errorf("all %v: saw %d to %d", all, first, last)
		}
	}
}

func TestFollowWaitsForALogThatIsYetToCome(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	go func() {
		time.Sleep(followEvery) // whether Follow looked once by then or not, it must see it
		l.Note(&Record{Kind: "event", Event: "first"})
	}()
	for r, err := range Follow(ctx, dir, false) {
		if err != nil || r.Event != "first" {
			t.Fatal(r, err)
		}
		return
	}
	t.Error("nothing was seen")
}

func TestFollowGoesOnBehindWhatRetentionRemoved(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, signed(t, dir, Options{SegmentSize: 2000, Retention: Retention{Size: 4000}}))
	grow(t, l, 10)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	last, grown := uint64(0), false
	for r, err := range Follow(ctx, dir, true) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq <= last {
			t.Fatalf("record %d after %d", r.Seq, last)
		}
		last = r.Seq
		if !grown { // the reader stands still while what it reads is removed
			grown = true
			grow(t, l, 60)
			eventually(t, 20*time.Second, "its segment is removed", func() bool { return firstSeq(t, dir) > 30 })
		}
		if r.Seq > 60 {
			return
		}
	}
	t.Errorf("stopped at %d", last)
}

func TestJoinedRecordsAreWholeWhateverStandsBetween(t *testing.T) {
	var j Joiner
	var got []string
	emit := func(r, o *Record) error {
		word := r.Kind[:1] + r.DecisionID
		if o != nil {
			word += "=" + o.Outcome
		}
		got = append(got, word)
		return nil
	}
	for _, r := range []*Record{
		decision("1"), decision("2"), {Kind: "event"}, {Kind: "outcome", DecisionID: "2", Outcome: "ok"},
		{Kind: "outcome", DecisionID: "9", Outcome: "ok"}, {Kind: "decision", DecisionID: "3", Outcome: "not_found"}, decision("4"),
		{Kind: "outcome", DecisionID: "1", Outcome: "timeout"},
	} {
		if err := j.Add(r, emit); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Flush(emit); err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(got, " "); s != "e d2=ok d3 d1=timeout d4" {
		t.Error(s)
	}
	got = nil
	for i := range maxHeld + 1 {
		if err := j.Add(decision(fmt.Sprint("h", i)), emit); err != nil {
			t.Fatal(err)
		}
		if over := i == maxHeld; over != (len(got) == 1) {
			t.Fatalf("%d held, %v given up", i+1, got)
		}
	}
}

// The required attributes of both classes of OCSF 1.6.0, and its values.
func TestOCSFEventsHaveWhatTheirClassRequires(t *testing.T) {
	d := sample()
	d.Seq, d.Decision.Reasons = 7, []string{"because"}
	denied := *d
	denied.Decision = &policy.Decision{Reasons: []string{"not at night"}}
	out := &Record{Seq: 8, Kind: "outcome", DecisionID: d.DecisionID, Time: d.Time.Add(1500 * time.Millisecond), Outcome: "tool_error", Code: -32001}
	list := &Record{Kind: "decision", DecisionID: "l", Time: d.Time, Request: policy.Act{Method: "tools/list"}, Decision: &policy.Decision{Allow: true}, Shown: &Shown{Count: 1, Of: 2}}
	for name, c := range map[string]struct {
		r, o *Record
		want map[string]any
	}{
		"a call":                 {d, out, map[string]any{"class_uid": 6003., "category_uid": 6., "activity_id": 99., "type_uid": 600399., "status_id": 2., "status_code": "tool_error", "duration": 1500.}},
		"a call without outcome": {d, nil, map[string]any{"class_uid": 6003., "status_id": 0., "type_uid": 600399.}},
		"a denied call":          {&denied, nil, map[string]any{"status_id": 2., "severity_id": 2., "status_code": "denied", "status_detail": "not at night"}},
		"a list":                 {list, nil, map[string]any{"type_uid": 600302., "status_id": 1.}},
		"a sign-in":              {&Record{Kind: "event", Event: "session.started", Time: d.Time, User: policy.User{ID: "u"}}, nil, map[string]any{"class_uid": 3002., "category_uid": 3., "type_uid": 300201., "status_id": 1.}},
		"a failed sign-in":       {&Record{Kind: "event", Event: "signin.failed", Time: d.Time, RequestedBy: "192.0.2.1:99"}, nil, map[string]any{"type_uid": 300201., "status_id": 2.}},
		"a sign-out":             {&Record{Kind: "event", Event: "session.ended", Time: d.Time}, nil, map[string]any{"type_uid": 300202.}},
		"an event":               {&Record{Kind: "event", Event: "catalog.reload", Time: d.Time}, nil, map[string]any{"class_uid": 6003., "activity_name": "catalog.reload"}},
	} {
		b, err := OCSF(c.r, c.o)
		if err != nil {
			t.Fatal(err)
		}
		var e map[string]any
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		for key, want := range c.want {
			if e[key] != want {
				t.Errorf("%s: %s is %v, want %v", name, key, e[key], want)
			}
		}
		required := []string{"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid", "src_endpoint"}
		if e["class_uid"] == 3002. {
			required = append(required, "user", "service")
		} else {
			required = append(required, "actor", "api")
		}
		for _, key := range required {
			if v, ok := e[key]; !ok || fmt.Sprint(v) == "map[]" {
				t.Errorf("%s: no %s in %s", name, key, b)
			}
		}
		meta := e["metadata"].(map[string]any)
		if meta["version"] != "1.6.0" || meta["product"].(map[string]any)["vendor_name"] == nil || e["time"] != float64(c.r.Time.UnixMilli()) {
			t.Errorf("%s: %s", name, b)
		}
		if api, ok := e["api"].(map[string]any); ok && (api["operation"] == "" || api["request"] != nil && api["request"].(map[string]any)["uid"] == "") {
			t.Errorf("%s: %s", name, b)
		}
	}
}

// What an agent calls itself neither drives a terminal nor hides, in an event as
// in a record.
func TestAnOCSFEventIsHarmlessText(t *testing.T) {
	r := sample()
	r.Client.VerifiedName, r.Arguments = "a\u009b2J\u202eb\U000e0041\x1b", &Payload{Keyed: "k", Value: json.RawMessage("{\"a\":\"\u202e\"}"), Size: 9}
	r.Failures = &Failures{Count: 3}
	b, err := OCSF(r, nil)
	if err != nil || !json.Valid(b) {
		t.Fatal(err, string(b))
	}
	for _, c := range string(b) {
		if c < ' ' || unsafeRune(c) {
			t.Fatalf("%q in %s", c, b)
		}
	}
	var e struct {
		Actor struct {
			AppName string `json:"app_name"`
		}
		Unmapped map[string]any
	}
	if err := json.Unmarshal(b, &e); err != nil || e.Actor.AppName != r.Client.VerifiedName {
		t.Errorf("%q, %v", e.Actor.AppName, err)
	}
	if u := e.Unmapped; u["arguments_hmac_sha256"] != "k" || u["arguments_sha256"] != nil || u["failures"] == nil {
		t.Errorf("%v", u)
	}
}
