package authserver

import (
	"net/http"

	"github.com/ostiary/ostiary/policy"
)

// source is the address that a request came from, as policy and records name it.
func (s *Server) source(r *http.Request) string { return policy.SourceOf(r, s.TrustedProxies).IP }
