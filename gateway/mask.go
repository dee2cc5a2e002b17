package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// Masks hide values that policy has seen: of the arguments from upstream and
// record, of the result from agent and record. A mask replaces the bytes of its
// values and no others. What stands there instead says nothing of the value but
// its JSON type: it depends on the schema alone, also where that leaves few
// choices.
//
// Not hidden are: a value that the agent is asked for, or asks the agent for,
// during the call (those requests are judged themselves), strings shorter than
// needleLeast elsewhere than at their path, a value that structuredContent has
// at a second path, and keys of objects.

const (
	maskWord = "[masked]"

	// maskedValues bounds what one decision masks in one document.
	maskedValues = 1 << 16
)

var errMaskTooMuch = errors.New("too many values to be masked")

// masks are what a decision hides of a request. nil hides nothing.
type masks struct {
	result  []policy.Pointer
	needles needles // taken out of the arguments
}

// passed is t's arguments as upstream and record get them.
func (t *target) passed() []byte {
	if t.masked != nil {
		return t.masked
	}
	return t.arguments
}

// mask replaces the values that paths lead to in doc. s, which may be nil, is
// the schema that doc fits and masked has to fit. taken are the values replaced.
func (s *schema) mask(doc []byte, paths []policy.Pointer) (masked []byte, taken [][]byte, err error) {
	var found []wire.Located
	for _, p := range paths {
		found = append(found, wire.Locate(doc, p, policy.AnyKey)...)
		if len(found) > maskedValues {
			return nil, nil, errMaskTooMuch
		}
	}
	if len(found) == 0 {
		return doc, nil, nil
	}
	edits := make([]wire.Edit, 0, len(found))
	c := s.chooser()
	for _, at := range found {
		value := doc[at.Start:at.End]
		with, ok := c.neutral(value, at.Tokens)
		if !ok {
			return nil, nil, errNothingFits
		}
		edits = append(edits, wire.Edit{Start: at.Start, End: at.End, With: with})
		taken = append(taken, value)
	}
	slices.SortStableFunc(edits, func(a, b wire.Edit) int { return a.Start - b.Start })
	masked = wire.Splice(nil, doc, edits)
	if s == nil || s.root == nil {
		return masked, taken, nil
	}
	var wrong *unfit
	switch err := s.check(masked); {
	case err == nil:
		return masked, taken, nil
	case !errors.As(err, &wrong):
		return nil, nil, err
	}
	// What did not fit before need not fit now: masking makes nothing invalid.
	if err := s.check(doc); errors.As(err, &wrong) {
		return masked, taken, nil
	} else if err != nil {
		return nil, nil, err
	}
	if masked := c.otherwise(doc, edits, found); masked != nil {
		return masked, taken, nil
	}
	return nil, nil, errNothingFits
}

// Bounds of what otherwise tries, each time with a validation.
const (
	otherwiseValues = 8
	otherwiseBytes  = 16 << 10
)

// otherwise tries other neutral values, one place after the other, where the
// first choices don't fit together: alternatives of a schema may depend on each
// other. nil means that none do.
func (c *chooser) otherwise(doc []byte, edits []wire.Edit, found []wire.Located) []byte {
	if len(edits) > otherwiseValues || len(doc) > otherwiseBytes {
		return nil
	}
	for i := range edits {
		first := edits[i].With
		var tokens []string
		for _, at := range found {
			if at.Start == edits[i].Start && at.End == edits[i].End {
				tokens = at.Tokens
			}
		}
		must, may := c.s.at(tokens)
		for _, choice := range c.candidates(doc[edits[i].Start:edits[i].End], must, may) {
			edits[i].With = choice
			if masked := wire.Splice(nil, doc, edits); c.s.check(masked) == nil {
				return masked
			}
		}
		edits[i].With = first
	}
	return nil
}

// everything is the mask of arguments whose own masks are not known: each
// member of theirs.
var everything = []policy.Pointer{{policy.AnyKey}}

// hide masks the arguments of t by these paths, for upstream and record. An
// error means that t.masked is for the record alone, and the request can't run.
func (x *exchange) hide(t *target, paths []policy.Pointer) error {
	if len(paths) == 0 || len(t.arguments) == 0 {
		return nil
	}
	if len(t.arguments) > x.g.Limits.Arguments {
		t.masked = []byte("{}")
		return fmt.Errorf("more than %d bytes of arguments (limits.arguments)", x.g.Limits.Arguments)
	}
	var s *schema
	if t.method == "tools/call" && t.task == nil && t.known {
		s, _ = x.g.schemas.of(t.item, "inputSchema") // where nobody can read it, the type must do
	}
	masked, taken, err := s.mask(t.arguments, paths)
	if err != nil {
		var plain *schema
		if t.masked, _, _ = plain.mask(t.arguments, everything); t.masked == nil {
			t.masked = []byte("{}")
		}
		return err
	}
	if len(taken) == 0 {
		return nil
	}
	if isAsk(t.method) {
		// Whoever asks would get an answer to another question.
		t.masked = masked
		return errors.New("a question to the agent can't be masked")
	}
	t.masked = masked
	t.maskOf().needles.take(taken)
	return nil
}

// hideAll masks all arguments of t for the record: what rules would have hidden
// is not known.
func (x *exchange) hideAll(t *target) {
	if !x.g.obliges() || len(t.arguments) == 0 {
		return
	}
	var plain *schema
	masked, _, err := plain.mask(t.arguments, everything)
	if err != nil {
		masked = []byte("{}")
	}
	t.masked = masked
}

// maskOf is t's masks, made if there are none yet.
func (t *target) maskOf() *masks {
	if t.masks == nil {
		t.masks = new(masks)
	}
	return t.masks
}

// isAsk tells whether method is a request of an upstream's own to the agent.
func isAsk(method string) bool {
	return method == "elicitation/create" || method == "sampling/createMessage" || method == "roots/list"
}

// taskMasks bounds what a task's handle, which travels in a header, holds of
// the masks of its call. Above it the whole result is hidden.
const taskMasks = 512

// seal is what a task's handle keeps of the result's masks.
func (m *masks) seal() []byte {
	if m == nil || len(m.result) == 0 {
		return nil
	}
	b, err := json.Marshal(m.result)
	if err != nil || len(b) > taskMasks {
		b, _ = json.Marshal(everything)
	}
	return b
}

// unsealMasks is the reverse.
func unsealMasks(b []byte) *masks {
	m := new(masks)
	if len(b) == 0 {
		return nil
	}
	if json.NewDecoder(bytes.NewReader(b)).Decode(&m.result) != nil {
		m.result = everything
	}
	return m
}
