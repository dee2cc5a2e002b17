package storetest

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

var passkeyChapters = map[string]func(*testing.T, *Place){
	"a passkey comes back whole, also after reopening": wholePasskeys,
	"a credential id is one person's":                  passkeyTakenOnce,
	"a person has so many passkeys and no more":        passkeyCap,
	"passkeys go with their person":                    passkeysEnd,
	"a passkey's counter moves once of many at once":   passkeyCounter,
}

func passkey(p *Place, id, user string) store.Passkey {
	return store.Passkey{ID: id, User: user, Name: "Laptop", Key: []byte{1, 0, 255}, Count: 3, Synced: true,
		Transports: []string{"internal"}, Created: p.Now(), LastUsed: p.Now().Add(1)}
}

func wholePasskeys(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.CreateUser(ctx, user(p, "alice")), b.CreateUser(ctx, user(p, "bob")))
	one, two := passkey(p, "one", alice), passkey(p, "two", alice)
	two.Created = p.Now().Add(time.Second)
	must(t, b.CreatePasskey(ctx, two), b.CreatePasskey(ctx, one), b.CreatePasskey(ctx, passkey(p, "bobs", bob)))
	for range 2 {
		got, err := b.Passkey(ctx, "one")
		must(t, err)
		all, err := b.Passkeys(ctx, alice)
		must(t, err)
		if !reflect.DeepEqual(*got, one) || !reflect.DeepEqual(all, []store.Passkey{one, two}) {
			t.Errorf("got %+v\nand %+v", got, all)
		}
		must(t, b.RotateKeys(ctx), b.Close())
		b = p.Open(t)
	}
	must(t, b.DeletePasskey(ctx, "one"))
	_, err := b.Passkey(ctx, "one")
	want(t, "one that was removed", err, store.ErrNotFound)
	want(t, "removed again", b.DeletePasskey(ctx, "one"), store.ErrNotFound)
	_, err = b.UpdatePasskey(ctx, "one", func(*store.Passkey) error { return nil })
	want(t, "changed", err, store.ErrNotFound)
	if all, err := b.Passkeys(ctx, alice); err != nil || len(all) != 1 || all[0].ID != "two" {
		t.Errorf("left: %+v, %v", all, err)
	}
}

func passkeyTakenOnce(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.CreateUser(ctx, user(p, "alice")), b.CreateUser(ctx, user(p, "bob")))
	if won := race(t, 32, store.ErrExists, func(i int) error {
		return b.CreatePasskey(ctx, passkey(p, "one", []string{alice, bob}[i%2]))
	}); won != 1 {
		t.Errorf("%d have it", won)
	}
	want(t, "of nobody", b.CreatePasskey(ctx, passkey(p, "two", "local:nobody")), store.ErrNotFound)
}

func passkeyCap(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.CreateUser(ctx, user(p, "alice")), b.CreateUser(ctx, user(p, "bob")))
	for i := range store.MaxPasskeys {
		want(t, fmt.Sprint("number ", i+1), b.CreatePasskey(ctx, passkey(p, fmt.Sprint(i), alice)), nil)
	}
	want(t, "one more", b.CreatePasskey(ctx, passkey(p, "more", alice)), store.ErrTooMany)
	want(t, "somebody else's", b.CreatePasskey(ctx, passkey(p, "bobs", bob)), nil)
	must(t, b.DeletePasskey(ctx, "0"))
	want(t, "after one was removed", b.CreatePasskey(ctx, passkey(p, "more", alice)), nil)
}

func passkeysEnd(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.CreateUser(ctx, user(p, "alice")), b.CreateUser(ctx, user(p, "bob")))
	for i := range 3 {
		must(t, b.CreatePasskey(ctx, passkey(p, fmt.Sprint("a", i), alice)), b.CreatePasskey(ctx, passkey(p, fmt.Sprint("b", i), bob)))
	}
	must(t, b.DeletePasskeys(ctx, bob), b.DeletePasskeys(ctx, bob))
	bobs, err1 := b.Passkeys(ctx, bob)
	alices, err2 := b.Passkeys(ctx, alice)
	if must(t, err1, err2); len(bobs) != 0 || len(alices) != 3 {
		t.Errorf("%d of bob's and %d of alice's", len(bobs), len(alices))
	}
	must(t, b.DeleteUser(ctx, alice), b.CreateUser(ctx, user(p, "alice")))
	_, err := b.Passkey(ctx, "a0")
	want(t, "a deleted person's", err, store.ErrNotFound)
	if alices, err := b.Passkeys(ctx, alice); err != nil || len(alices) != 0 {
		t.Errorf("a new person of that name has %d, %v", len(alices), err)
	}
	want(t, "the id again", b.CreatePasskey(ctx, passkey(p, "a0", alice)), nil)
}

// passkeyCounter: of callers that compare and set one counter, one wins.
func passkeyCounter(t *testing.T, p *Place) {
	b, ctx := p.Open(t), t.Context()
	must(t, b.CreateUser(ctx, user(p, "alice")), b.CreatePasskey(ctx, passkey(p, "one", alice)))
	if won := race(t, 32, store.ErrSpent, func(int) error {
		_, err := b.UpdatePasskey(ctx, "one", func(k *store.Passkey) error {
			if k.Count >= 4 {
				return store.ErrSpent
			}
			k.Count = 4
			return nil
		})
		return err
	}); won != 1 {
		t.Errorf("%d moved it", won)
	}
}
