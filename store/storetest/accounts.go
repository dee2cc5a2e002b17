package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

var accountChapters = map[string]func(*testing.T, *Place){
	"a record comes back whole, also after reopening":      wholeRecords,
	"every read is a private copy":                         privateCopies,
	"ids are taken once":                                   idsTakenOnce,
	"what is unknown is not found":                         unknown,
	"lists are in order":                                   listsInOrder,
	"an update that fails changes nothing":                 updateUndone,
	"a client cap counts the living of one kind":           clientCap,
	"records expire on read":                               recordsExpire,
	"an update may move the expiry":                        expiryMoves,
	"a deleted user takes everything along":                deletedUser,
	"a deleted client takes consents and grants along":     deletedClient,
	"a withdrawn consent ends the grants that stand on it": withdrawnConsent,
	"sessions of one user end together":                    sessionsEnd,
	"a kept value is taken once, in its class, in time":    keptValues,
	"records are limited in size":                          sizeLimits,
}

func wholeRecords(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	u, c, s := user(p, "alice"), client(p, "https://agent.example/client.json"), session(p, "5e55", alice)
	k := consent(p, "consent", alice, c.ID)
	c.Expires = p.Now().Add(time.Hour)
	must(t, b.CreateUser(ctx, u), b.CreateClient(ctx, c, 0), b.CreateSession(ctx, s), b.PutConsent(ctx, k))
	for range 2 {
		gotUser, err := b.User(ctx, alice)
		must(t, err)
		gotClient, err := b.Client(ctx, c.ID)
		must(t, err)
		gotSession, err := b.Session(ctx, s.Hash)
		must(t, err)
		gotConsents, err := b.Consents(ctx, alice)
		must(t, err)
		for _, pair := range [][2]any{{*gotUser, u}, {*gotClient, c}, {*gotSession, s}, {gotConsents, []store.Consent{k}}} {
			if !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("got  %+v\nwant %+v", pair[0], pair[1])
			}
		}
		must(t, b.RotateKeys(ctx), b.Close())
		b = p.Open(t)
	}
}

func privateCopies(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	u := user(p, "alice")
	must(t, b.CreateUser(ctx, u))
	u.Groups[0] = "admin"
	first, err := b.User(ctx, alice)
	must(t, err)
	first.Groups[1] = "admin"
	updated, err := b.UpdateUser(ctx, alice, func(u *store.User) error { u.Name = "A"; return nil })
	must(t, err)
	updated.Groups[0] = "admin"
	if again, err := b.User(ctx, alice); err != nil || strings.Join(again.Groups, " ") != "staff ops" || again.Name != "A" {
		t.Errorf("%+v, %v", again, err)
	}
}

func idsTakenOnce(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.CreateUser(ctx, user(p, "alice")), b.CreateClient(ctx, client(p, "agent"), 0), b.CreateSession(ctx, session(p, "s", alice)))
	other := user(p, "alice")
	other.Name = "Mallory"
	want(t, "user", b.CreateUser(ctx, other), store.ErrExists)
	want(t, "client", b.CreateClient(ctx, client(p, "agent"), 0), store.ErrExists)
	want(t, "session", b.CreateSession(ctx, session(p, "s", bob)), store.ErrExists)
	if u, err := b.User(ctx, alice); err != nil || u.Name != "The alice" {
		t.Errorf("%+v, %v", u, err)
	}
	for _, u := range []store.User{{Issuer: "loc", Subject: "al:alice"}, {Issuer: "local", Subject: "Alice"}, {Issuer: "local", Subject: "alice "}} {
		want(t, u.ID(), b.CreateUser(ctx, u), nil)
	}
	replaced := client(p, "agent")
	replaced.Name = "New"
	must(t, b.PutClient(ctx, replaced))
	if c, err := b.Client(ctx, "agent"); err != nil || c.Name != "New" {
		t.Errorf("%+v, %v", c, err)
	}
}

