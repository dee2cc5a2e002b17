package rego

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/ostiary/ostiary/policy"
)

func wantFailure(t *testing.T, err error, code string) {
	t.Helper()
	var f *policy.Failure
	if !errors.As(err, &f) || f.Code != code {
		t.Errorf("got %v, want a failure %s", err, code)
	}
}

func TestAllowAndNoDeny(t *testing.T) {
	tests := []struct {
		name, rules string
		want        policy.Decision
	}{
		{"nothing", ``, policy.Decision{}},
		{"allow", `allow if input.user.name == "alice"`, policy.Decision{Allow: true}},
		{"deny beats allow", `allow if true
deny contains "not today" if input.time.weekday == "monday"`, policy.Decision{Reasons: []string{"not today"}}},
		{"deny that does not hold", `allow if true
deny contains "not today" if input.time.weekday == "sunday"`, policy.Decision{Allow: true}},
		{"deny alone", `deny contains "no"`, policy.Decision{Reasons: []string{"no"}}},
		{"an empty text denies too", `allow if true
deny contains ""`, policy.Decision{Reasons: []string{""}}},
		{"denials before reasons, in order, once", `deny contains "b"
deny contains "a"
reasons contains "z"
reasons contains "c"
reasons contains "a"`, policy.Decision{Reasons: []string{"a", "b", "c", "z"}}},
		{"reasons deny nothing", `allow if true
reasons contains "because"`, policy.Decision{Allow: true, Reasons: []string{"because"}}},
		{"obligations", `allow if true
obligations contains {"type": "mask", "paths": ["/arguments/title"]} if input.arguments.title
obligations contains {"type": "rate", "class": "heavy"}`, policy.Decision{Allow: true, Obligations: []json.RawMessage{
			json.RawMessage(`{"class":"heavy","type":"rate"}`), json.RawMessage(`{"paths":["/arguments/title"],"type":"mask"}`),
		}}},
		{"helpers and data of the rules", `teams := {"engineering": ["github"]}
allow if { some g in input.user.groups; input.upstream in teams[g] }`, policy.Decision{Allow: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, tt.rules, patient())
			for range 2 { // the second may come from memory
				got, err := e.Decide(t.Context(), request())
				if err != nil {
					t.Fatal(err)
				}
				tt.want.Revision = e.revision
				if fmt.Sprintf("%s", got.Obligations) != fmt.Sprintf("%s", tt.want.Obligations) {
					t.Errorf("obligations %s, want %s", got.Obligations, tt.want.Obligations)
				}
				if got.Allow != tt.want.Allow || !slices.Equal(got.Reasons, tt.want.Reasons) || got.Revision != tt.want.Revision {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
			}
		})
	}
}

func TestAnErrorWhileDecidingIsADenial(t *testing.T) {
	tests := []struct {
		name, rules, code string
	}{
		{"a built-in function fails", `allow if true
deny contains "x" if to_number(input.user.name) > 3`, policy.FailedError},
		{"two values for one rule", `allow if role == "admin"
role := "admin" if input.user.name
role := "guest" if input.target.name`, policy.FailedError},
		{"allow is no boolean", `allow := 1 if input.user.name == "alice"`, policy.FailedUndefined},
		{"deny holds no text", `allow if true
deny contains 7`, policy.FailedUndefined},
		{"reasons hold no text", `allow if true
reasons contains {"a": 1}`, policy.FailedUndefined},
		{"obligations hold no objects", `allow if true
obligations contains input.target.name`, policy.FailedUndefined},
		{"too many obligations", `allow if true
obligations contains {"type": "rate", "class": sprintf("%d", [i])} if some i in numbers.range(1, 65)`, policy.FailedUndefined},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := engineOf(t, tt.rules).Decide(t.Context(), request())
			if d.Allow {
				t.Error("allowed")
			}
			wantFailure(t, err, tt.code)
			if strings.Contains(err.Error(), "alice") {
				t.Errorf("a value of the request is in the error: %v", err)
			}
		})
	}
}

func TestUndefinedAllowIsADenial(t *testing.T) {
	s, ps := readSources(directory(t, "p.rego", "package ostiary\n\nallow if input.user.name == \"bob\"\n"))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	e, _, ps := assemble(s, patient())
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	d, err := e.Decide(t.Context(), request())
	if d.Allow {
		t.Error("allowed")
	}
	wantFailure(t, err, policy.FailedUndefined)
}

