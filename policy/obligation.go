package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Types of obligations: what a decision asks for beside yes or no.
const (
	ObligationMask     = "mask"     // hide values: {"type": "mask", "paths": ["/arguments/ssn", "/result/…"]}
	ObligationStepUp   = "step_up"  // ask for more scopes: {"type": "step_up", "scopes": […]}
	ObligationRate     = "rate"     // spend from a budget: {"type": "rate", "class": "heavy"}
	ObligationApproval = "approval" // ask a person first
)

// Codes of an ObligationError. They go into records, never to agents.
const (
	UnknownObligation = "unknown_obligation" // of a type that nobody here can carry out
	BadObligation     = "bad_obligation"     // of a known type, but not of its form
)

// Bounds of the obligations of one decision. What is over one refuses.
const (
	MaxMaskPaths   = 64      // of all masks together
	maxMaskPath    = 1 << 10 // bytes of one path
	maxMaskDepth   = 64      // segments of one path: nothing that is parsed is nested deeper
	maxScopes      = 32      // of all step-ups together
	maxScope       = 256     // bytes of one scope
	maxRateClasses = 16      // of all rates together
	maxClassName   = 64      // bytes
)

// Pointer is an RFC 6901 JSON pointer without what it starts from: the
// unescaped reference tokens, at least one. A token AnyKey stands for every
// index of an array and every key of an object, which RFC 6901 does not have.
type Pointer []string

// AnyKey is the token of a Pointer that matches all.
const AnyKey = "*"

// Obligations are all obligations of one decision, by what has to be done.
type Obligations struct {
	Arguments []Pointer // values of the arguments to be masked
	Result    []Pointer // values of the result to be masked
	Scopes    []string  // the grant must have them, each once
	Classes   []string  // of budgets to spend from, each once
	Approval  bool      // a person has to approve
}

// ObligationError says why a decision's obligations can't be carried out: the
// request is refused. Text is for operators and holds no value of a request,
// but may quote what the rule wrote.
type ObligationError struct {
	Code string // UnknownObligation or BadObligation
	Text string
}

func (e *ObligationError) Error() string { return e.Text }

// ParseObligations reads the obligations of one decision. It is strict: an
// unknown type, an unknown member, a malformed value or too much of something
// is an *ObligationError, for an obligation that is half understood would be
// half carried out.
func ParseObligations(all []json.RawMessage) (Obligations, error) {
	var o Obligations
	for _, raw := range all {
		if err := o.add(raw); err != nil {
			return Obligations{}, err
		}
	}
	return o, nil
}