func unknown(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	_, userErr := b.User(ctx, alice)
	_, clientErr := b.Client(ctx, "agent")
	_, sessionErr := b.Session(ctx, "s")
	_, codeErr := b.Code(ctx, "c")
	_, _, tokenErr := b.Token(ctx, "t")
	_, updateErr := b.UpdateUser(ctx, alice, func(*store.User) error { return nil })
	_, consumeErr := b.ConsumeCode(ctx, "c")
	_, rotateErr := b.RotateRefresh(ctx, "t")
	_, takeErr := b.Take(ctx, "c", "k")
	for i, err := range []error{userErr, clientErr, sessionErr, codeErr, tokenErr, updateErr, consumeErr, rotateErr, takeErr,
		b.DeleteUser(ctx, alice), b.DeleteClient(ctx, "agent"), b.DeleteConsent(ctx, "c"), b.RevokeGrant(ctx, "g", "r")} {
		want(t, fmt.Sprint(i), err, store.ErrNotFound)
	}
	must(t, b.DeleteSession(ctx, "s"), b.DeleteSessions(ctx, alice), b.DeleteToken(ctx, "t"),
		b.TouchGrants(ctx, map[string]time.Time{"g": p.Now()}))
}

func listsInOrder(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	for _, n := range []string{"b", "c", "a"} {
		p.Add(time.Second)
		g := grant(p, n)
		must(t, b.CreateUser(ctx, user(p, n)), b.CreateClient(ctx, client(p, n), 0), b.CreateSession(ctx, session(p, n, alice)),
			b.PutConsent(ctx, consent(p, n, alice, "x"+n)), b.PutGrant(ctx, g))
	}
	var got []string
	us, err1 := b.Users(ctx)
	cs, err2 := b.Clients(ctx)
	ss, err3 := b.Sessions(ctx, alice)
	ks, err4 := b.Consents(ctx, "")
	gs, err5 := b.Grants(ctx, nil)
	must(t, err1, err2, err3, err4, err5)
	for i := range 3 {
		got = append(got, us[i].Subject+cs[i].ID+ss[i].Hash+ks[i].ID+gs[i].ID)
	}
	if strings.Join(got, " ") != "aabbb bbccc ccaaa" {
		t.Errorf("users and clients by id, others by age: got %v", got)
	}
}

func updateUndone(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.CreateUser(ctx, user(p, "alice")), b.CreateClient(ctx, client(p, "agent"), 0), b.CreateSession(ctx, session(p, "s", alice)))
	boom := errors.New("boom")
	_, err := b.UpdateUser(ctx, alice, func(u *store.User) error { u.Name = "changed"; return boom })
	want(t, "its error", err, boom)
	if _, err := b.UpdateUser(ctx, alice, func(u *store.User) error { u.Subject = "bob"; return nil }); err == nil {
		t.Error("a user's id was changed")
	}
	if _, err := b.UpdateClient(ctx, "agent", func(c *store.Client) error { c.ID = "other"; return nil }); err == nil {
		t.Error("a client's id was changed")
	}
	if _, err := b.UpdateSession(ctx, "s", func(s *store.Session) error { s.Hash = "other"; return nil }); err == nil {
		t.Error("a session's hash was changed")
	}
	if u, err := b.User(ctx, alice); err != nil || u.Name != "The alice" {
		t.Errorf("%+v, %v", u, err)
	}
	want(t, "bob", func() error { _, err := b.User(ctx, bob); return err }(), store.ErrNotFound)
}

