package catalogs

import "time"

// Limits that an entry has when it does not say otherwise.
const (
	// MinSecret is the length in bytes from which a credential is masked where
	// an upstream echoes it: anything shorter stands in texts that have nothing
	// to do with it.
	MinSecret = 8

	DefaultTimeout     = 60 * time.Second
	DefaultConcurrency = 32
	DefaultResponse    = 16 << 20
)

// Bounds of what a catalog may say.
const (
	MaxName        = 32             // characters of an upstream's name
	MaxPrefix      = 32             // characters of a prefix
	MaxTitle       = 128            // characters of a title
	MaxLabel       = 64             // characters of a label
	MaxToolName    = 256            // bytes of a tool's name under tools
	MaxMetaKey     = 256            // bytes of a key under meta
	MaxTimeout     = 24 * time.Hour // of one request
	MaxConcurrency = 10_000         // requests at once
	MinResponse    = 1 << 10        // bytes; less could not carry an answer, so it is a slip for KiB or MiB
	MaxResponse    = 1 << 30        // bytes
	MaxFile        = 1 << 20        // bytes of a catalog file
	MaxValue       = 64 << 10       // bytes of an expanded value, and of a file that file: names
	MaxCAFile      = 1 << 20        // bytes of a caFile
	MaxDepth       = 16             // nesting of the keys that Auth.Extra keeps
)

// reserved are words that name the gateway itself: an upstream or a prefix so
// called could pass for it.
var reserved = []string{"gateway", "mcp", "ostiary"}
