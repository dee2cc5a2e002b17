package gateway

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// hidesResult tells whether something of the answer is to be hidden.
func (m *masks) hidesResult() bool { return m != nil && len(m.result) > 0 }

// owned are members of a result that belong to the protocol: /result/* does not
// mean them.
var owned = []string{"_meta", "cacheScope", "inputRequests", "isError", "nextCursor", "requestState", "resultType", "ttlMs"}

// maskResult hides what the decision on t hides of a result, as its upstream
// gave it. What can't be hidden is not shown: the refusal is the answer.
//
// A tool says what structuredContent holds in text as well (MCP, Tools). So text
// that is JSON is masked by the same paths, and what was taken from anywhere in
// the result or the arguments is taken out of all strings but those of
// structuredContent, which paths alone are for.
func (x *exchange) maskResult(t *target, result []byte) ([]byte, *refusal) {
	if t.masks == nil || !t.masks.hidesResult() && t.masks.needles.none() {
		return result, nil
	}
	o, err := wire.Fields(result)
	if err != nil {
		return nil, badAnswer(t.upstream.Name, "result is not an object")
	}
	twins, others := t.masks.paths(o)
	var s *schema
	if t.item != nil && t.item.Kind == federation.Tool {
		s, _ = x.g.schemas.of(t.item, "outputSchema")
	}
	p := wire.NewPatch(o)
	gone := t.masks.needles.clone()
	if structured, ok := o.Get("structuredContent"); ok {
		masked, taken, err := s.mask(structured, twins)
		if err != nil {
			return nil, unmaskable(t, err)
		}
		gone.take(taken)
		p.Set("structuredContent", masked)
	}
	var plain *schema
	masked, taken, err := plain.mask(p.Bytes(), others)
	if err != nil {
		return nil, unmaskable(t, err)
	}
	gone.take(taken)
	return maskTexts(masked, twins, gone), nil
}

// paths are the masks of o below structuredContent, relative to it, and the
// others.
func (m *masks) paths(o wire.Object) (twins, others []policy.Pointer) {
	add := func(p policy.Pointer) {
		if p[0] == "structuredContent" {
			twins = append(twins, p[1:])
		} else {
			others = append(others, p)
		}
	}
	for _, p := range m.result {
		if p[0] != policy.AnyKey {
			add(p)
			continue
		}
		twins = append(twins, p[1:]) // also where there is nothing but text
		for _, member := range o.Members {
			if !slices.Contains(owned, member.Key) && member.Key != "structuredContent" {
				add(append(policy.Pointer{member.Key}, p[1:]...))
			}
		}
	}
	return twins, others
}

// wordless are members whose strings are words of the protocol or no text.
var wordless = []string{"data", "mimeType", "role", "type"}

// maskTexts masks the strings of a result outside of structuredContent: texts
// that are JSON by twins, also those that came as bytes, and in all of them what
// is gone from elsewhere.
func maskTexts(result []byte, twins []policy.Pointer, gone *needles) []byte {
	o, err := wire.Fields(result)
	if err != nil {
		return result
	}
	var apart []wire.Span // structuredContent has its paths; what else is owned has no text
	for _, m := range o.Members {
		if m.Key == "structuredContent" || m.Key != "_meta" && slices.Contains(owned, m.Key) {
			apart = append(apart, wire.Span{Start: m.Start, End: m.End})
		}
	}
	type text struct {
		at      wire.Span
		is, now string
		blob    bool
	}
	var texts []text
	for _, v := range wire.Scalars(result) {
		if slices.Contains(wordless, v.Key) || slices.ContainsFunc(apart, func(s wire.Span) bool { return v.Start >= s.Start && v.End <= s.End }) {
			continue
		}
		is, ok := wire.Unquote(result[v.Start:v.End])
		if !ok {
			continue
		}
		t := text{at: v.Span, is: is, now: is}
		if v.Key == "blob" {
			bytes, err := base64.StdEncoding.DecodeString(is)
			if err != nil || !utf8.Valid(bytes) {
				continue
			}
			t.is, t.now, t.blob = string(bytes), string(bytes), true
		}
		if v.Key == "text" || t.blob {
			t.now = maskTwin(t.is, twins, gone)
		}
		texts = append(texts, t)
	}
	// Only now all that is gone is known.
	var edits []wire.Edit
	for _, v := range texts {
		if v.now = gone.sweep(v.now); v.now == v.is {
			continue
		}
		if v.blob {
			v.now = base64.StdEncoding.EncodeToString([]byte(v.now))
		}
		edits = append(edits, wire.Edit{Start: v.at.Start, End: v.at.End, With: wire.AppendString(nil, v.now)})
	}
	return wire.Splice(nil, result, edits)
}