func clientCap(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	short := client(p, "short")
	short.Expires = p.Now().Add(time.Minute)
	static := client(p, "static")
	static.Kind = "static"
	must(t, b.PutClient(ctx, static), b.CreateClient(ctx, client(p, "one"), 2), b.CreateClient(ctx, short, 2))
	want(t, "a third of two", b.CreateClient(ctx, client(p, "three"), 2), store.ErrTooMany)
	want(t, "no cap", b.CreateClient(ctx, client(p, "free"), 0), nil)
	must(t, b.DeleteClient(ctx, "free"))
	p.Add(time.Minute - 1)
	want(t, "just before one expires", b.CreateClient(ctx, client(p, "three"), 2), store.ErrTooMany)
	p.Add(1)
	want(t, "when one has expired", b.CreateClient(ctx, client(p, "three"), 2), nil)
	want(t, "full again", b.CreateClient(ctx, client(p, "four"), 2), store.ErrTooMany)
	must(t, b.DeleteClient(ctx, "one"))
	want(t, "when one is deleted", b.CreateClient(ctx, client(p, "four"), 2), nil)
	if cs, err := b.Clients(ctx); err != nil || len(cs) != 3 {
		t.Errorf("%d clients, %v", len(cs), err)
	}
}

func recordsExpire(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	c := client(p, "agent")
	c.Expires = p.Now().Add(time.Hour)
	must(t, b.CreateClient(ctx, c, 0), b.CreateClient(ctx, client(p, "for ever"), 0), b.CreateSession(ctx, session(p, "s", alice)))
	read := func(when string, wanted error, clients, sessions int) {
		t.Helper()
		_, err := b.Client(ctx, "agent")
		want(t, when+": client", err, wanted)
		_, err = b.Session(ctx, "s")
		want(t, when+": session", err, wanted)
		cs, err1 := b.Clients(ctx)
		ss, err2 := b.Sessions(ctx, alice)
		if must(t, err1, err2); len(cs) != clients || len(ss) != sessions {
			t.Errorf("%s: %d clients, %d sessions", when, len(cs), len(ss))
		}
	}
	p.Add(time.Hour - 1)
	read("just before", nil, 2, 1)
	p.Add(1)
	read("then", store.ErrNotFound, 1, 0)
	_, err := b.UpdateSession(ctx, "s", func(*store.Session) error { return nil })
	want(t, "update of an expired session", err, store.ErrNotFound)
	want(t, "an expired id again", b.CreateClient(ctx, client(p, "agent"), 0), nil)
	want(t, "an expired hash again", b.CreateSession(ctx, session(p, "s", bob)), nil)
	p.Add(1000 * time.Hour)
	_, err = b.Client(ctx, "agent")
	want(t, "no expiry any more", err, nil)
}

func expiryMoves(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	c := client(p, "agent")
	c.Expires = p.Now().Add(time.Hour)
	must(t, b.CreateClient(ctx, c, 1), b.CreateSession(ctx, session(p, "s", alice)))
	_, err1 := b.UpdateClient(ctx, "agent", func(c *store.Client) error { c.Expires = time.Time{}; return nil })
	_, err2 := b.UpdateSession(ctx, "s", func(s *store.Session) error { s.Expires = p.Now().Add(time.Minute); return nil })
	must(t, err1, err2)
	p.Add(time.Minute)
	_, err := b.Session(ctx, "s")
	want(t, "a shortened session", err, store.ErrNotFound)
	p.Add(1000 * time.Hour)
	_, err = b.Client(ctx, "agent")
	want(t, "a used client", err, nil)
	want(t, "it counts", b.CreateClient(ctx, client(p, "two"), 1), store.ErrTooMany)
}

// stand makes two users, each with a session, a consent to "agent", a grant on
// it with two tokens, and a code that was not redeemed.
func stand(t *testing.T, p *Place, b Backend) {
	t.Helper()
	ctx := t.Context()
	must(t, b.CreateClient(ctx, client(p, "agent"), 0))
	for _, name := range []string{"alice", "bob"} {
		id := "local:" + name
		g := grant(p, "g-"+name)
		g.User, g.Consent = id, "c-"+name
		pending := g
		pending.ID = "p-" + name
		must(t, b.CreateUser(ctx, user(p, name)), b.CreateSession(ctx, session(p, "s-"+name, id)),
			b.PutConsent(ctx, consent(p, "c-"+name, id, "agent")),
			b.PutGrant(ctx, g, access(p, "a-"+name, g.ID), refresh(p, "r-"+name, g.ID)),
			b.PutCode(ctx, code(p, "code-"+name, pending)))
	}
}

