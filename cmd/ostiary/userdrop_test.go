package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

// TestWhatIsLostIsDroppedWithANewPassword: `user passwd` ends the second factors
// that it is told to, no other, and every session.
func TestWhatIsLostIsDroppedWithANewPassword(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	s.verb(t, "user", "add", "alice", "--password-stdin")
	s.verb(t, "user", "add", "bob", "--password-stdin")
	// with changes the store behind the verbs' back: nobody has a phone here.
	with := func(fn func(st *store.Store) error) {
		t.Helper()
		st, err := store.Open(s.data, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err = fn(st); err == nil {
			err = st.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	seen := func(name string) (u shownUser, sessions int) {
		t.Helper()
		var all []shownUser
		if err := json.Unmarshal([]byte(s.verb(t, "user", "list", "--format", "json")), &all); err != nil {
			t.Fatal(err)
		}
		for _, u = range all {
			if u.ID == "local:"+name {
				break
			}
		}
		with(func(st *store.Store) error {
			list, err := st.Sessions(t.Context(), "local:"+name)
			sessions = len(list)
			return err
		})
		return u, sessions
	}
	for _, tt := range []struct {
		flags    string
		totp     bool
		passkeys int
		word     string
	}{
		{"", true, 2, "password+code+passkey"},
		{"--drop-code", false, 2, "password+passkey"},
		{"--drop-passkeys", true, 0, "password+code"},
		{"--drop-code --drop-passkeys", false, 0, "password"},
	} {
		with(func(st *store.Store) error {
			for _, name := range []string{"alice", "bob"} {
				id := "local:" + name
				_, err := st.UpdateUser(t.Context(), id, func(u *store.User) error { u.TOTP, u.TOTPStep = []byte("secret"), 7; return nil })
				if err == nil {
					err = st.DeletePasskeys(t.Context(), id)
				}
				for _, key := range []string{"one of ", "two of "} {
					if err == nil {
						err = st.CreatePasskey(t.Context(), store.Passkey{ID: key + name, User: id})
					}
				}
				if err == nil {
					err = st.CreateSession(t.Context(), store.Session{Hash: tt.flags + name, User: id, Expires: time.Now().Add(time.Hour)})
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		said := s.verb(t, append([]string{"user", "passwd", "alice", "--password-stdin"}, strings.Fields(tt.flags)...)...)
		if strings.Contains(said, "passkeys: 2, which sign in without it") != (tt.passkeys > 0) {
			t.Errorf("%q: it says %q", tt.flags, said)
		}
		if u, sessions := seen("alice"); u.TOTP != tt.totp || u.Passkeys != tt.passkeys || u.signIn() != tt.word || sessions != 0 {
			t.Errorf("%q: %+v, %d sessions", tt.flags, u, sessions)
		}
		if u, sessions := seen("bob"); !u.TOTP || u.Passkeys != 2 || sessions == 0 {
			t.Errorf("%q: bob has %+v, %d sessions", tt.flags, u, sessions)
		}
	}
}
