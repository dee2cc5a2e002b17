package storetest

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

var grantChapters = map[string]func(*testing.T, *Place){
	"a code is redeemed once, with its grant and tokens":   codeRedeemed,
	"a code that was not redeemed expires":                 codeExpires,
	"a redemption that fails leaves the code whole":        redemptionUndone,
	"a refresh token is exchanged once":                    refreshRotates,
	"an exchange that fails leaves the token whole":        rotationUndone,
	"what is no live refresh token is not exchanged":       notRotated,
	"tombstones stay until the grant ends":                 tombstones,
	"a grant without an end never ends":                    endless,
	"a grant is revoked once, with its code":               revokedOnce,
	"grants are revoked by a question, pending codes, too": revokedByMatch,
	"live tokens are what may be used now":                 liveTokens,
	"last use moves forward only":                          touched,
	"an access token is deleted alone":                     tokenDeleted,
}

func codeRedeemed(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	c := code(p, "c", grant(p, "g"))
	must(t, b.PutCode(ctx, c))
	want(t, "the same code", b.PutCode(ctx, c), store.ErrExists)
	if got, err := b.Code(ctx, "c"); err != nil || !reflect.DeepEqual(*got, c) {
		t.Errorf("%+v, %v", got, err)
	}
	_, _, err := b.Token(ctx, "a")
	want(t, "its token, before", err, store.ErrNotFound)
	p.Add(time.Minute - 1)
	a, r := access(p, "a", "g"), refresh(p, "r", "g")
	g, err := b.ConsumeCode(ctx, "c", a, r)
	if err != nil || !reflect.DeepEqual(*g, c.Grant) {
		t.Fatalf("%+v, %v", g, err)
	}
	_, err = b.ConsumeCode(ctx, "c", access(p, "a2", "g"))
	want(t, "again", err, store.ErrSpent)
	must(t, b.Close())
	b = p.Open(t)
	for _, k := range []store.Token{a, r} {
		if gotToken, gotGrant := token(t, b, k.Hash); !reflect.DeepEqual(*gotToken, k) || !reflect.DeepEqual(*gotGrant, c.Grant) {
			t.Errorf("%+v, %+v", gotToken, gotGrant)
		}
	}
	_, err = b.ConsumeCode(ctx, "c")
	want(t, "after reopening", err, store.ErrSpent)
	_, _, err = b.Token(ctx, "a2")
	want(t, "the loser's token", err, store.ErrNotFound)
	used, err := b.Code(ctx, "c")
	if err != nil || !used.Used.Equal(p.Now()) || used.Grant.ID != "g" {
		t.Errorf("%+v, %v", used, err)
	}
	p.Add(grantLife - 2*time.Minute)
	_, err = b.ConsumeCode(ctx, "c")
	want(t, "long after its expiry", err, store.ErrSpent)
}

func codeExpires(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.PutCode(ctx, code(p, "c", grant(p, "g"))))
	p.Add(time.Minute)
	_, err := b.Code(ctx, "c")
	want(t, "read", err, store.ErrNotFound)
	_, err = b.ConsumeCode(ctx, "c")
	want(t, "redeemed", err, store.ErrNotFound)
	late := code(p, "late", grant(p, "g"))
	late.Grant.Expires = p.Now().Add(time.Second)
	must(t, b.PutCode(ctx, late))
	p.Add(time.Second)
	_, err = b.ConsumeCode(ctx, "late")
	want(t, "for a grant that has ended", err, store.ErrNotFound)
}

func redemptionUndone(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.PutGrant(ctx, grant(p, "old"), access(p, "taken", "old")), b.PutCode(ctx, code(p, "c", grant(p, "g"))))
	odd := access(p, "odd", "g")
	odd.Kind = "id"
	_, err := b.ConsumeCode(ctx, "c", access(p, "a", "g"), access(p, "taken", "g"))
	want(t, "a token that exists", err, store.ErrExists)
	for _, k := range []store.Token{access(p, "b", "old"), odd} {
		if _, err := b.ConsumeCode(ctx, "c", access(p, "a", "g"), k); err == nil || errors.Is(err, store.ErrSpent) {
			t.Errorf("with %s of %s: %v", k.Kind, k.Grant, err)
		}
	}
	for _, hash := range []string{"a", "b", "odd"} {
		_, _, err := b.Token(ctx, hash)
		want(t, hash, err, store.ErrNotFound)
	}
	if gs, err := b.Grants(ctx, nil); err != nil || len(gs) != 1 {
		t.Errorf("%d grants, %v", len(gs), err)
	}
	_, err = b.ConsumeCode(ctx, "c", access(p, "a", "g"))
	want(t, "then rightly", err, nil)
	must(t, b.PutCode(ctx, code(p, "c2", grant(p, "g"))))
	_, err = b.ConsumeCode(ctx, "c2")
	want(t, "for a grant that exists", err, store.ErrExists)
	want(t, "put again", b.PutGrant(ctx, grant(p, "g")), store.ErrExists)
}