// stands says of everything that stand made for name whether it is there.
func stands(t *testing.T, p *Place, b Backend, name string) string {
	t.Helper()
	ctx := t.Context()
	var there []string
	note := func(what string, yes bool, err error) {
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
		if yes {
			there = append(there, what)
		}
	}
	_, err := b.User(ctx, "local:"+name)
	note("user", err == nil, err)
	_, err = b.Session(ctx, "s-"+name)
	note("session", err == nil, err)
	cs, err := b.Consents(ctx, "local:"+name)
	note("consent", len(cs) == 1, err)
	_, g := token(t, b, "r-"+name) // a tombstone is still known
	note("grant", g.Revoked.IsZero(), nil)
	_, alive := live(t, b)["a-"+name]
	note("token", alive, nil)
	if !g.Revoked.IsZero() && (!g.Revoked.Equal(p.Now()) || g.Reason == "") {
		t.Errorf("revoked at %v for %q", g.Revoked, g.Reason)
	}
	c, err := b.Code(ctx, "code-"+name)
	must(t, err)
	note("code", c.Grant.Revoked.IsZero(), nil)
	if !c.Grant.Revoked.IsZero() {
		_, err := b.ConsumeCode(ctx, "code-"+name)
		want(t, "redeeming it", err, store.ErrRevoked)
		_, err = b.RotateRefresh(ctx, "r-"+name)
		want(t, "refreshing it", err, store.ErrRevoked)
	}
	return strings.Join(there, " ")
}

const everything = "user session consent grant token code"

func deletedUser(t *testing.T, p *Place) {
	b := p.Open(t)
	stand(t, p, b)
	if got := stands(t, p, b, "alice"); got != everything {
		t.Fatalf("there is %q", got)
	}
	must(t, b.DeleteUser(t.Context(), alice))
	if got := stands(t, p, b, "alice"); got != "" {
		t.Errorf("left: %q", got)
	}
	if got := stands(t, p, b, "bob"); got != everything {
		t.Errorf("of the other: %q", got)
	}
	late := grant(p, "late")
	late.Consent = "c-alice"
	want(t, "a code that comes later", b.PutCode(t.Context(), code(p, "late", late)), store.ErrRevoked)
	want(t, "a grant that comes later", b.PutGrant(t.Context(), late), store.ErrRevoked)
	want(t, "again", b.DeleteUser(t.Context(), alice), store.ErrNotFound)
}

func deletedClient(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	stand(t, p, b)
	other := grant(p, "other")
	other.Client = "other agent"
	must(t, b.PutGrant(ctx, other, access(p, "a-other", "other")), b.DeleteClient(ctx, "agent"))
	for _, name := range []string{"alice", "bob"} {
		if got := stands(t, p, b, name); got != "user session" {
			t.Errorf("%s has %q", name, got)
		}
	}
	if _, g := token(t, b, "a-other"); !g.Revoked.IsZero() {
		t.Error("a grant of another client was revoked")
	}
	want(t, "a client that is kept elsewhere", b.DeleteClient(ctx, "other agent"), nil)
	if _, g := token(t, b, "a-other"); g.Revoked.IsZero() {
		t.Error("its grant lives on")
	}
	want(t, "again", b.DeleteClient(ctx, "other agent"), store.ErrNotFound)
}

func withdrawnConsent(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	stand(t, p, b)
	must(t, b.PutGrant(ctx, grant(p, "operator"), access(p, "a-operator", "operator"))) // stands on none
	must(t, b.DeleteConsent(ctx, "c-alice"))
	if got := stands(t, p, b, "alice"); got != "user session" {
		t.Errorf("alice has %q", got)
	}
	if got := stands(t, p, b, "bob"); got != everything {
		t.Errorf("bob has %q", got)
	}
	if _, g := token(t, b, "a-operator"); !g.Revoked.IsZero() {
		t.Error("a grant without consent was revoked")
	}
	want(t, "again", b.DeleteConsent(ctx, "c-alice"), store.ErrNotFound)
}

