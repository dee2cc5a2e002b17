package authserver

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/store"
)

const (
	expireEvery = time.Second // how late a stream may notice that its token ran out
	touchEvery  = time.Minute // how exact a last use is
)

// fill reads the live tokens from the store.
func (s *Server) fill(ctx context.Context) error {
	type live struct {
		grant  *store.Grant
		tokens []store.Token
	}
	found := map[string]*live{}
	err := s.Store.LiveTokens(ctx, func(t store.Token, g *store.Grant) error {
		l := found[g.ID]
		if l == nil {
			l = &live{grant: g}
			found[g.ID] = l
		}
		l.tokens = append(l.tokens, t)
		return nil
	})
	if err != nil {
		return err
	}
	known := map[string]facts{} // of one user or client, many tokens
	for _, l := range found {
		key := l.grant.User + "\x00" + l.grant.Client
		f, ok := known[key]
		if !ok {
			if f, ok, err = s.facts(ctx, l.grant); err != nil {
				return err
			} else if !ok {
				continue
			}
			known[key] = f
		}
		if err := s.index.add(f, *l.grant, l.tokens, false); err != nil {
			return err
		}
	}
	return nil
}

// facts finds what stands beside g. Not ok: its client is no longer there.
func (s *Server) facts(ctx context.Context, g *store.Grant) (f facts, ok bool, err error) {
	c, ok, err := s.knownClient(ctx, g.Client)
	if err != nil || !ok {
		return f, false, err
	}
	f.client = identity.Client{ID: c.ID, Kind: c.Kind}
	if c.Verified {
		f.client.VerifiedName = c.Name
	}
	if g.User != "" {
		f.user, err = s.Store.User(ctx, g.User)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return f, false, err
		}
	}
	return f, true, nil
}

// cli is the built-in client of the operator's own tokens. It can't sign
// anybody in.
func cli() *store.Client {
	return &store.Client{ID: ClientCLI, Kind: client.Static, Name: "Ostiary command line", Verified: true, AuthMethod: "none"}
}

// ClientCLI is the id of the built-in client of the operator's tokens.
const ClientCLI = "cli"

// client finds a client. It may fetch a document.
func (s *Server) client(ctx context.Context, id string) (*store.Client, error) {
	if id == ClientCLI {
		return cli(), nil
	}
	return s.Clients.Client(ctx, id)
}

// standingClient is client for a request that stands on what was allowed before.
func (s *Server) standingClient(ctx context.Context, id string) (*store.Client, error) {
	if id == ClientCLI {
		return cli(), nil
	}
	return s.Clients.Standing(ctx, id)
}

// knownClient finds the client of a grant without asking anybody else.
func (s *Server) knownClient(ctx context.Context, id string) (*store.Client, bool, error) {
	for i := range s.Clients.Static {
		if c := &s.Clients.Static[i]; c.ID == id {
			return c, true, nil
		}
	}
	if id == ClientCLI {
		return cli(), true, nil
	}
	c, err := s.Store.Client(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		// A client that its document describes gets a record with its first use.
		if strings.HasPrefix(id, "https://") || strings.HasPrefix(id, "http://") {
			return &store.Client{ID: id, Kind: client.Document}, s.Clients.Documents.Accepted(), nil
		}
		return nil, false, nil
	}
	return c, err == nil, err
}

// recheck ends what was revoked, and takes over what became of the person,
// while the token was on its way into the index.
func (s *Server) recheck(ctx context.Context, hash string) error {
	_, g, err := s.Store.Token(ctx, hash)
	switch {
	case errors.Is(err, store.ErrNotFound): // ran out, or exchanged already
		return nil
	case err == nil && !g.Revoked.IsZero():
		s.index.end(g.ID)
		return errGrant
	case err == nil && g.User != "":
		s.Changed(g.User)
	}
	return err
}

// Changed says that the store's record of a user is another now: groups, name,
// disabled, gone. What they do from now on is judged by it, and streams that
// were opened before end.
func (s *Server) Changed(userID string) {
	// In turns: who read first must not have the last word.
	s.changing.Lock()
	defer s.changing.Unlock()
	ctx := context.Background()
	u, err := s.Store.User(ctx, userID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		// What is unknown is refused: nobody keeps rights because a read failed.
		s.Logger.ErrorContext(ctx, "a changed user can't be read; their tokens end", "user", userID, "err", err)
		s.index.endWhere(func(g *store.Grant) bool { return g.User == userID })
		return
	}
	s.index.changed(userID, u)
}

// sweep ends expired tokens and writes last uses, until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	expire, touch := time.NewTicker(expireEvery), time.NewTicker(touchEvery)
	defer expire.Stop()
	defer touch.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-expire.C:
			s.index.expire()
		case <-touch.C:
			if err := s.flushTouches(ctx); err != nil {
				s.Logger.WarnContext(ctx, "last uses of tokens were not written", "err", err)
			}
		}
	}
}

// touches are last uses to be written, at most one a minute for a grant.
type touches struct {
	mu  sync.Mutex
	due map[string]time.Time
}

func (s *Server) touched(t *tokenEntry, now time.Time) {
	last, this := t.used.Load(), uint32(now.Unix())
	if this-last < uint32(touchEvery/time.Second) || !t.used.CompareAndSwap(last, this) {
		return
	}
	g := t.grant
	g.used.Store(now.Unix())
	s.touch.mu.Lock()
	defer s.touch.mu.Unlock()
	if s.touch.due == nil {
		s.touch.due = map[string]time.Time{}
	}
	s.touch.due[g.ID] = now
}

func (s *Server) flushTouches(ctx context.Context) error {
	s.touch.mu.Lock()
	due := s.touch.due
	s.touch.due = nil
	s.touch.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	err := s.Store.TouchGrants(ctx, due)
	if err != nil { // try again, but never over a newer one
		s.touch.mu.Lock()
		maps.Copy(due, s.touch.due)
		s.touch.due = due
		s.touch.mu.Unlock()
	}
	return err
}