func refreshRotates(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.PutGrant(ctx, grant(p, "g"), access(p, "a0", "g"), refresh(p, "r0", "g")),
		b.PutGrant(ctx, grant(p, "other"), access(p, "other", "other")))
	p.Add(time.Minute)
	g, err := b.RotateRefresh(ctx, "r0", access(p, "a1", "g"), refresh(p, "r1", "g"))
	if err != nil || g.ID != "g" {
		t.Fatal(g, err)
	}
	_, err = b.RotateRefresh(ctx, "r0", access(p, "x", "g"), refresh(p, "y", "g"))
	want(t, "again", err, store.ErrSpent)
	must(t, b.Close())
	b = p.Open(t)
	if k, _ := token(t, b, "r0"); !k.Rotated.Equal(p.Now()) || k.Next != "r1" || string(k.Request) != "req" {
		t.Errorf("%+v", k)
	}
	if k, _ := token(t, b, "r1"); !k.Rotated.IsZero() || k.Next != "" {
		t.Errorf("%+v", k)
	}
	for _, hash := range []string{"a0", "x", "y"} {
		_, _, err := b.Token(ctx, hash)
		want(t, hash, err, store.ErrNotFound)
	}
	if got := live(t, b); !maps.Equal(got, map[string]string{"a1": "g", "other": "other"}) {
		t.Errorf("live: %v", got)
	}
	_, err = b.RotateRefresh(ctx, "r1", access(p, "a2", "g"), refresh(p, "r2", "g"))
	want(t, "the successor", err, nil)
}

func rotationUndone(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.PutGrant(ctx, grant(p, "g"), access(p, "a0", "g"), refresh(p, "r0", "g")))
	_, err := b.RotateRefresh(ctx, "r0", access(p, "a1", "g"), refresh(p, "r0", "g"))
	want(t, "a successor that exists", err, store.ErrExists)
	if k, _ := token(t, b, "r0"); !k.Rotated.IsZero() {
		t.Errorf("%+v", k)
	}
	if got := live(t, b); !maps.Equal(got, map[string]string{"a0": "g"}) {
		t.Errorf("live: %v", got)
	}
	_, err = b.RotateRefresh(ctx, "r0", access(p, "a1", "g"), refresh(p, "r1", "g"))
	want(t, "then rightly", err, nil)
}

func notRotated(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	short := refresh(p, "short", "g")
	short.Expires = p.Now().Add(time.Hour)
	must(t, b.PutGrant(ctx, grant(p, "g"), access(p, "a", "g"), refresh(p, "r", "g"), short))
	_, err := b.RotateRefresh(ctx, "a")
	want(t, "an access token", err, store.ErrNotFound)
	p.Add(time.Hour)
	_, err = b.RotateRefresh(ctx, "short")
	want(t, "an expired one", err, store.ErrNotFound)
	must(t, b.RevokeGrant(ctx, "g", "test"))
	_, err = b.RotateRefresh(ctx, "r")
	want(t, "one of a revoked grant", err, store.ErrRevoked)
	if k, _ := token(t, b, "r"); !k.Rotated.IsZero() {
		t.Error("it was marked all the same")
	}
}

func tombstones(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.PutCode(ctx, code(p, "c", grant(p, "g"))))
	_, err1 := b.ConsumeCode(ctx, "c", access(p, "a0", "g"), refresh(p, "r0", "g"))
	_, err2 := b.RotateRefresh(ctx, "r0", access(p, "a1", "g"), refresh(p, "r1", "g"))
	must(t, err1, err2, b.RevokeGrant(ctx, "g", "test"))
	p.Add(grantLife - 1)
	for _, hash := range []string{"r0", "a1", "r1"} {
		if _, g := token(t, b, hash); g.Revoked.IsZero() {
			t.Errorf("%s is not revoked", hash)
		}
	}
	_, err := b.RotateRefresh(ctx, "r0")
	want(t, "reuse just before the end", err, store.ErrSpent)
	_, err = b.ConsumeCode(ctx, "c")
	want(t, "the code", err, store.ErrSpent)
	p.Add(1)
	for _, hash := range []string{"r0", "a1", "r1"} {
		_, _, err := b.Token(ctx, hash)
		want(t, hash, err, store.ErrNotFound)
	}
	_, err = b.RotateRefresh(ctx, "r0")
	want(t, "at the end", err, store.ErrNotFound)
	_, err = b.ConsumeCode(ctx, "c")
	want(t, "the code at the end", err, store.ErrNotFound)
	want(t, "the grant", b.RevokeGrant(ctx, "g", "test"), store.ErrNotFound)
}

