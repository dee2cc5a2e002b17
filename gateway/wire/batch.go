package wire

import (
	"fmt"
	"strconv"
)

// IsBatch reports whether raw, not validated, can only be an array: a batch of
// messages, or none that is JSON.
func IsBatch(raw []byte) bool {
	c := cursor{raw: raw}
	return c.take('[')
}

// ParseBatch parses an array of 1 to Limits.Batch messages, each as strictly as
// Parse does (JSON-RPC 2.0 section 6; MCP 2025-03-26, the only revision with
// batches). Refused beside what Parse refuses: an empty or longer array, an
// initialize in it ("MUST NOT be part of a JSON-RPC batch", Lifecycle), and an
// id that occurs twice, since nobody could tell whose answer carries it. One
// refused message refuses them all. The error is a *ParseError without id; the
// Messages alias raw.
func ParseBatch(raw []byte, lim Limits) ([]*Message, error) {
	lim = lim.orDefault()
	if err := checkSize(raw, lim); err != nil {
		return nil, err
	}
	around := lim
	around.Depth++ // the array's own level: a message in it may be as deep as one alone
	if err := validate(raw, inspect(raw, around), around); err != nil {
		err.ID = nil // of which message could not be told
		return nil, err
	}
	c := cursor{raw: raw}
	if !c.take('[') {
		return nil, refuse(ReasonEnvelope, "it is not a batch")
	}
	if c.take(']') {
		return nil, refuse(ReasonBatch, "the batch is empty")
	}
	var all []*Message
	seen := make(map[string]int)
	for more := true; more; more = c.take(',') {
		if len(all) == lim.Batch {
			return nil, refuse(ReasonBatch, fmt.Sprintf("a batch of more than %d messages: send it in parts", lim.Batch))
		}
		start, end, _ := c.value()
		n := len(all) + 1
		m, err := Parse(raw[start:end:end], lim)
		if err != nil {
			p := *err.(*ParseError)
			p.Text, p.ID = fmt.Sprintf("message %d of the batch: %s", n, p.Text), nil
			return nil, &p
		}
		if m.Method == "initialize" {
			return nil, refuse(ReasonBatch, fmt.Sprintf("message %d of the batch is an initialize: send it alone", n))
		}
		if key := batchKey(m); key != "" {
			if first, twice := seen[key]; twice {
				return nil, refuse(ReasonBatch, fmt.Sprintf("messages %d and %d of the batch have the same id", first, n))
			}
			seen[key] = n
		}
		all = append(all, m)
	}
	return all, nil
}

// batchKey is the id of a request or a response, which count apart, in one
// spelling; "" in a notification.
func batchKey(m *Message) string {
	if m.ID == nil {
		return ""
	}
	id := string(m.ID)
	if text, ok := Unquote(m.ID); ok {
		id = strconv.Quote(text)
	}
	if m.Kind == Response {
		return "answer " + id
	}
	return id
}
