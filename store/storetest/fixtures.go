package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

const (
	alice = "local:alice"
	bob   = "local:bob"
)

// must fails the test for any error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless err is the one wanted; nil wants none.
func want(t *testing.T, what string, err, wanted error) {
	t.Helper()
	if !errors.Is(err, wanted) || wanted == nil && err != nil {
		t.Errorf("%s: got error %v, want %v", what, err, wanted)
	}
}

// race calls fn from n goroutines at once and returns how many got nil. Every
// other error must be loser.
func race(t *testing.T, n int, loser error, fn func(i int) error) (won int) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			err := fn(i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, loser) {
				t.Errorf("a loser got %v, want %v", err, loser)
			}
		})
	}
	close(start)
	wg.Wait()
	return won
}

// user is alice or bob.
func user(p *Place, name string) store.User {
	return store.User{Issuer: "local", Subject: name, Name: "The " + name, Groups: []string{"staff", "ops"},
		Password: "$argon2id$…", TOTP: []byte{0, 1, 255}, TOTPStep: 7, Handle: []byte{7, 0, 9}, Created: p.Now(), LastSignIn: p.Now().Add(1),
		ProviderRefresh: "r", Vouched: p.Now().Add(2)}
}

func client(p *Place, id string) store.Client {
	return store.Client{ID: id, Kind: "dynamic", Name: "An <b>agent</b>", URI: "https://agent.example",
		RedirectURIs: []string{"http://127.0.0.1/cb"}, AuthMethod: "none", GrantTypes: []string{"authorization_code"},
		SecretHash: []byte{1}, Keys: []byte(`{"keys":[]}`), Application: "native", Created: p.Now()}
}

func session(p *Place, hash, user string) store.Session {
	return store.Session{Hash: hash, User: user, AuthTime: p.Now(), AMR: []string{"pwd"}, Created: p.Now(),
		LastSeen: p.Now(), Expires: p.Now().Add(time.Hour), Agent: "Browser/1", Address: "192.0.2.1"}
}

func consent(p *Place, id, user, client string) store.Consent {
	return store.Consent{ID: id, User: user, Client: client, RedirectHost: "127.0.0.1",
		Resource: "https://gw.example/mcp", Scopes: []string{"mcp"}, At: p.Now()}
}

// grantLife is how long the grants of the fixtures last.
const grantLife = 24 * time.Hour

func grant(p *Place, id string) store.Grant {
	return store.Grant{ID: id, User: alice, Client: "agent", Resource: "https://gw.example/mcp", Scopes: []string{"mcp"},
		AuthTime: p.Now(), AMR: []string{"pwd", "otp"}, Created: p.Now(), Expires: p.Now().Add(grantLife)}
}

func code(p *Place, hash string, g store.Grant) store.Code {
	return store.Code{Hash: hash, Grant: g, RedirectURI: "http://127.0.0.1:9/cb", Challenge: "c",
		Request: []byte("{}"), Expires: p.Now().Add(time.Minute)}
}

func access(p *Place, hash, grant string) store.Token {
	return store.Token{Hash: hash, Kind: "access", Grant: grant, Scopes: []string{"mcp"}, Issued: p.Now(), Expires: p.Now().Add(10 * time.Minute)}
}

func refresh(p *Place, hash, grant string) store.Token {
	return store.Token{Hash: hash, Kind: "refresh", Grant: grant, Scopes: []string{"mcp"}, Request: []byte("req"),
		Issued: p.Now(), Expires: p.Now().Add(grantLife / 2)}
}

// live returns the hashes of the live access tokens, joined in order.
func live(t *testing.T, b Backend) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, b.LiveTokens(t.Context(), func(k store.Token, g *store.Grant) error {
		if k.Grant != g.ID {
			t.Errorf("token %s of %s came with grant %s", k.Hash, k.Grant, g.ID)
		}
		found[k.Hash] = g.ID
		return nil
	}))
	return found
}

// token returns one token and its grant, which must be there.
func token(t *testing.T, b Backend, hash string) (*store.Token, *store.Grant) {
	t.Helper()
	k, g, err := b.Token(t.Context(), hash)
	if err != nil {
		t.Fatalf("token %s: %v", hash, err)
	}
	return k, g
}
