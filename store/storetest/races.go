package storetest

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

var raceChapters = map[string]func(*testing.T, *Place){
	"of 64 redemptions one succeeds and its tokens work": raceRedeem,
	"of 64 exchanges one succeeds and its tokens work":   raceRotate,
	"of 64 takers one gets the value":                    raceTake,
	"of 64 users with one id one is kept":                raceUser,
	"of 64 clients a cap lets in what it says":           raceCap,
	"64 updates are all there afterwards":                raceUpdate,
	"a revocation and a redemption leave nothing alive":  raceRevoke,
}

const racers = 64

func raceRedeem(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	for round := range 3 {
		id := fmt.Sprint("g", round)
		must(t, b.PutCode(ctx, code(p, id, grant(p, id))))
		hash := func(kind string, i int) string { return fmt.Sprint(id, kind, i) }
		var winner sync.Map
		if won := race(t, racers, store.ErrSpent, func(i int) error {
			_, err := b.ConsumeCode(ctx, id, access(p, hash("a", i), id), refresh(p, hash("r", i), id))
			if err == nil {
				winner.Store("hash", hash("r", i))
			}
			return err
		}); won != 1 {
			t.Fatalf("round %d: %d of %d won", round, won, racers)
		}
		r, _ := winner.Load("hash")
		a := strings.Replace(r.(string), "r", "a", 1)
		if got := live(t, b); got[a] != id || len(got) != round+1 {
			t.Errorf("round %d: live %v, the winner has %s", round, got, a)
		}
		_, err := b.RotateRefresh(ctx, r.(string), access(p, a+"'", id), refresh(p, r.(string)+"'", id))
		want(t, "the winner's refresh token", err, nil)
	}
}

func raceRotate(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.PutGrant(ctx, grant(p, "g"), access(p, "a", "g"), refresh(p, "r", "g")))
	now := "r"
	for round := range 3 {
		hash := func(kind string, i int) string { return fmt.Sprint(kind, round, "-", i) }
		if won := race(t, racers, store.ErrSpent, func(i int) error {
			_, err := b.RotateRefresh(ctx, now, access(p, hash("a", i), "g"), refresh(p, hash("r", i), "g"))
			return err
		}); won != 1 {
			t.Fatalf("round %d: %d of %d won", round, won, racers)
		}
		old, _ := token(t, b, now)
		now = old.Next
		if got := live(t, b); !maps.Equal(got, map[string]string{strings.Replace(now, "r", "a", 1): "g"}) {
			t.Fatalf("round %d: live %v, next is %s", round, got, now)
		}
	}
}

func raceTake(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.Keep(ctx, "state", "k", []byte("v"), p.Now().Add(time.Minute)))
	if won := race(t, racers, store.ErrNotFound, func(int) error {
		v, err := b.Take(ctx, "state", "k")
		if err == nil && string(v) != "v" {
			t.Errorf("took %q", v)
		}
		return err
	}); won != 1 {
		t.Errorf("%d of %d won", won, racers)
	}
}

func raceUser(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	if won := race(t, racers, store.ErrExists, func(i int) error {
		u := user(p, "alice")
		u.TOTPStep = int64(i)
		return b.CreateUser(ctx, u)
	}); won != 1 {
		t.Errorf("%d of %d won", won, racers)
	}
	if us, err := b.Users(ctx); err != nil || len(us) != 1 {
		t.Errorf("%d users, %v", len(us), err)
	}
}

func raceCap(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	const cap = 10
	if won := race(t, racers, store.ErrTooMany, func(i int) error { return b.CreateClient(ctx, client(p, fmt.Sprint(i)), cap) }); won != cap {
		t.Errorf("%d of %d won, want %d", won, racers, cap)
	}
	if cs, err := b.Clients(ctx); err != nil || len(cs) != cap {
		t.Errorf("%d clients, %v", len(cs), err)
	}
}

func raceUpdate(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	u := user(p, "alice")
	u.TOTPStep = 0
	must(t, b.CreateUser(ctx, u))
	race(t, racers, nil, func(int) error {
		_, err := b.UpdateUser(ctx, alice, func(u *store.User) error { u.TOTPStep++; return nil })
		return err
	})
	if u, err := b.User(ctx, alice); err != nil || u.TOTPStep != racers {
		t.Errorf("%+v, %v", u, err)
	}
}

func raceRevoke(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	for i := range 16 {
		id := fmt.Sprint("g", i)
		g := grant(p, id)
		g.Consent = "c" + id
		must(t, b.PutConsent(ctx, consent(p, g.Consent, alice, "agent")), b.PutCode(ctx, code(p, id, g)))
	}
	for i := range 16 {
		id := fmt.Sprint("g", i)
		race(t, 2, store.ErrRevoked, func(n int) error {
			if n == 0 {
				return b.DeleteConsent(ctx, "c"+id)
			}
			_, err := b.ConsumeCode(ctx, id, access(p, id, id))
			return err
		})
		if got := live(t, b); len(got) != 0 {
			t.Fatalf("round %d: live %v", i, got)
		}
	}
}
