package rego

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/ostiary/ostiary/policy"
)

// canary tries a new engine with a call and its listing. A misspelt query or
// rule gives no error in OPA, only no answer: it must not be found out by the
// first agent.
func (e *Engine) canary(ctx context.Context) error {
	r := policy.Request{
		Version:  policy.Version,
		Request:  policy.Act{Method: "tools/call", Kind: "tool", Era: "modern", Endpoint: "/mcp"},
		Upstream: "canary",
		Target: policy.Target{
			Kind: "tool", Name: "canary", Labels: []string{"canary"}, Annotations: json.RawMessage(`{}`),
			Digest: "0000000000000000000000000000000000000000000000000000000000000000",
		},
		Arguments: json.RawMessage(`{}`),
		User:      policy.User{ID: "local:canary", Name: "canary", Groups: []string{"canary"}, AMR: []string{"pwd"}},
		Client:    policy.Client{ID: "canary", Kind: "static"},
		Grant:     policy.Grant{Scopes: []string{"mcp"}, Resource: "https://gateway.example/mcp"},
		Agent:     policy.Agent{Name: "canary", Version: "1"},
		Source:    policy.Source{IP: "192.0.2.1"}, // RFC 5737: for documentation
		Time:      policy.At(e.o.Now()),
	}
	_, err := e.evaluate(ctx, &r, canaryTime)
	var f *policy.Failure
	var at *topdown.Error
	switch {
	case errors.As(err, &at):
		return Problems{problemAt(at.Location, "a canary request fails here: "+at.Message, "let the rule be undefined instead, or check the value first")}
	case errors.As(err, &f) && f.Code == policy.FailedUndefined:
		return Problems{{Text: "a canary request gets no answer: " + f.Err.Error(), Fix: "write default allow := false, and true or false everywhere else"}}
	case err != nil:
		return Problems{{Text: fmt.Sprintf("a canary request gets no answer: %v", err)}}
	}
	r = listingOf(&r)
	if _, _, err := e.listable(ctx, &r, canaryTime); err != nil {
		return Problems{{Text: fmt.Sprintf("a canary listing gets no answer: %v", err)}}
	}
	return nil
}
