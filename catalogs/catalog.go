package catalogs

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Catalog is everything that the files of one directory declare. It is
// immutable once loaded.
type Catalog struct {
	Upstreams []*Upstream // sorted by name, disabled ones included
	Revision  string      // digest of what was read, hex; equal content, equal revision
	Warnings  []Problem   // worth saying, not worth refusing
}

// Upstream is one declared MCP server.
type Upstream struct {
	Name    string // [a-z0-9-], at most MaxName
	Title   string
	Enabled bool

	URL     string   // Streamable HTTP or HTTP+SSE; may hold an expanded secret, never print it whole
	Command []string // stdio: program and arguments, no shell; arguments may hold expanded secrets
	Env     map[string]Secret
	Dir     string // stdio: working directory, absolute; "" = the gateway's own

	Transport Transport // Stdio exactly when Command is set
	Auth      Auth

	Prefix           string // "" = names and URIs unchanged
	Labels           []string
	Tools            map[string]Tool // by the upstream's own names
	Shared           bool            // sharing: shared
	MergedApps       bool            // apps: merged; MCP Apps work in the merged namespace too
	Limits           Limits
	TrustAnnotations bool
	Meta             []string // request _meta keys that travel to this upstream
	FoldedArguments  bool     // foldedArguments: true accepts keys equal to a schema property only after case folding
	Proxy            string   // URL of a proxy; may hold its password, never print it whole
	CAFile           string   // absolute path of a PEM file
	User             string   // stdio: the account that the process runs as
	Confine          bool     // default true

	// Reads names what the entry's values read, sorted: NAME for a variable,
	// file:PATH for a file. It is filled for disabled entries too.
	Reads []string
	// Digest is equal for entries that mean the same, wherever they stand:
	// what is already running under this digest may go on. It covers expanded
	// values and the content of CAFile; it leaves out Source and Reads.
	Digest string
	Source Position
}

// Tool is what an operator says of one tool.
type Tool struct {
	Labels  []string
	Timeout time.Duration // 0 = the upstream's
}

// Limits of one upstream. Load fills in the defaults.
type Limits struct {
	Timeout     time.Duration // of one request
	Concurrency int           // requests at once
	Response    int           // bytes of one answer
}

// Transport is how an upstream is reached.
type Transport string

const (
	Auto           Transport = "auto"
	StreamableHTTP Transport = "streamable-http"
	SSE            Transport = "sse"
	Stdio          Transport = "stdio"
)

// Auth is how the gateway shows itself to the upstream.
type Auth struct {
	Type    string // one of the Auth words; never "" after Load
	Account string // of oauth: AccountUser or AccountShared
	Header  string // of header: the name of the header
	Value   Secret // of header: what follows Prefix
	Prefix  string // of header: goes before Value as it is, its space included

	Client OAuthClient // of client_credentials

	// Extra are the further keys of kinds whose keys are not fixed yet. Every
	// text in it, at any depth, is a Secret: a client secret looks like any
	// other text.
	Extra map[string]any
}

// OAuthClient is the gateway as a client that an operator registered with an
// upstream's authorization server. Either Secret or Key is set.
type OAuthClient struct {
	ID       string
	Secret   Secret
	Key      Secret // private, PEM: private_key_jwt (RFC 7523)
	How      string // of Secret: ClientBasic or ClientPost
	Issuer   string // the authorization server; its metadata names the token endpoint
	TokenURL string // "" = as the issuer's metadata says
	Scopes   []string
}

// The words of OAuthClient.How.
const (
	ClientBasic = "basic" // client_secret_basic, the default
	ClientPost  = "post"  // client_secret_post
)

// The words of Auth.Type and Auth.Account.
const (
	AuthNone              = "none"
	AuthHeader            = "header"
	AuthClientCredentials = "client_credentials"
	AuthOAuth             = "oauth"
	AuthTokenExchange     = "token_exchange"
	AuthIDJAG             = "id_jag"
	AuthMTLS              = "mtls"

	AccountUser   = "user"   // each user links an account of their own
	AccountShared = "shared" // an operator links one for all
)

// Secret is a value that must not reach a log or an error.
type Secret string

const hidden = "(secret)"

func (Secret) String() string               { return hidden }
func (Secret) GoString() string             { return hidden }
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Format hides the value under every verb: without it a wrong one, such as
// %d, would make fmt print the text itself in its complaint.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// Reveal is the value itself.
func (s Secret) Reveal() string { return string(s) }

// Position is a place in a catalog file.
type Position struct {
	File         string
	Line, Column int // from 1; 0 unknown
}

func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing wrong with a catalog: where, what, and how to mend it.
type Problem struct {
	Position
	Key  string // path of the key, e.g. upstreams.github.limits.timeout
	Text string // what is wrong
	Fix  string // what to do
}

func (p Problem) String() string {
	s := p.Position.String() + ": "
	if p.Key != "" {
		s += p.Key + ": "
	}
	s += p.Text
	if p.Fix != "" {
		s += "; " + p.Fix
	}
	return s
}

// Problems is the error of a catalog that was refused: everything that is
// wrong in all of its files, sorted by place.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}