func (o *Obligations) add(raw json.RawMessage) error {
	var kind struct {
		Type *string `json:"type"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil || kind.Type == nil {
		return &ObligationError{BadObligation, "an obligation is not an object with a type"}
	}
	switch *kind.Type {
	case ObligationMask:
		return o.addMask(raw)
	case ObligationStepUp:
		return o.addStepUp(raw)
	case ObligationRate:
		return o.addRate(raw)
	case ObligationApproval: // its members are the business of who will grant it
		o.Approval = true
		return nil
	}
	return &ObligationError{UnknownObligation, fmt.Sprintf("no obligation is of type %q; there is mask, step_up, rate and approval", clip(*kind.Type))}
}

func (o *Obligations) addMask(raw json.RawMessage) error {
	var v struct {
		Type  string    `json:"type"`
		Paths *[]string `json:"paths"`
	}
	if err := strict(raw, &v); err != nil {
		return bad("mask", err.Error())
	}
	if v.Paths == nil || len(*v.Paths) == 0 {
		return bad("mask", "paths must be a list of at least one JSON pointer")
	}
	if len(o.Arguments)+len(o.Result)+len(*v.Paths) > MaxMaskPaths {
		return bad("mask", fmt.Sprintf("more than %d paths", MaxMaskPaths))
	}
	for _, path := range *v.Paths {
		root, p, err := parsePointer(path)
		if err != nil {
			return bad("mask", err.Error())
		}
		if root == "arguments" {
			o.Arguments = append(o.Arguments, p)
		} else {
			o.Result = append(o.Result, p)
		}
	}
	return nil
}

func (o *Obligations) addStepUp(raw json.RawMessage) error {
	var v struct {
		Type   string    `json:"type"`
		Scopes *[]string `json:"scopes"`
	}
	if err := strict(raw, &v); err != nil {
		return bad("step_up", err.Error())
	}
	if v.Scopes == nil || len(*v.Scopes) == 0 {
		return bad("step_up", "scopes must be a list of at least one scope")
	}
	for _, s := range *v.Scopes {
		if !scopeToken(s) {
			return bad("step_up", fmt.Sprintf("%q is no scope", clip(s)))
		}
		if !slices.Contains(o.Scopes, s) {
			o.Scopes = append(o.Scopes, s)
		}
	}
	if len(o.Scopes) > maxScopes {
		return bad("step_up", fmt.Sprintf("more than %d scopes", maxScopes))
	}
	return nil
}

func (o *Obligations) addRate(raw json.RawMessage) error {
	var v struct {
		Type  string  `json:"type"`
		Class *string `json:"class"`
	}
	if err := strict(raw, &v); err != nil {
		return bad("rate", err.Error())
	}
	if v.Class == nil || !RateClass(*v.Class) {
		return bad("rate", "class must name a class of rates")
	}
	if !slices.Contains(o.Classes, *v.Class) {
		o.Classes = append(o.Classes, *v.Class)
	}
	if len(o.Classes) > maxRateClasses {
		return bad("rate", fmt.Sprintf("more than %d classes", maxRateClasses))
	}
	return nil
}

// RateClass tells whether s can be the name of a class of rates: up to 64
// letters, digits, "-" and "_".
func RateClass(s string) bool {
	return len(s) > 0 && len(s) <= maxClassName && strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}

// scopeToken tells whether s is a scope-token (RFC 6749 3.3).
func scopeToken(s string) bool {
	return len(s) > 0 && len(s) <= maxScope && strings.IndexFunc(s, func(r rune) bool {
		return r < 0x21 || r > 0x7e || r == '"' || r == '\\'
	}) < 0
}

// parsePointer reads a path of a mask: "/arguments" or "/result", and what is
// to be masked below it.
func parsePointer(path string) (root string, p Pointer, err error) {
	if len(path) > maxMaskPath {
		return "", nil, fmt.Errorf("a path is longer than %d bytes", maxMaskPath)
	}
	if !utf8.ValidString(path) {
		return "", nil, fmt.Errorf("a path is not valid UTF-8")
	}
	tokens := strings.Split(path, "/")
	if len(tokens) < 3 || tokens[0] != "" || tokens[1] != "arguments" && tokens[1] != "result" {
		return "", nil, fmt.Errorf("the path %q is neither below /arguments nor below /result", clip(path))
	}
	if len(tokens)-2 > maxMaskDepth {
		return "", nil, fmt.Errorf("a path has more than %d segments", maxMaskDepth)
	}
	for _, t := range tokens[2:] {
		text, ok := unescapeToken(t)
		if !ok {
			return "", nil, fmt.Errorf("in the path %q a ~ is followed by neither 0 nor 1", clip(path))
		}
		p = append(p, text)
	}
	return tokens[1], p, nil
}

// unescapeToken: RFC 6901 4, ~1 before ~0.
func unescapeToken(t string) (string, bool) {
	for i := 0; i < len(t); i++ {
		if t[i] == '~' && (i+1 == len(t) || t[i+1] != '0' && t[i+1] != '1') {
			return "", false
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~"), true
}

// String is p as RFC 6901 writes it, without what it starts from.
func (p Pointer) String() string {
	var b strings.Builder
	for _, t := range p {
		b.WriteString("/" + strings.ReplaceAll(strings.ReplaceAll(t, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// strict decodes one object: no unknown member, nothing of another type.
func strict(raw json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the object")
	}
	return nil
}

func bad(kind, text string) error {
	return &ObligationError{BadObligation, "an obligation of type " + kind + ": " + text}
}

// clip keeps what is quoted short.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
