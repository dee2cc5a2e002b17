package wire

import (
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// lenientDepth bounds the nesting of an answer that is parsed leniently: one
// item that is too deep must not cost the list, but the parser's stack and time
// stay bounded.
const lenientDepth = 1024

// ParseAnswer parses what an upstream sent: a response, a notification or a
// request of its own. The envelope is as strict as in Parse: no duplicates or
// case variants, exactly one of result and error, an error with an integer code
// and a string message. An error may come without id or with null; absent and
// null params are one.
//
// With lenient, faults inside result (duplicate names, invalid UTF-8, numbers
// and nesting over the limits, NUL in a key) pass, so that one malformed tool of
// a list can be left out alone: the caller runs Check on every value that it
// takes from such a result. The members of result itself have unique names even
// then. The error is a *ParseError.
func ParseAnswer(raw []byte, lim Limits, lenient bool) (*Message, error) {
	lim = lim.orDefault()
	err := check(raw, lim)
	faulty := err != nil // something is wrong, perhaps inside result alone
	if faulty && (!lenient || !tolerable(err, raw, lim)) {
		return nil, err
	}
	e, err := openEnvelope(raw, lim)
	if err != nil {
		return nil, err
	}
	if faulty {
		if err := e.checkAround(lim); err != nil {
			return nil, err
		}
	}
	m, err := e.finish(lim, false)
	if err != nil {
		return nil, err.withID(raw, lim)
	}
	return m, nil
}

// tolerable reports whether a message that failed the strict check is JSON
// nevertheless, within bounds.
func tolerable(err *ParseError, raw []byte, lim Limits) bool {
	switch err.Reason {
	case ReasonDepth:
		deep := lim
		deep.Depth = max(lenientDepth, lim.Depth)
		if flaw := inspect(raw, deep); flaw != nil && flaw.Reason == ReasonDepth {
			return false
		}
	case ReasonUTF8, ReasonAmbiguous, ReasonNumber, ReasonNUL:
	default:
		return false
	}
	return jsontext.Value(raw).IsValid(loose...)
}

// checkAround makes the strict checks on everything but the inside of result:
// there must be a result for the fault to be inside of.
func (e *envelope) checkAround(lim Limits) *ParseError {
	if e.result == nil {
		return check(e.raw, lim)
	}
	members, _ := index(nil, e.raw)
	if err := uniqueNames(members, "the message"); err != nil {
		return err
	}
	for _, m := range members {
		if m.Key == "result" {
			continue
		}
		if err := check(e.raw[m.Start:m.End], lim); err != nil {
			return err
		}
	}
	members, ok := index(nil, e.result)
	if !ok {
		return check(e.raw, lim) // not an object: nothing in it to leave out
	}
	return uniqueNames(members, "result")
}

// uniqueNames refuses names that are not unique or not text.
func uniqueNames(members []Member, where string) *ParseError {
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		if seen[m.Key] {
			return refuse(ReasonAmbiguous, fmt.Sprintf("a name occurs twice in %s", where))
		}
		if !utf8.ValidString(m.Key) {
			return refuse(ReasonUTF8, fmt.Sprintf("a name in %s is not valid UTF-8", where))
		}
		seen[m.Key] = true
	}
	return nil
}
