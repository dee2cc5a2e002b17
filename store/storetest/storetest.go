// Package storetest is the contract of a store as tests: what every backend
// must do, with all its races. A backend's own test calls Run; nothing in here
// knows of files or of bbolt.
package storetest

import (
	"context"
	"io"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

// Backend is what every backend offers; *store.Store says what each verb does.
type Backend interface {
	Seal(purpose string, plain, bound []byte) string
	Unseal(purpose, token string, bound []byte) ([]byte, error)
	RotateKeys(ctx context.Context) error
	InsertIfAbsent(ctx context.Context, class, key string, expires time.Time) (bool, error)
	Present(ctx context.Context, class, key string) (bool, error)
	SaveSnapshot(ctx context.Context, upstream string, value []byte) error
	LoadSnapshot(ctx context.Context, upstream string) ([]byte, error)
	DeleteSnapshot(ctx context.Context, upstream string) error

	CreateUser(ctx context.Context, u store.User) error
	User(ctx context.Context, id string) (*store.User, error)
	Users(ctx context.Context) ([]store.User, error)
	UpdateUser(ctx context.Context, id string, fn func(*store.User) error) (*store.User, error)
	DeleteUser(ctx context.Context, id string) error

	CreateClient(ctx context.Context, c store.Client, max int) error
	Client(ctx context.Context, id string) (*store.Client, error)
	Clients(ctx context.Context) ([]store.Client, error)
	UpdateClient(ctx context.Context, id string, fn func(*store.Client) error) (*store.Client, error)
	PutClient(ctx context.Context, c store.Client) error
	DeleteClient(ctx context.Context, id string) error

	CreatePasskey(ctx context.Context, k store.Passkey) error
	Passkey(ctx context.Context, id string) (*store.Passkey, error)
	Passkeys(ctx context.Context, user string) ([]store.Passkey, error)
	UpdatePasskey(ctx context.Context, id string, fn func(*store.Passkey) error) (*store.Passkey, error)
	DeletePasskey(ctx context.Context, id string) error
	DeletePasskeys(ctx context.Context, user string) error

	PutConsent(ctx context.Context, c store.Consent) error
	Consents(ctx context.Context, user string) ([]store.Consent, error)
	DeleteConsent(ctx context.Context, id string) error

	CreateSession(ctx context.Context, s store.Session) error
	Session(ctx context.Context, hash string) (*store.Session, error)
	UpdateSession(ctx context.Context, hash string, fn func(*store.Session) error) (*store.Session, error)
	DeleteSession(ctx context.Context, hash string) error
	Sessions(ctx context.Context, user string) ([]store.Session, error)
	DeleteSessions(ctx context.Context, user string) error

	PutCode(ctx context.Context, c store.Code) error
	Code(ctx context.Context, hash string) (*store.Code, error)
	ConsumeCode(ctx context.Context, hash string, tokens ...store.Token) (*store.Grant, error)
	PutGrant(ctx context.Context, g store.Grant, tokens ...store.Token) error
	Token(ctx context.Context, hash string) (*store.Token, *store.Grant, error)
	RotateRefresh(ctx context.Context, hash string, successors ...store.Token) (*store.Grant, error)
	RevokeGrant(ctx context.Context, id, reason string) error
	RevokeGrants(ctx context.Context, match func(*store.Grant) bool, reason string) ([]string, error)
	DeleteToken(ctx context.Context, hash string) error
	Grants(ctx context.Context, match func(*store.Grant) bool) ([]store.Grant, error)
	LiveTokens(ctx context.Context, each func(store.Token, *store.Grant) error) error
	TouchGrants(ctx context.Context, used map[string]time.Time) error

	Keep(ctx context.Context, class, key string, value []byte, expires time.Time) error
	Take(ctx context.Context, class, key string) ([]byte, error)

	Backup(w io.Writer) error
	Err() error
	Close() error
}

var _ Backend = (*store.Store)(nil)

// Clock is an injected clock. It starts in July 2026 and moves by Add alone.
type Clock struct{ nanos atomic.Int64 }

// NewClock returns a Clock at its start.
func NewClock() *Clock {
	c := &Clock{}
	c.nanos.Store(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

// Now is the Options.Now of a backend under test.
func (c *Clock) Now() time.Time { return time.Unix(0, c.nanos.Load()).UTC() }

// Add moves the clock.
func (c *Clock) Add(d time.Duration) { c.nanos.Add(int64(d)) }

// Place is where a backend keeps its data: Open opens it again and again, with
// the clock, and closes it when the test ends.
type Place struct {
	*Clock
	Open func(t *testing.T) Backend
}

// Run runs the contract, each chapter in a new place.
func Run(t *testing.T, open func(t *testing.T) *Place) {
	for _, chapters := range []map[string]func(*testing.T, *Place){onceChapters, tokenChapters, endChapters, accountChapters, passkeyChapters, grantChapters, raceChapters} {
		for name, chapter := range maps.All(chapters) {
			t.Run(name, func(t *testing.T) { t.Parallel(); chapter(t, open(t)) })
		}
	}
}
