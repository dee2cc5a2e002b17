package wire

import "fmt"

// envelope is the outermost object of a message: raw values, nil when absent.
type envelope struct {
	raw                                          []byte
	jsonrpc, id, method, params, result, failure []byte
	message                                      *parsed // being made
}

// parsed is a Message and room for the members that most messages have, in one
// allocation.
type parsed struct {
	Message
	params, meta         nest
	paramsRoom, metaRoom [4]Member
}

// openEnvelope indexes a validated message, its params and params._meta, in one
// walk. It refuses arrays, non-objects, and case variants of envelope members;
// unknown members are ignored.
func openEnvelope(raw []byte, lim Limits) (envelope, *ParseError) {
	m := new(parsed)
	m.meta = nest{key: "_meta", members: m.metaRoom[:0]}
	m.params = nest{key: "params", members: m.paramsRoom[:0], inside: &m.meta}
	e := envelope{raw: raw, message: m}
	c := cursor{raw: raw}
	if !c.take('{') {
		if c.take('[') {
			return e, refuse(ReasonBatch, "it is an array: send one message at a time, batches are not accepted")
		}
		return e, refuse(ReasonEnvelope, "it is not a JSON object")
	}
	for more := !c.take('}'); more; more = c.take(',') {
		from, to, _ := c.key()
		key, known := name(raw[from:to])
		start, end, ok := c.member(key, &m.params)
		if !ok {
			break // not after validation
		}
		value := raw[start:end:end]
		switch key {
		case "jsonrpc":
			e.jsonrpc = value
		case "id":
			e.id = value
		case "method":
			e.method = value
		case "params":
			e.params = value
		case "result":
			e.result = value
		case "error":
			e.failure = value
		default:
			if known {
				continue
			}
			if exact := variantOf(envelopeMembers, key); exact != "" {
				return e, variant("the message", exact).withID(raw, lim)
			}
		}
	}
	m.Params.Members = m.params.members
	m.Meta.Members = m.meta.members
	return e, nil
}

// finish tells the kind of the message and checks what belongs to that kind.
// agent is true for what agents send; upstreams are given some latitude
// (ParseAnswer).
func (e *envelope) finish(lim Limits, agent bool) (*Message, *ParseError) {
	if version, ok := Unquote(e.jsonrpc); !ok || version != "2.0" {
		return nil, refuse(ReasonEnvelope, `"jsonrpc" is not "2.0"`)
	}
	m := &e.message.Message
	m.Raw, m.ID = e.raw, e.id
	if e.id != nil && !validID(e.id, lim) {
		// JSON-RPC 2.0 section 5: null, where the responder could not tell.
		if agent || e.failure == nil || string(e.id) != "null" {
			return nil, refuse(ReasonID, fmt.Sprintf(`"id" is not a string or an integer of at most %d bytes`, lim.ID))
		}
		m.ID = nil
	}
	var err *ParseError
	switch {
	case e.method != nil:
		err = e.call(m, agent)
	case e.result == nil && e.failure == nil:
		// What lacks a method and an outcome is taken for a request.
		err = refuse(ReasonMethod, `"method" is missing`)
	default:
		err = e.response(m, agent)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// call fills in a request or notification.
func (e *envelope) call(m *Message, agent bool) *ParseError {
	if e.result != nil || e.failure != nil {
		return refuse(ReasonEnvelope, `it has a "method" and also a "result" or "error"`)
	}
	method, ok := methodName(e.method)
	if !ok {
		return refuse(ReasonMethod, fmt.Sprintf(`"method" is not a string of 1 to %d bytes`, MaxMethod))
	}
	m.Method = method
	m.Kind = Notification
	if m.ID != nil {
		m.Kind = Request
	}
	if e.params == nil || !agent && string(e.params) == "null" {
		return nil
	}
	if e.params[0] != '{' {
		return refuse(ReasonParams, `"params" is not an object`)
	}
	m.Params.Raw = e.params
	meta, ok := m.Params.Get("_meta")
	switch {
	case !ok || string(meta) == "null":
	case meta[0] == '{':
		m.Meta.Raw = meta
	default:
		return refuse(ReasonParams, `"_meta" in params is not an object`)
	}
	if !agent {
		return nil
	}
	if err := checkVariants(m.Params); err != nil {
		return err
	}
	return firstVariant(m.Meta, metaMembers, "params._meta")
}

// response fills in a result or an error.
func (e *envelope) response(m *Message, agent bool) *ParseError {
	m.Kind = Response
	if e.result != nil && e.failure != nil {
		return refuse(ReasonEnvelope, `it has both "result" and "error"`)
	}
	if agent && e.params != nil {
		return refuse(ReasonEnvelope, `it is a response with "params"`)
	}
	if m.ID == nil && (agent || e.failure == nil) {
		return refuse(ReasonID, `a response needs the "id" of its request`)
	}
	if e.failure == nil {
		m.Result = e.result
		return nil
	}
	var err *ParseError
	m.Error, err = parseError(e.failure)
	return err
}
