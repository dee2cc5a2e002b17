package rego

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// banned are built-in functions that reach outside the input and data, beside
// those that OPA marks as nondeterministic: a decision must be the same when
// it is made again from the record.
var banned = []string{
	"http.send", "net.lookup_ip_addr", "providers.aws.sign_req", // network
	"json.match_schema", "json.verify_schema", // a $ref in a schema is fetched
	"io.jwt.decode_verify",                                                                                // compares with the clock
	"crypto.x509.parse_and_verify_certificates", "crypto.x509.parse_and_verify_certificates_with_options", // so do these
	"time.now_ns",               // clock: input.time is the time of the decision
	"rand.intn", "uuid.rfc4122", // random
	"opa.runtime", "rego.parse_module", "trace", // environment and engine
}

// capabilities are what rules may use.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{} // nil would be every host
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || slices.Contains(banned, b.Name)
	})
	return c
}
