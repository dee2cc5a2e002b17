// Package policy holds the words of a decision: what is asked (Request), what
// was answered (Decision) and who answers (Decider). Engines live below it;
// the gateway and the audit log share these words and nothing else.
package policy

import (
	"context"
	"encoding/json"
	"time"
)

// Version is the version of the input document that Request encodes to.
const Version = 1

// Request is the input document of one decision. It is
// built from the body and the verified token, never from a header that an
// agent controls, except Agent, which is self-reported and says so.
type Request struct {
	Version   int             `json:"version"`
	Listing   bool            `json:"listing"` // may this be called later? arguments, responses, counters and source unknown
	Request   Act             `json:"request"`
	Upstream  string          `json:"upstream"`
	Target    Target          `json:"target"`
	Arguments json.RawMessage `json:"arguments,omitempty"` // as the agent sent them
	Responses json.RawMessage `json:"responses,omitempty"` // the agent's answers to input requests
	User      User            `json:"user"`
	Client    Client          `json:"client"`
	Grant     Grant           `json:"grant"`
	Agent     Agent           `json:"agent"`
	Source    Source          `json:"source"`
	Time      Time            `json:"time"`

	Counters map[string]int64 `json:"counters,omitempty"` // what was used so far, by name
}

// Act says what is being done, through which door.
type Act struct {
	Method   string `json:"method"`   // tools/call, prompts/get, resources/read, …
	Kind     string `json:"kind"`     // "tool", "prompt", "resource", "template", "lifecycle"
	Era      string `json:"era"`      // "legacy" or "modern"
	Endpoint string `json:"endpoint"` // "/mcp" or "/mcp/{upstream}"
}

// Target is what would be touched, by its upstream's own name.
type Target struct {
	Kind        string          `json:"kind"`
	Name        string          `json:"name"` // of a resource: its own URI
	Labels      []string        `json:"labels"`
	Annotations json.RawMessage `json:"annotations,omitempty"`
	Trusted     bool            `json:"trusted"` // the operator vouches for Annotations
	Visibility  []string        `json:"visibility,omitempty"`
	Digest      string          `json:"digest"`
}

// User is the person.
type User struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Groups   []string `json:"groups"`
	AuthTime int64    `json:"auth_time"` // Unix seconds, 0 if never
	AMR      []string `json:"amr"`
}

// Client is the program that the person allowed.
type Client struct {
	ID           string `json:"id"`
	Kind         string `json:"kind"`
	VerifiedName string `json:"verified_name"`
	RedirectHost string `json:"redirect_host"`
}

// Grant is the consent that the token stands for.
type Grant struct {
	Scopes      []string `json:"scopes"`
	Resource    string   `json:"resource"`
	ConsentedAt int64    `json:"consented_at"`
}

// Agent is what the client says of itself. It is unverified.
type Agent struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Source is where the request came from, after trusted proxies.
type Source struct {
	IP      string `json:"ip"`
	Proxied bool   `json:"proxied"`
	TLS     bool   `json:"tls"`
}

// Time is the moment of the decision in the policy's time zone.
type Time struct {
	Unix    int64  `json:"unix"`
	RFC3339 string `json:"rfc3339"`
	Hour    int    `json:"hour"`
	Weekday string `json:"weekday"` // monday … sunday
	Zone    string `json:"zone"`
}

// At fills Time from t.
func At(t time.Time) Time {
	zone, _ := t.Zone()
	return Time{
		Unix: t.Unix(), RFC3339: t.Format(time.RFC3339), Hour: t.Hour(),
		Weekday: weekdays[t.Weekday()], Zone: zone,
	}
}

var weekdays = [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// Decision is what was decided and why. The audit log stores it unchanged.
type Decision struct {
	Allow       bool              `json:"allow"`
	Denied      bool              `json:"denied,omitempty"`  // a deny rule stands: no further scope would help
	Hidden      bool              `json:"hidden,omitempty"`  // not even listed: answers as what does not exist
	Reasons     []string          `json:"reasons,omitempty"` // public words
	Obligations []json.RawMessage `json:"obligations,omitempty"`
	Revision    string            `json:"revision"` // of policy and data
}

// Decider judges requests. Implementations are safe for concurrent use.
type Decider interface {
	// Decide judges one request. It never returns an allowing Decision
	// together with an error; callers treat an error as a denial.
	Decide(ctx context.Context, r *Request) (Decision, error)

	// Visible judges, for each target, whether it is listed: r with Listing
	// set and with each target in turn. Callable implies listed.
	Visible(ctx context.Context, r *Request, upstreams []string, targets []Target) ([]bool, error)

	// Revision names the state that answers depend on: while it stays the
	// same, Visible gives the same answers to the same questions.
	Revision() string
}
