package gateway

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// What a principal is refused for in a summary (audit.EventQuota).
const (
	overRequests = "requests" // audit.quota.requests
	overRefused  = "refused"  // audit.quota.refused
)

// recordQuota counts what the log takes of each principal in a minute.
type recordQuota struct {
	mu    sync.Mutex
	since time.Time
	n     map[string]int
}

// take counts one of a kind for the principal called key. Over limit (0 is
// none) it counts nothing and says how long that lasts.
func (q *recordQuota) take(now time.Time, key, kind string, limit int) (wait time.Duration) {
	if limit <= 0 {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if age := now.Sub(q.since); age >= audit.FloodWindow || age < 0 {
		q.since, q.n = now, map[string]int{}
	}
	key = kind + "\x00" + key
	if q.n[key] >= limit {
		return q.since.Add(audit.FloodWindow).Sub(now)
	}
	q.n[key]++
	return 0
}

// overQuota refuses a request of a principal who has had as many as the log may
// take of them this minute. Before anything is decided: the refusal costs no
// record, and stands in one summary.
func (x *exchange) overQuota() *refusal {
	if x.m == nil || x.m.Kind != wire.Request {
		return nil
	}
	return x.quota(overRequests, x.g.Limits.Requests)
}

func (x *exchange) quota(kind string, limit int) *refusal {
	wait := x.g.records.take(x.g.Now(), x.p.Key(), kind, limit)
	if wait <= 0 {
		return nil
	}
	x.judged = true // no record
	s := x.g.subject(x.p)
	x.g.Flood.AddBy(x.p.Key(), kind, &audit.Record{User: s.User, Client: s.Client, Source: policy.Source{IP: x.source.IP}})
	f := refuse(http.StatusTooManyRequests, CodeBusy, "quota", "too many requests of yours are on record for this minute (audit.quota."+kind+")")
	f.retry = wait
	return f
}

// unknownSender counts a request that came to no principal.
func (g *Gateway) unknownSender(r *http.Request, kind string) {
	g.Flood.Add(policy.SourceOf(r, g.TrustedProxies).IP, kind)
}

// unread refuses a request of somebody known before a message was read from
// it, and records the attempt: every one of theirs is on record, up to a quota.
// What came before the bearer was checked is counted by source, and what is
// over limits.calls is not recorded, so that nobody can fill the log from there.
func (g *Gateway) unread(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string, f *refusal) {
	x := g.newExchange(r, p, endpoint, nil)
	x.era, x.version, _ = wire.EraOf(r.Header, nil) // a refused version is not what this is about
	x.answerHTTP(w, f)
}

// failureKind is the word for why a request's sender is not known.
func failureKind(r *http.Request, status int) string {
	switch {
	case status == http.StatusBadRequest:
		return "mcp.malformed_token"
	case strings.TrimSpace(r.Header.Get("Authorization")) == "":
		return "mcp.no_token"
	}
	return "mcp.bad_token"
}
