package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var callers = [...]int{1, 16, 128}

// share runs fn b.N times from n goroutines.
func share(b *testing.B, n int, fn func(caller, i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for caller := range n {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
				if err := fn(caller, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "verbs/s")
}

func benchGrant(id string) Grant {
	return Grant{ID: id, User: "local:" + id, Client: "https://agent.example/client.json", Resource: "https://gw.example/mcp",
		Scopes: []string{"mcp"}, AMR: []string{"pwd"}, Created: time.Now(), Expires: time.Now().Add(30 * 24 * time.Hour)}
}

func benchPair(id, grant string) []Token {
	at := time.Now()
	return []Token{
		{Hash: "a" + id, Kind: accessToken, Grant: grant, Scopes: []string{"mcp"}, Issued: at, Expires: at.Add(10 * time.Minute)},
		{Hash: "r" + id, Kind: refreshToken, Grant: grant, Scopes: []string{"mcp"}, Issued: at, Expires: at.Add(30 * 24 * time.Hour), Request: make([]byte, 300)},
	}
}

func BenchmarkConsumeCode(b *testing.B) {
	for _, n := range callers {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			s, ctx := open(b, b.TempDir(), Options{}), context.Background()
			err := s.do(ctx, func(t *txn) error {
				for i := range b.N {
					id := fmt.Sprint(i)
					if err := codes.put(t, &Code{Hash: id, Grant: benchGrant(id)}, time.Now().Add(time.Hour)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			share(b, n, func(_, i int) error {
				id := fmt.Sprint(i)
				_, err := s.ConsumeCode(ctx, id, benchPair(id, id)...)
				return err
			})
		})
	}
}

func BenchmarkRotateRefresh(b *testing.B) {
	for _, n := range callers {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			s, ctx := open(b, b.TempDir(), Options{}), context.Background()
			now := make([]string, n) // of each caller: the token it has
			for i := range now {
				now[i] = fmt.Sprint(i)
				if err := s.PutGrant(ctx, benchGrant(now[i]), benchPair(now[i], now[i])...); err != nil {
					b.Fatal(err)
				}
			}
			share(b, n, func(caller, i int) error {
				next := fmt.Sprint(caller, "-", i)
				_, err := s.RotateRefresh(ctx, "r"+now[caller], benchPair(next, fmt.Sprint(caller))...)
				now[caller] = next
				return err
			})
		})
	}
}

// BenchmarkTokens has 100,000 live tokens, each of a grant of its own.
func BenchmarkTokens(b *testing.B) {
	const many = 100_000
	s, ctx := open(b, b.TempDir(), Options{}), context.Background()
	for from := 0; from < many; from += many / 10 {
		err := s.do(ctx, func(t *txn) error {
			for i := from; i < from+many/10; i++ {
				id := fmt.Sprint(i)
				g := benchGrant(id)
				if err := s.addGrant(t, &g, benchPair(id, id)[:1]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("lookup", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := s.Token(ctx, "a77777"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("fill the index", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := s.LiveTokens(ctx, func(Token, *Grant) error { n++; return nil }); err != nil || n != many {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("revoke by a question", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.RevokeGrants(ctx, func(g *Grant) bool { return g.User == "nobody" }, "bench"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("revoke one", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			if err := s.RevokeGrant(ctx, fmt.Sprint(i%many), "bench"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("delete a user", func(b *testing.B) {
		i := many
		for b.Loop() {
			i--
			if err := s.DeleteUser(ctx, "local:"+fmt.Sprint(i)); err != nil && !errors.Is(err, ErrNotFound) {
				b.Fatal(err)
			}
		}
	})
}