// maskTwin masks a text that says what structuredContent says.
func maskTwin(text string, twins []policy.Pointer, gone *needles) string {
	if len(twins) == 0 {
		return text
	}
	if !isJSON(text) {
		for _, p := range twins {
			if len(p) == 0 { // all of it is hidden, in whatever words it is said
				return maskWord
			}
		}
		return text
	}
	var plain *schema
	masked, taken, err := plain.mask([]byte(text), twins)
	if err != nil {
		return maskWord
	}
	gone.take(taken)
	return string(masked)
}

// isJSON tells whether a text is a JSON object or array.
func isJSON(text string) bool {
	for i := range len(text) {
		switch text[i] {
		case ' ', '\t', '\r', '\n':
			continue
		case '{', '[':
			return json.Valid([]byte(text))
		}
		break
	}
	return false
}

// unmaskable is the answer where something can't be hidden.
func unmaskable(t *target, err error) *refusal {
	return &refusal{
		status: http.StatusOK, code: CodeBadAnswer, outcome: "unknown", reason: "mask_failed", detail: err.Error(),
		text: "the answer of upstream " + t.upstream.Name + " can't be shown: what policy hides in it could not be hidden",
	}
}

// maskError is an upstream's error without what the masks hide. Its data may
// hold anything in any form, so where something of the result is hidden it goes;
// pages that a user has to visit stay (-32042).
func (m *masks) maskError(e *wire.Error) *wire.Error {
	if m == nil || !m.hidesResult() && m.needles.none() {
		return e
	}
	masked := &wire.Error{Code: e.Code, Message: m.needles.sweep(e.Message), Data: e.Data}
	switch {
	case e.Code == codeURLElicitation || e.Code == codeMissingCap:
	case m.hidesResult():
		masked.Data = nil
	case len(e.Data) > 0:
		masked.Data = m.needles.sweepJSON(e.Data)
	}
	return masked
}

// maskNotice is what of a notification during the call reaches the agent; false
// = nothing. Its words may tell what is hidden before the result says what that
// is.
func (m *masks) maskNotice(method string, params []byte) ([]byte, bool) {
	if !m.hidesResult() {
		return params, true
	}
	switch method {
	case "notifications/message":
		return nil, false
	case "notifications/progress":
		if o, err := wire.Fields(params); err == nil {
			params = wire.NewPatch(o).Remove("message").Bytes()
		}
	}
	return params, true
}

// taskWords are the members that a task has in either form. What an upstream
// says beside them may be what its result says.
var taskWords = []string{
	"_meta", "createdAt", "error", "inputRequests", "lastUpdatedAt", "pollInterval", "pollIntervalMs",
	"requestState", "result", "resultType", "status", "taskId", "ttl", "ttlMs",
}

// maskTask takes the words that an upstream has for the state of a task out of
// the patch p of it, what is no part of a task, and its error's data.
func (m *masks) maskTask(o wire.Object, p *wire.Patch) *wire.Patch {
	if !m.hidesResult() {
		return p
	}
	for _, member := range o.Members {
		if !slices.Contains(taskWords, member.Key) {
			p.Remove(member.Key)
		}
	}
	if e := inside(o, "error"); e.Raw != nil {
		p.Set("error", wire.NewPatch(e).Remove("data").Bytes())
	}
	return p
}
