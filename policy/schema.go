package policy

import _ "embed"

// InputSchema is the JSON Schema (draft-07) of the input document that rules
// read: what Request encodes to, in version Version. It is published: a field
// may be added, but none is renamed, retyped or taken away within a version.
//
//go:embed input.schema.json
var InputSchema []byte
