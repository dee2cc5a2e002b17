package federation

import (
	"crypto/sha256"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Kind is a kind of thing that upstreams offer.
type Kind uint8

const (
	Tool Kind = iota
	Prompt
	Resource
	Template
	kinds // number of kinds
)

func (k Kind) String() string { return [...]string{"tool", "prompt", "resource", "template"}[k] }

// Merged is the endpoint of the merged namespace; any other endpoint is the
// name of one upstream.
const Merged = ""

// Item is one thing that one upstream offers. Items are immutable.
type Item struct {
	Kind     Kind
	Upstream *catalogs.Upstream
	Name     string // the upstream's own name; of a resource its URI, of a template its uriTemplate
	Exposed  string // the name or URI in the merged namespace

	Own    []byte // the definition as the upstream gave it, compact
	Merged []byte // the same with what the merged namespace owns rewritten
	Digest string // hex SHA-256 of the canonical definition (digest.go)

	Labels      []string // the operator's, upstream's and tool's, sorted
	Annotations []byte   // raw, of a tool; nil when absent
	Visibility  []string // _meta.ui.visibility
	Timeout     time.Duration

	ParamHeaders []wire.ParamHeader // x-mcp-header parameters of a tool
	Properties   []string           // of a tool: the top-level properties of inputSchema, sorted, for the case-fold check

	sum      [sha256.Size]byte // of Own: changes with every byte that agents see
	unfit    string            // why Name can't go out as it is; "" = it can
	template *uriTemplate      // of a template
}

// ExposedAt is the item's name at an endpoint.
func (i *Item) ExposedAt(endpoint string) string {
	if endpoint == Merged {
		return i.Exposed
	}
	return i.Name
}

// BytesAt is the item's definition at an endpoint.
func (i *Item) BytesAt(endpoint string) []byte {
	if endpoint == Merged {
		return i.Merged
	}
	return i.Own
}
