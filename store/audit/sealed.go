package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/ostiary/ostiary/policy"
)

// Sealed is what policy saw and the line doesn't show, under the key of a day.
// When the key is destroyed, the line and its chain stay as they are.
type Sealed struct {
	Day  string `json:"day"`  // of the key, 2006-01-02, UTC
	Data []byte `json:"data"` // base64 in the line
}

// Opener opens what a Vault sealed.
type Opener interface {
	// OpenDay opens what SealDay sealed for bound. ok is false when there is no
	// key of that day, as it was destroyed or is another installation's; an
	// error is everything else: a part that was changed or moved.
	OpenDay(day string, sealed, bound []byte) (plain []byte, ok bool, err error)
}

// Vault seals under one key per day. Implementations are safe for concurrent use.
type Vault interface {
	Opener

	// SealDay seals plain under the key of the present day, which it makes if it
	// is the first; bound is authenticated, not stored.
	SealDay(plain, bound []byte) (day string, sealed []byte, err error)
}

// Leaves of the input document that a line may show less of than policy saw.
const (
	leafMethod      = "request.method"
	leafEndpoint    = "request.endpoint"
	leafName        = "target.name"
	leafAnnotations = "target.annotations"
	leafVisibility  = "target.visibility"
	leafArguments   = "arguments"
	leafResponses   = "responses"
	leafVerified    = "client.verified_name"
	leafAgent       = "agent.name"
	leafVersion     = "agent.version"
)

// Clear is the input document that r's decision was made on: from the line,
// and where redaction, masking or shortening took something from it, from its
// sealed part, which o opens; a nil o opens nothing. unknown are the leaves,
// sorted, as policy names them ("arguments", "target.name"), whose values are
// not to be had: no rule read them, they were too large, or the key of the day
// was destroyed. Their values in doc are not what policy saw. A rule that
// reads one of them is undecidable, and others are not.
//
// doc.Time is in UTC: policy saw it in the zone of policy.timeZone. Counters
// are no part of a record. An error is a sealed part that is not what was
// written; doc and unknown then are as without it.
func Clear(r *Record, o Opener) (doc policy.Request, unknown []string, err error) {
	doc = policy.Request{
		Version: policy.Version, Request: r.Request, Upstream: r.Upstream, Target: r.Target,
		User: r.User, Client: r.Client, Grant: r.Grant, Agent: r.Agent, Source: r.Source, Time: policy.At(r.Time.UTC()),
	}
	missing := map[string]bool{}
	for _, leaf := range r.Withheld {
		missing[leaf] = true
	}
	for leaf, p := range map[string]*Payload{leafArguments: r.Arguments, leafResponses: r.Responses} {
		switch {
		case p == nil:
		case p.Value == nil:
			missing[leaf] = true
		case leaf == leafArguments:
			doc.Arguments = p.Value
		default:
			doc.Responses = p.Value
		}
	}
	if r.Sealed != nil && o != nil {
		whole, left := doc, maps.Clone(missing)
		if err = openSealed(r, o, &whole, left); err == nil {
			doc, missing = whole, left
		}
	}
	return doc, slices.Sorted(maps.Keys(missing)), err
}

// openSealed puts the sealed leaves of r into doc and takes them off missing.
func openSealed(r *Record, o Opener, doc *policy.Request, missing map[string]bool) error {
	plain, ok, err := o.OpenDay(r.Sealed.Day, r.Sealed.Data, []byte(r.DecisionID))
	if err != nil {
		return fmt.Errorf("record %d: its sealed part does not open: %w", r.Seq, err)
	}
	if !ok {
		return nil
	}
	var leaves map[string]json.RawMessage
	if err := json.Unmarshal(plain, &leaves); err != nil {
		return fmt.Errorf("record %d: its sealed part is not one of this version: %w", r.Seq, err)
	}
	for leaf, value := range leaves {
		to, ok := map[string]any{
			leafMethod: &doc.Request.Method, leafEndpoint: &doc.Request.Endpoint,
			leafName: &doc.Target.Name, leafAnnotations: &doc.Target.Annotations, leafVisibility: &doc.Target.Visibility,
			leafArguments: &doc.Arguments, leafResponses: &doc.Responses,
			leafVerified: &doc.Client.VerifiedName, leafAgent: &doc.Agent.Name, leafVersion: &doc.Agent.Version,
		}[leaf]
		if !ok || json.Unmarshal(value, to) != nil {
			return fmt.Errorf("record %d: its sealed part holds %q, which this version doesn't know", r.Seq, leaf)
		}
		delete(missing, leaf)
	}
	return nil
}
