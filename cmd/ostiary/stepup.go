package main

import (
	"net/http"

	"github.com/ostiary/ostiary/authserver"
	"github.com/ostiary/ostiary/gateway"
)

// stepUp makes the challenge that asks an agent for more scopes; nil where
// nobody signs in. A scope that is not declared under `scopes` can't be granted:
// asking for it would go on for ever.
func stepUp(c *config, accounts *authserver.Server) func(r *http.Request, needed, missing []string) string {
	if c.NoAuth {
		return nil
	}
	return func(r *http.Request, needed, missing []string) string {
		for _, scope := range missing {
			if _, declared := c.Scopes[scope]; !declared {
				return ""
			}
		}
		return accounts.InsufficientScope(r, needed)
	}
}

// gatewayLimits are the limits of the outer door. limits.arguments bounds what
// rules read, which is the engine's, and what schemas and masks read.
func (c *config) gatewayLimits() gateway.Limits {
	l := c.Limits
	l.Arguments = c.Arguments
	return l
}
