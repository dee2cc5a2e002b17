package federation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// errTimedOut is the cause of a context that our own deadline ended.
var errTimedOut = errors.New("time limit reached")

// errNoNotifications is what listen returns at once for an upstream that has
// none to send: there is no sense in asking again on the same connection.
var errNoNotifications = errors.New("upstream sends no notifications")

// maxRetryAfter bounds what an upstream may ask us to wait.
const maxRetryAfter = time.Hour

func fail(upstream string, kind error, format string, a ...any) *Failure {
	return &Failure{Upstream: upstream, Kind: kind, Detail: fmt.Sprintf(format, a...)}
}

// lost maps the end of an exchange that got no answer. sent says whether the
// upstream may have read the request: only then the outcome is unknown.
func lost(ctx context.Context, upstream string, sent bool, err error) *Failure {
	switch {
	case errors.Is(context.Cause(ctx), errTimedOut):
		if !sent {
			return fail(upstream, ErrUnavailable, "no connection within the time limit")
		}
		return fail(upstream, ErrTimeout, "no answer within the time limit")
	case ctx.Err() != nil:
		return fail(upstream, ErrCancelled, "the caller gave up")
	case errors.Is(err, errForbiddenAddress) || !sent:
		return fail(upstream, ErrUnavailable, "%v", err)
	}
	return fail(upstream, ErrUnknownOutcome, "%v", err)
}

// notExecuted maps the failure of something that came before a call: whatever
// became of it, the call itself was not made.
func notExecuted(f *Failure) *Failure {
	if f.Kind == ErrCancelled || f.Kind == ErrUnavailable {
		return f
	}
	g := *f
	g.Kind = ErrUnavailable
	g.Detail = fmt.Sprintf("%v: %s", f.Kind, f.Detail)
	return &g
}

// refused maps an HTTP answer that carries no JSON-RPC answer to us. The body
// is not looked at: a login page or a stack trace is nobody's business
// (case A-084).
func (e *endpoint) refused(resp *http.Response) *Failure {
	f := fail(e.name, ErrUnavailable, "HTTP %d", resp.StatusCode)
	switch s := resp.StatusCode; {
	case s >= 200 && s < 300:
		f.Kind = ErrBadAnswer
		f.Detail = fmt.Sprintf("HTTP %d with content type %.80q where JSON or an event stream was due", s, resp.Header.Get("Content-Type"))
	case s >= 300 && s < 400:
		f.Detail += ": redirects are not followed; put the final URL into the catalog entry"
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		f.Detail += ": " + e.auth
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable:
		f.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), e.now())
	case s >= 500:
		// The request may have been executed before this went wrong, or, from
		// a proxy on the way, be still running.
		f.Kind = ErrUnknownOutcome
	}
	return f
}

// refusedCredential is what to say of an upstream's 401 or 403.
func refusedCredential(d *dialConfig) string {
	if d.Credential.Authorize == nil {
		return fmt.Sprintf("the upstream wants a credential; declare its auth in %s", d.Upstream.Source)
	}
	return fmt.Sprintf("the upstream refuses its credential; check auth in %s", d.Upstream.Source)
}

// retryAfter reads RFC 9110 10.2.3: seconds or a date. 0 means unknown.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
