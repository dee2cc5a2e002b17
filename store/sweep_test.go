package store

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// keyCounts counts what stands in the buckets of the tables.
func keyCounts(t *testing.T, s *Store) map[string]int {
	t.Helper()
	counts := map[string]int{}
	err := s.read(t.Context(), func(t *txn) error {
		for _, b := range laterBuckets {
			if n := t.tx.Bucket([]byte(b)).Stats().KeyN; n > 0 && b != bucketMeta {
				counts[b] = n
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func sweepAll(t *testing.T, s *Store) (met int) {
	t.Helper()
	for n := sweepBatch; n == sweepBatch; {
		var err error
		if n, err = s.sweepTables(t.Context()); err != nil {
			t.Fatal(err)
		}
		met += n
	}
	return met
}

func TestSweepRemovesEndedRecordsWithTheirIndexes(t *testing.T) {
	c := newClock()
	s, ctx := open(t, t.TempDir(), Options{Now: c.now}), t.Context()
	in := func(d time.Duration) time.Time { return c.now().Add(d) }
	g := Grant{ID: "g", User: "local:alice", Client: "agent", Consent: "c", Expires: in(4 * time.Hour)}
	pending := g
	pending.ID = "pending"
	token := func(kind, hash string) Token {
		return Token{Hash: hash, Kind: kind, Grant: "g", Expires: in(10 * time.Minute)}
	}
	err := errors.Join(s.CreateUser(ctx, User{Issuer: "local", Subject: "alice"}), s.PutConsent(ctx, Consent{ID: "c", User: "local:alice"}),
		s.PutClient(ctx, Client{ID: "stays"}), s.CreateClient(ctx, Client{ID: "unused", Expires: in(2 * time.Hour)}, 0),
		s.CreateSession(ctx, Session{Hash: "s", User: "local:alice", Expires: in(time.Hour)}), s.Keep(ctx, "par", "k", nil, in(time.Minute)),
		s.PutCode(ctx, Code{Hash: "unredeemed", Grant: pending, Expires: in(time.Minute)}),
		s.PutCode(ctx, Code{Hash: "code", Grant: g, Expires: in(time.Minute)}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ConsumeCode(ctx, "code", token(accessToken, "a0"), token(refreshToken, "r0")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RotateRefresh(ctx, "r0", token(accessToken, "a1"), token(refreshToken, "r1")); err != nil {
		t.Fatal(err)
	}
	if err := s.RevokeGrant(ctx, "g", "test"); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		wait time.Duration
		met  int
		left string
	}{
		{time.Minute - 1, 0, "map[clients:2 codes:2 consents:1 due:9 grants:1 kept:1 links:13 sessions:1 tokens:3 users:1]"},
		{1, 2, "map[clients:2 codes:1 consents:1 due:7 grants:1 links:9 sessions:1 tokens:3 users:1]"},
		{time.Hour, 1, "map[clients:2 codes:1 consents:1 due:6 grants:1 links:8 tokens:3 users:1]"},
		{time.Hour, 1, "map[clients:1 codes:1 consents:1 due:5 grants:1 links:7 tokens:3 users:1]"},
		{2*time.Hour - time.Minute - 1, 0, "map[clients:1 codes:1 consents:1 due:5 grants:1 links:7 tokens:3 users:1]"},
		{1, 5, "map[clients:1 consents:1 links:3 users:1]"},
	} {
		c.add(step.wait)
		met := sweepAll(t, s)
		if got := fmt.Sprint(keyCounts(t, s)); met != step.met || got != step.left {
			t.Errorf("after %v: met %d, want %d\n left %s\n want %s", step.wait, met, step.met, got, step.left)
		}
	}
}

func TestChangedIndexMakesTheStoreForgetNothing(t *testing.T) {
	c := newClock()
	s, ctx := open(t, t.TempDir(), Options{Now: c.now}), t.Context()
	end := c.now().Add(time.Hour)
	if err := errors.Join(s.CreateSession(ctx, Session{Hash: "s", User: "local:alice", Expires: end}),
		s.PutGrant(ctx, Grant{ID: "g", User: "local:alice", Expires: end})); err != nil {
		t.Fatal(err)
	}
	ring := s.keys.Load()
	name, bobs := ring.name(bucketSessions, "s"), ring.name(bucketLinks, bucketSessions, userParent("local:bob"))
	err := s.do(ctx, func(t *txn) error {
		due := append(expiry(c.now().Add(-time.Hour)), sessions.tag)
		return errors.Join(
			t.put(bucketDue, append(due, name...), nil),                            // due already
			t.put(bucketDue, append(due[:endSize:endSize], 99), nil),               // of no table
			t.put(bucketDue, due[:3], nil),                                         // of no form
			t.put(bucketLinks, append(append(bobs, expiry(end)...), name...), nil), // another user's
			t.put(bucketLinks, append(append(bobs[:32:32], expiry(end)...), "nothing"...), nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	if met := sweepAll(t, s); met == 0 {
		t.Error("the sweeper saw nothing")
	}
	if _, err := s.Session(ctx, "s"); err != nil {
		t.Errorf("forgotten: %v", err)
	}
	if err := s.DeleteSessions(ctx, "local:bob"); err != nil {
		t.Error(err)
	}
	if _, err := s.Session(ctx, "s"); err != nil {
		t.Errorf("ended with another user's: %v", err)
	}
}

func TestSweepIsBounded(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{Now: c.now})
	err := s.do(t.Context(), func(t *txn) error {
		for i := range sweepBatch + 1 {
			if err := sessions.put(t, &Session{Hash: fmt.Sprint(i)}, c.now().Add(time.Minute)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.add(time.Minute)
	for _, want := range []int{sweepBatch, 1, 0} {
		if met, err := s.sweepTables(t.Context()); met != want || err != nil {
			t.Errorf("met %d, %v; want %d", met, err, want)
		}
	}
	if got := keyCounts(t, s); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}