// TestObligationsUpToTheLimit: 64 pass, 65 are in the table above.
func TestObligationsUpToTheLimit(t *testing.T) {
	e := engine(t, `allow if true
obligations contains {"type": "rate", "class": sprintf("%d", [i])} if some i in numbers.range(1, 64)
reasons contains sprintf("%03d", [i]) if some i in numbers.range(1, 65)
reasons contains "000 `+strings.Repeat("é", 1000)+`"`, patient())
	d, err := e.Decide(t.Context(), request())
	if err != nil || !d.Allow || len(d.Obligations) != maxTexts {
		t.Fatalf("%v, %d obligations, %v", d.Allow, len(d.Obligations), err)
	}
	if len(d.Reasons) != maxTexts {
		t.Errorf("%d reasons, want %d", len(d.Reasons), maxTexts)
	}
	if n := len(d.Reasons[0]); n > maxReasonBytes || n < maxReasonBytes-1 || !validText(d.Reasons[0]) {
		t.Errorf("a long reason has %d bytes", n)
	}
}

func TestArgumentsTooLargeToBeJudged(t *testing.T) {
	sized := func(n int) json.RawMessage {
		return json.RawMessage(`{"x":"` + strings.Repeat("a", n-8) + `"}`)
	}
	reading := engine(t, `allow if input.arguments.x != "b"`, patient())
	blind := engine(t, `allow if input.user.name == "alice"`, patient())
	responses := engine(t, `allow if input.responses.x != "b"`, patient())
	for _, tt := range []struct {
		name      string
		e         *Engine
		args, res json.RawMessage
		want      bool
	}{
		{"just below", reading, sized(DefaultArguments), nil, true},
		{"just above", reading, sized(DefaultArguments + 1), nil, false},
		{"above, but not read", blind, sized(DefaultArguments + 1), nil, true},
		{"responses just below", responses, nil, sized(DefaultArguments), true},
		{"responses just above", responses, nil, sized(DefaultArguments + 1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request()
			r.Arguments, r.Responses = tt.args, tt.res
			d, err := tt.e.Decide(t.Context(), r)
			if err != nil || d.Allow != tt.want {
				t.Fatalf("allowed %v, error %v", d.Allow, err)
			}
			if !tt.want && (len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0], "too large to be judged")) {
				t.Errorf("reasons %q", d.Reasons)
			}
		})
	}
}

func TestEvaluationIsBoundedInTime(t *testing.T) {
	e := engineOf(t, `allow if count([1 | some i in numbers.range(1, 30000000); i % 7 == 3]) > 0`)
	e.o.Timeout = 10 * time.Millisecond
	began := time.Now()
	d, err := e.Decide(t.Context(), request())
	if d.Allow {
		t.Error("allowed")
	}
	wantFailure(t, err, policy.FailedTimeout)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestALateAnswerIsNone: one built-in function can run past the limit and
// notice nothing.
func TestALateAnswerIsNone(t *testing.T) {
	e := engine(t, "", patient())
	wantFailure(t, e.run(t.Context(), 5*time.Millisecond, func(topdown.Cancel) error {
		time.Sleep(10 * time.Millisecond)
		return nil
	}), policy.FailedTimeout)
}

func TestAPanicIsADenial(t *testing.T) {
	e := engine(t, "", patient())
	err := e.run(t.Context(), time.Minute, func(topdown.Cancel) error { panic("secret") })
	wantFailure(t, err, policy.FailedPanic)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the panic's value is in the error: %v", err)
	}
	if len(e.slots) != 0 {
		t.Error("its turn was not given back")
	}
}

func TestEvaluationsAreBoundedInNumber(t *testing.T) {
	o := patient()
	o.Concurrency = 1
	e := engine(t, `allow if input.arguments.x`, o)
	started, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- e.run(t.Context(), time.Minute, func(topdown.Cancel) error {
			close(started)
			<-release
			return nil
		})
	}()
	<-started
	wantFailure(t, e.run(t.Context(), time.Millisecond, func(topdown.Cancel) error { return nil }), policy.FailedBusy)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.run(ctx, time.Minute, func(topdown.Cancel) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := e.run(t.Context(), time.Minute, func(topdown.Cancel) error { return nil }); err != nil {
		t.Errorf("after it was free again: %v", err)
	}
}

func TestACallerWhoLeavesStopsItsEvaluation(t *testing.T) {
	e := engineOf(t, `allow if count([1 | some i in numbers.range(1, 30000000); i % 7 == 3]) > 0`)
	e.o.Timeout = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if d, err := e.Decide(ctx, request()); d.Allow || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", d.Allow, err)
	}
}
