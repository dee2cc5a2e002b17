package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ostiary/ostiary/store"
)

const (
	// pushedPrefix begins a request_uri of ours (RFC 9126 2.2).
	pushedPrefix = "urn:ietf:params:oauth:request_uri:"
	pushedLife   = time.Minute
	maxPushed    = 8 << 10 // bytes of one that are kept
	classPushed  = "par"
)

// servePush is the pushed authorization request endpoint (RFC 9126): a client
// hands over its parameters directly and gets a reference that works once.
func (s *Server) servePush(w http.ResponseWriter, r *http.Request) {
	form, oerr := s.form(w, r)
	if oerr != nil {
		writeError(w, oerr)
		return
	}
	c, oerr := s.authenticate(r, form)
	if oerr != nil {
		writeError(w, oerr)
		return
	}
	// RFC 9126 2.1: request_uri MUST NOT be in a pushed request.
	if form.Has("request_uri") {
		writeError(w, refuse("invalid_request", "a pushed request can't name another"))
		return
	}
	for _, name := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		form.Del(name)
	}
	form.Set("client_id", c.ID)
	_, refused, err := s.checkAuthorization(r.Context(), form, s.base(r))
	if err != nil {
		refused = s.oauthError(r.Context(), err)
	}
	if refused != nil {
		writeError(w, refused)
		return
	}
	text := form.Encode()
	if len(text) > maxPushed {
		writeError(w, &oauthError{status: http.StatusRequestEntityTooLarge, code: "invalid_request", description: "the request is too large to be kept"})
		return
	}
	if wait := s.pushes.take(s.source(r), s.Now(), maxPushes, maxAllPushes); wait > 0 {
		writeError(w, &oauthError{status: http.StatusTooManyRequests, code: "temporarily_unavailable", description: "too many pushed requests; ask at the authorization endpoint itself", retry: int(wait/time.Second) + 1})
		return
	}
	key := newID()
	if err := s.Store.Keep(r.Context(), classPushed, key, []byte(text), s.Now().Add(pushedLife)); err != nil {
		writeError(w, s.oauthError(r.Context(), err))
		return
	}
	noStore(w.Header())
	writeJSON(w, http.StatusCreated, struct {
		URI     string `json:"request_uri"`
		Expires int    `json:"expires_in"`
	}{pushedPrefix + key, int(pushedLife / time.Second)})
}

// pushed replaces a query that refers to a pushed request by what was pushed.
// RFC 9126 4: only client_id and request_uri count, the client must be the one
// that pushed, and the reference is used once.
func (s *Server) pushed(ctx context.Context, query url.Values) (url.Values, *oauthError) {
	key, ok := strings.CutPrefix(query.Get("request_uri"), pushedPrefix)
	if !ok {
		return query, nil
	}
	stale := refuse("invalid_request_uri", "this sign-in link was used or has expired; go back to the program that sent you here and start again")
	value, err := s.Store.Take(ctx, classPushed, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, stale
	} else if err != nil {
		return nil, s.oauthError(ctx, err)
	}
	pushed, err := url.ParseQuery(string(value))
	if err != nil || pushed.Get("client_id") != query.Get("client_id") {
		return nil, stale
	}
	return pushed, nil
}