func endless(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	g, k := grant(p, "g"), access(p, "a", "g")
	g.Expires, k.Expires = time.Time{}, time.Time{}
	must(t, b.PutGrant(ctx, g, k))
	p.Add(100 * 365 * 24 * time.Hour)
	if got := live(t, b); !maps.Equal(got, map[string]string{"a": "g"}) {
		t.Errorf("live: %v", got)
	}
}

func revokedOnce(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	at := p.Now()
	must(t, b.PutGrant(ctx, grant(p, "g"), access(p, "a", "g")), b.PutCode(ctx, code(p, "c", grant(p, "pending"))),
		b.RevokeGrant(ctx, "g", "first"), b.RevokeGrant(ctx, "pending", "before it began"))
	p.Add(time.Second)
	must(t, b.RevokeGrant(ctx, "g", "second"), b.RevokeGrant(ctx, "pending", "second"))
	if _, g := token(t, b, "a"); !g.Revoked.Equal(at) || g.Reason != "first" {
		t.Errorf("%+v", g)
	}
	_, err := b.ConsumeCode(ctx, "c")
	want(t, "the code", err, store.ErrRevoked)
	if c, err := b.Code(ctx, "c"); err != nil || c.Grant.Reason != "before it began" {
		t.Errorf("%+v, %v", c, err)
	}
}

func revokedByMatch(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	for _, id := range []string{"a1", "a2", "b1"} {
		g := grant(p, id)
		g.User = map[byte]string{'a': alice, 'b': bob}[id[0]]
		pending := g
		pending.ID += "-pending"
		must(t, b.PutGrant(ctx, g, access(p, id, id)), b.PutCode(ctx, code(p, id, pending)))
	}
	must(t, b.RevokeGrant(ctx, "a2", "before"))
	ids, err := b.RevokeGrants(ctx, func(g *store.Grant) bool { return g.User == alice }, "left")
	if err != nil || !slices.Equal(ids, []string{"a1"}) {
		t.Errorf("revoked %v, %v", ids, err)
	}
	if got := live(t, b); !maps.Equal(got, map[string]string{"b1": "b1"}) {
		t.Errorf("live: %v", got)
	}
	for id, wanted := range map[string]error{"a1": store.ErrRevoked, "a2": store.ErrRevoked, "b1": nil} {
		_, err := b.ConsumeCode(ctx, id)
		want(t, "code "+id, err, wanted)
	}
	ids, err = b.RevokeGrants(ctx, func(g *store.Grant) bool { return g.User == alice }, "again")
	if err != nil || len(ids) != 0 {
		t.Errorf("again: %v, %v", ids, err)
	}
	gs, err := b.Grants(ctx, func(g *store.Grant) bool { return g.User == alice })
	if err != nil || len(gs) != 2 || gs[0].Reason != "left" || gs[1].Reason != "before" {
		t.Errorf("%+v, %v", gs, err)
	}
}

func liveTokens(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	long := access(p, "long", "g")
	long.Expires = p.Now().Add(time.Hour)
	must(t, b.PutGrant(ctx, grant(p, "g"), access(p, "a", "g"), long, refresh(p, "r", "g")), b.PutGrant(ctx, grant(p, "dead"), access(p, "dead", "dead")),
		b.RevokeGrant(ctx, "dead", "test"))
	p.Add(10*time.Minute - 1)
	if got := live(t, b); !maps.Equal(got, map[string]string{"a": "g", "long": "g"}) {
		t.Errorf("live: %v", got)
	}
	p.Add(1)
	if got := live(t, b); !maps.Equal(got, map[string]string{"long": "g"}) {
		t.Errorf("then: %v", got)
	}
	boom := errors.New("boom")
	want(t, "an error of the caller", b.LiveTokens(ctx, func(store.Token, *store.Grant) error { return boom }), boom)
}

func touched(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.PutGrant(ctx, grant(p, "g"), access(p, "a", "g")))
	later := p.Now().Add(time.Minute)
	must(t, b.TouchGrants(ctx, map[string]time.Time{"g": later, "unknown": later}),
		b.TouchGrants(ctx, map[string]time.Time{"g": later.Add(-1)}))
	if _, g := token(t, b, "a"); !g.LastUsed.Equal(later) {
		t.Errorf("last used %v", g.LastUsed)
	}
	must(t, b.RevokeGrant(ctx, "g", "test"), b.TouchGrants(ctx, map[string]time.Time{"g": later.Add(1)}))
	if _, g := token(t, b, "a"); !g.LastUsed.Equal(later) || g.Revoked.IsZero() {
		t.Errorf("%+v", g)
	}
}

func tokenDeleted(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.PutGrant(ctx, grant(p, "g"), access(p, "a", "g"), access(p, "b", "g")), b.DeleteToken(ctx, "a"))
	_, _, err := b.Token(ctx, "a")
	want(t, "it", err, store.ErrNotFound)
	if got := live(t, b); !maps.Equal(got, map[string]string{"b": "g"}) {
		t.Errorf("live: %v", got)
	}
}
