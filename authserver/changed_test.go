package authserver

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/store"
)

// TestWhoReadAPersonFirstHasNotTheLastWord: of two changes at once the later one
// stands, also when the one before was read first and is slow to arrive.
func TestWhoReadAPersonFirstHasNotTheLastWord(t *testing.T) {
	var stop atomic.Pointer[func()] // called once, in the middle of the next read
	st := must(store.Open(t.TempDir(), store.Options{Now: func() time.Time {
		if f := stop.Swap(nil); f != nil {
			(*f)()
		}
		return time.Now()
	}}))
	defer st.Close()
	for i := range 30 { // the file has grown: a write need not wait for a read
		must(0, st.CreateUser(t.Context(), store.User{Issuer: "local", Subject: fmt.Sprint(i), Name: strings.Repeat("x", 10_000)}))
	}
	u := store.User{Issuer: "local", Subject: "alice", Groups: []string{"old"}}
	must(0, st.CreateUser(t.Context(), u))
	s := &Server{Config: Config{Issuer: "https://gw.example", Store: st, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, index: newIndex(time.Now)}
	token, hash := newToken(prefixAccess)
	g := store.Grant{ID: "g", User: u.ID(), Client: "c", Resource: "https://gw.example/mcp"}
	must(0, s.index.add(facts{user: &u, client: identity.Client{ID: "c"}}, g, []store.Token{{Hash: hash, Kind: tokenAccess, Expires: time.Now().Add(time.Hour)}}, false))

	reading, goOn := make(chan struct{}), make(chan struct{})
	hold := func() {
		close(reading)
		select {
		case <-goOn:
		case <-time.After(20 * time.Second):
		}
	}
	stop.Store(&hold)
	var wg sync.WaitGroup
	wg.Go(func() { s.Changed(u.ID()) })
	<-reading // it has the record as it was before
	must(st.UpdateUser(t.Context(), u.ID(), func(u *store.User) error { u.Groups = []string{"new"}; return nil }))
	done := make(chan struct{})
	wg.Go(func() { s.Changed(u.ID()); close(done) })
	select {
	case <-done: // it did not wait for its turn: the slow one comes last
	case <-time.After(100 * time.Millisecond):
	}
	close(goOn)
	wg.Wait()
	r := must(http.NewRequest("POST", "https://gw.example/mcp", nil))
	r.Header.Set("Authorization", "Bearer "+token)
	if p := must(s.Verify(t.Context(), r)); !slices.Equal(p.Groups, []string{"new"}) {
		t.Errorf("the groups of now are %v", p.Groups)
	}
}
