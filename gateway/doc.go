// Package gateway is the outer door: it reads what agents send, has it
// decided and recorded, and hands what may run to the federation. One visible
// function serves each method family; the order of checks is in http.go.
//
// It never sees a stored credential: what it gives to the federation is a
// federation.Call, which has no place for a header or a token.
package gateway
