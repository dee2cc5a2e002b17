package audit

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// notes is a sink that keeps what it is told.
type notes struct {
	mu  sync.Mutex
	all []Record
}

func (n *notes) Append(_ context.Context, r *Record) error { n.Note(r); return nil }
func (n *notes) Err() error                                { return nil }

func (n *notes) Note(r *Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, *r)
}

func (n *notes) take() []Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.all
	n.all = nil
	return all
}

// A thousand requests a second for a minute: one record for each source.
func TestAFloodIsOneRecordPerSourceAndMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &notes{}
		f := &Flood{Sink: sink}
		began := time.Now()
		for i := range 60_000 {
			f.Add(fmt.Sprintf("192.0.2.%d", i%3), "mcp.no_token")
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if got := sink.take(); len(got) != 3 { // the next window has begun, too
			t.Fatalf("%d records after a minute", len(got))
		}
		f.Flush()
		sink.take()
		f.Add("192.0.2.1", "a")
		time.Sleep(time.Second)
		f.Add("192.0.2.1", "b")
		f.Add("192.0.2.1", "a")
		time.Sleep(FloodWindow) // nobody comes any more, and it is written
		synctest.Wait()
		got := sink.take()
		if len(got) != 1 || got[0].Kind != "event" || got[0].Event != EventFailures || got[0].RequestedBy != "192.0.2.1" || got[0].Format != Format {
			t.Fatalf("%+v", got)
		}
		s := got[0].Failures
		if s.Count != 3 || s.Last.Sub(s.First) != time.Second || fmt.Sprint(s.Kinds) != "[{a 2} {b 1}]" || s.First.Before(began) {
			t.Errorf("%+v", s)
		}
	})
}

func TestAMinuteIsOneWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &notes{}
		f := &Flood{Sink: sink}
		f.Add("192.0.2.1", "a")
		time.Sleep(FloodWindow - 1)
		f.Add("192.0.2.1", "a")
		synctest.Wait()
		if got := sink.take(); len(got) != 0 {
			t.Errorf("written before the minute was over: %+v", got)
		}
		time.Sleep(time.Nanosecond)
		f.Add("192.0.2.1", "a")
		synctest.Wait()
		if got := sink.take(); len(got) != 1 || got[0].Failures.Count < 2 {
			t.Errorf("%+v", got)
		}
		f.Flush()
		if got := sink.take(); len(got) > 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestASourceIsAnAddressOrAnIPv6Network(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64",
		"2001:db8:0:0:ffff::2": "2001:db8::/64", "2001:db8:0:1::1": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64", "": "", "pipe": "pipe",
	} {
		if got := Source(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func TestSourcesAndKindsAreBounded(t *testing.T) {
	sink := &notes{}
	f := &Flood{Sink: sink, Now: time.Now}
	for i := range MaxSources + 5 {
		f.Add(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), "a")
		f.AddBy(fmt.Sprint("principal ", i), "requests", &Record{User: policy.User{ID: fmt.Sprint("user ", i)}})
	}
	f.Add("10.0.0.0", "a")
	f.AddBy("principal 0", "requests", &Record{})
	f.Flush()
	got := sink.take()
	if len(got) != 2*(MaxSources+1) {
		t.Fatalf("%d records", len(got))
	}
	others := map[string]int{}
	for _, r := range got {
		switch {
		case r.RequestedBy == OtherSources:
			if others[r.Event]++; r.Failures.Count != 5 || r.User.ID != "" {
				t.Errorf("%+v %+v", r, r.Failures)
			}
		case r.RequestedBy == "10.0.0.0" || r.User.ID == "user 0":
			if r.Failures.Count != 2 {
				t.Errorf("who is known is counted elsewhere: %+v", r.Failures)
			}
		}
	}
	if others[EventFailures] != 1 || others[EventQuota] != 1 {
		t.Errorf("others: %v", others)
	}
	for i := range maxKinds + 3 {
		f.Add("192.0.2.1", fmt.Sprint("kind", i))
	}
	f.Flush()
	s := sink.take()[0].Failures
	if len(s.Kinds) != maxKinds+1 || s.Kinds[maxKinds] != (Failed{otherKind, 3}) || s.Count != maxKinds+3 {
		t.Errorf("%+v", s)
	}
}

// Who has a network of 48 bits, as every customer of a provider may, has 65,536
// of 64 bits: they neither fill the log nor crowd out the other sources.
func TestOneIPv6CustomerIsFewSources(t *testing.T) {
	sink := &notes{}
	f := &Flood{Sink: sink}
	for i := range 2 * MaxSources {
		f.Add(fmt.Sprintf("2001:db8:1:%x::1", i), "a")
	}
	f.Add("2001:db8:1:0::2", "a") // known before
	f.Add("2001:db8:2:0::1", "a")
	f.Add("192.0.2.1", "a")
	f.Flush()
	count := map[string]int{}
	for _, r := range sink.take() {
		count[r.RequestedBy] = r.Failures.Count
	}
	if len(count) != maxNetworks+3 || count["2001:db8:1::/48"] != 2*MaxSources-maxNetworks || count["2001:db8:1::/64"] != 2 || count["2001:db8:2::/64"] != 1 || count["192.0.2.1"] != 1 {
		t.Errorf("%v", count)
	}
	for i := range maxNetworks {
		f.Add(fmt.Sprintf("2001:db8:1:%x::1", i), "a")
	}
	f.Flush()
	if got := sink.take(); len(got) != maxNetworks {
		t.Errorf("the next window: %d sources", len(got))
	}
	for i := range 3 * MaxSources { // whoever has more
		f.Add(fmt.Sprintf("2001:db8:%x::1", i), "a")
	}
	if len(f.sources) != MaxSources+1 || len(f.networks) > MaxSources {
		t.Errorf("%d sources, %d networks in memory", len(f.sources), len(f.networks))
	}
}

func TestNothingIsLostAtClose(t *testing.T) {
	sink := &notes{}
	f := &Flood{Sink: sink}
	var work sync.WaitGroup
	for i := range 20 {
		work.Go(func() {
			if i == 10 {
				f.Close()
			}
			f.Add("192.0.2.1", "a")
		})
	}
	work.Wait()
	count := 0
	for _, r := range sink.take() {
		count += r.Failures.Count
	}
	if count != 20 {
		t.Errorf("%d of 20 are on record", count)
	}
}

func TestASummaryReadsAsItWasWritten(t *testing.T) {
	at := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	r := &Record{Kind: "event", Event: EventFailures, RequestedBy: "192.0.2.1",
		Failures: &Failures{Count: 3, First: at, Last: at.Add(time.Second), Kinds: []Failed{{"a\n", 2}, {"b", 1}}}}
	got, _ := written(t, Options{}, r)
	if g, w := asJSON(t, got.Failures), asJSON(t, r.Failures); g != w {
		t.Errorf("got %s, want %s", g, w)
	}
}

// A timer that fires while somebody else writes its window ends no other one.
func TestALateTimerEndsNoOtherWindow(t *testing.T) {
	sink := &notes{}
	f := &Flood{Sink: sink}
	f.Add("192.0.2.1", "a")
	first := f.since
	f.Flush()
	f.Add("192.0.2.1", "a")
	f.since = first.Add(FloodWindow)
	f.due(first)
	if got := sink.take(); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
	f.due(f.since)
	if got := sink.take(); len(got) != 1 {
		t.Errorf("%d records", len(got))
	}
}
