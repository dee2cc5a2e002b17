package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// Life of a browser's session.
const (
	sessionIdle  = 12 * time.Hour     // without a request
	sessionLife  = 7 * 24 * time.Hour // at all
	sessionTouch = time.Minute        // how exact LastSeen is
	cookieBytes  = 32
	maxAgent     = 256 // bytes of a User-Agent that are kept
)

// Events of people at the pages.
const (
	eventSignedIn        = "session.started"
	eventSignedOut       = "session.ended"
	eventSignedOutAll    = "session.ended_everywhere"
	eventSignInFailed    = "signin.failed" // in summaries (audit.Flood)
	eventConsentGiven    = "consent.given"
	eventConsentDenied   = "consent.denied"
	eventConsentBack     = "consent.withdrawn"
	eventClientRemoved   = "client.removed"
	eventPasswordChanged = "account.password"
	eventCodeOn          = "account.code_on"
	eventCodeOff         = "account.code_off"
	eventFirstUser       = "user.created"
	eventUnknownPerson   = "user.not_vouched"
)

// cookieName: with __Host- a browser takes the cookie only over TLS, for this
// host alone and without a Domain, so that no neighbour can plant one. Plain
// http on loopback can't have that.
func (s *Server) cookieName() string {
	if s.Loopback {
		return "ostiary"
	}
	return "__Host-ostiary"
}

// loopbackPaths are the pages that read a cookie. Cookies know no ports
// (RFC 6265 8.5): on loopback one for all paths would travel on to the agent's
// own port, and hand it the session that it is just being refused.
var loopbackPaths = []string{"/login", "/consent", "/account", "/logout", "/setup", "/oauth/authorize"}

// ownPage says whether a browser would send our cookies to uri, were it on this
// host.
func ownPage(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil {
		return true
	}
	at := path.Clean("/" + u.Path)
	return slices.ContainsFunc(loopbackPaths, func(page string) bool { return at == page || strings.HasPrefix(at, page+"/") })
}

// setCookie sends one of our cookies; life 0 removes it.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := s.cookie(name, value, life)
	if !s.Loopback {
		http.SetCookie(w, c)
		return
	}
	for _, c.Path = range loopbackPaths {
		http.SetCookie(w, c)
	}
}

// cookie makes one of our cookies. SameSite=Lax: Strict would lose it on the
// way back from an identity provider.
func (s *Server) cookie(name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, Secure: !s.Loopback, SameSite: http.SameSiteLaxMode}
	if life > 0 {
		c.MaxAge = int(life / time.Second)
	} else {
		c.MaxAge = -1
	}
	return c
}

func hashCookie(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// signedIn is who this browser is signed in as: nil, nil when nobody is, when
// the session has been idle too long, or when the person was disabled.
func (s *Server) signedIn(r *http.Request) (*store.User, *store.Session) {
	c, err := r.Cookie(s.cookieName())
	if err != nil || c.Value == "" {
		return nil, nil
	}
	ctx := r.Context()
	ses, err := s.Store.Session(ctx, hashCookie(c.Value))
	if err != nil {
		s.unlessGone(ctx, "a session can't be read", err)
		return nil, nil
	}
	now := s.Now()
	if now.Sub(ses.LastSeen) >= sessionIdle || !now.Before(ses.Expires) {
		s.unlessGone(ctx, "an idle session can't be deleted", s.Store.DeleteSession(ctx, ses.Hash))
		return nil, nil
	}
	u, err := s.Store.User(ctx, ses.User)
	if err != nil || u.Disabled {
		s.unlessGone(ctx, "the person of a session can't be read", err)
		return nil, nil
	}
	if now.Sub(ses.LastSeen) >= sessionTouch {
		_, err := s.Store.UpdateSession(ctx, ses.Hash, func(ses *store.Session) error {
			ses.LastSeen = now
			return nil
		})
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil // signed out at this very moment
		}
		s.unlessGone(ctx, "the last use of a session was not written", err)
	}
	return u, ses
}

// unlessGone logs err, unless it says that there is no such record.
func (s *Server) unlessGone(ctx context.Context, what string, err error) {
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.Logger.WarnContext(ctx, what, "err", err)
	}
}

// startSession signs the browser in as u. A cookie that it had before ends:
// nobody keeps a session that somebody else may have planted.
func (s *Server) startSession(w http.ResponseWriter, r *http.Request, u *store.User, amr []string, at time.Time) error {
	raw := make([]byte, cookieBytes)
	rand.Read(raw)
	value := base64.RawURLEncoding.EncodeToString(raw)
	now := s.Now()
	agent := r.UserAgent()
	ses := store.Session{
		Hash: hashCookie(value), User: u.ID(), AuthTime: at, AMR: amr, Created: now, LastSeen: now,
		Expires: now.Add(sessionLife), Agent: agent[:min(len(agent), maxAgent)], Address: s.source(r),
	}
	if err := s.Audit.Append(r.Context(), s.personEvent(eventSignedIn, u, &ses, s.source(r), "")); err != nil {
		return err
	}
	if err := s.Store.CreateSession(r.Context(), ses); err != nil {
		return err
	}
	if c, err := r.Cookie(s.cookieName()); err == nil {
		s.unlessGone(r.Context(), "the session before can't be deleted", s.Store.DeleteSession(r.Context(), hashCookie(c.Value)))
	}
	s.setCookie(w, s.cookieName(), value, sessionLife)
	return nil
}

// endSession signs this browser out.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	s.setCookie(w, s.cookieName(), "", 0)
	c, err := r.Cookie(s.cookieName())
	if err != nil {
		return nil
	}
	hash := hashCookie(c.Value)
	ses, err := s.Store.Session(r.Context(), hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if err := s.Store.DeleteSession(r.Context(), hash); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if u, err := s.Store.User(r.Context(), ses.User); err == nil {
		s.Audit.Note(s.personEvent(eventSignedOut, u, ses, s.source(r), ""))
	}
	return nil
}

// serveLogout ends this browser's session.
func (s *Server) serveLogout(w http.ResponseWriter, r *http.Request) {
	if !methods(w, r) {
		return
	}
	if r.Method != http.MethodPost {
		see(w, "/account", nil) // a link or an image must not sign anybody out
		return
	}
	if _, ok := s.browserForm(w, r); !ok {
		return
	}
	if err := s.endSession(w, r); err != nil {
		s.fail(w, r, err)
		return
	}
	s.signedOut(w, r, "You are signed out", "This browser can do nothing here any more. Programs that you allowed stay connected.")
}

// personEvent is a record about a person at a page. It never holds a secret.
func (s *Server) personEvent(name string, u *store.User, ses *store.Session, source, detail string) *audit.Record {
	rec := s.event(name, nil, source, detail)
	rec.User = policy.User{ID: u.ID(), Name: u.Name, Groups: slices.Clone(u.Groups)}
	if ses != nil {
		rec.User.AMR, rec.User.AuthTime = ses.AMR, ses.AuthTime.Unix()
	}
	return rec
}