func sessionsEnd(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	for i := range 3 {
		must(t, b.CreateSession(ctx, session(p, fmt.Sprint("a", i), alice)), b.CreateSession(ctx, session(p, fmt.Sprint("b", i), bob)))
	}
	must(t, b.DeleteSession(ctx, "a1"))
	if ss, err := b.Sessions(ctx, alice); err != nil || len(ss) != 2 {
		t.Errorf("%d sessions, %v", len(ss), err)
	}
	must(t, b.DeleteSessions(ctx, alice))
	as, err1 := b.Sessions(ctx, alice)
	bs, err2 := b.Sessions(ctx, bob)
	_, err := b.Session(ctx, "a0")
	want(t, "an ended session", err, store.ErrNotFound)
	if must(t, err1, err2); len(as) != 0 || len(bs) != 3 {
		t.Errorf("%d and %d sessions", len(as), len(bs))
	}
}

func keptValues(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	end := p.Now().Add(time.Minute)
	for _, k := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"a", "b\nc"}, {"a\nb", "c"}, {"1:a", "bc"}} {
		must(t, b.Keep(ctx, k[0], k[1], []byte(k[0]+"|"+k[1]), end))
	}
	must(t, b.Keep(ctx, "a", "bc", []byte("replaced"), end), b.Keep(ctx, "a", "empty", nil, end), b.Keep(ctx, "a", "late", []byte("x"), end))
	must(t, b.Close())
	b = p.Open(t)
	for _, k := range [][3]string{{"a", "bc", "replaced"}, {"ab", "c", "ab|c"}, {"a", "b\nc", "a|b\nc"}, {"a\nb", "c", "a\nb|c"}, {"1:a", "bc", "1:a|bc"}, {"a", "empty", ""}} {
		if v, err := b.Take(ctx, k[0], k[1]); err != nil || string(v) != k[2] {
			t.Errorf("%q: %q, %v", k, v, err)
		}
		_, err := b.Take(ctx, k[0], k[1])
		want(t, "the second time", err, store.ErrNotFound)
	}
	p.Add(time.Minute - 1)
	must(t, b.Keep(ctx, "a", "late", []byte("x"), end))
	p.Add(1)
	_, err := b.Take(ctx, "a", "late")
	want(t, "at its end", err, store.ErrNotFound)
}

func sizeLimits(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	c := client(p, "agent")
	text, err := json.Marshal(c)
	must(t, err)
	c.Name += strings.Repeat("x", store.MaxRecord-len(text))
	want(t, "the largest record", b.PutClient(ctx, c), nil)
	c.Name += "x"
	want(t, "one byte more", b.PutClient(ctx, c), store.ErrTooLarge)
	want(t, "created", b.CreateClient(ctx, func() store.Client { c.ID = "other"; return c }(), 0), store.ErrTooLarge)
	_, err = b.UpdateClient(ctx, "agent", func(c *store.Client) error { c.Name += "xx"; return nil })
	want(t, "grown", err, store.ErrTooLarge)
	want(t, "the longest id", b.CreateSession(ctx, session(p, strings.Repeat("i", store.MaxID), alice)), nil)
	want(t, "one byte more", b.CreateSession(ctx, session(p, strings.Repeat("i", store.MaxID+1), alice)), store.ErrTooLarge)
	for _, id := range []string{"", "\xff"} {
		if err := b.PutClient(ctx, client(p, id)); err == nil {
			t.Errorf("the id %q was taken", id)
		}
	}
	want(t, "a kept value", b.Keep(ctx, "c", "k", make([]byte, store.MaxKept), p.Now().Add(1)), nil)
	want(t, "one byte more", b.Keep(ctx, "c", "k", make([]byte, store.MaxKept+1), p.Now().Add(1)), store.ErrTooLarge)
}
