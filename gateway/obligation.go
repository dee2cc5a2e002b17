package gateway

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// What a decision asks for beside yes or no is carried out here, or the request
// is refused: an obligation is never left out.

// dependsOn tells whether decisions may depend on a path of the input document;
// otherwise is for deciders that don't say.
func (g *Gateway) dependsOn(path string, otherwise bool) bool {
	r, ok := g.Decider.(policy.Reader)
	if !ok {
		return otherwise
	}
	return r.DependsOn(path)
}

// obliges tells whether decisions may carry obligations.
func (g *Gateway) obliges() bool {
	r, ok := g.Decider.(policy.Reader)
	return ok && r.Obliges()
}

// denied is a refusal by policy.
func denied(reason, text string) *refusal {
	return &refusal{status: http.StatusOK, code: CodeDenied, outcome: "denied", reason: reason, text: text}
}

// verdict is what a decision means for t: nil lets it run, once it is recorded.
// Of an error while deciding, and of obligations that can't be read, the agent
// learns nothing.
func (x *exchange) verdict(t *target, d *policy.Decision, failed error) *refusal {
	o, bad := policy.ParseObligations(d.Obligations)
	if failed != nil || bad != nil {
		x.hideAll(t)
	}
	hidden := x.hide(t, o.Arguments)
	if len(o.Result) > 0 {
		m := t.maskOf()
		m.result = append(m.result, o.Result...)
	}
	switch {
	case !t.known:
		return x.unknown(t)
	case failed != nil: // an error while deciding is a denial
		x.g.Logger.Error("decision failed", "error", failed, "decision_id", x.id)
		*d = policy.Decision{Revision: d.Revision}
		return denied(failureWord(failed), "denied")
	case !d.Allow && d.Hidden:
		return x.unknown(t)
	case bad != nil:
		x.g.Logger.Error("obligation not understood", "error", bad, "decision_id", x.id)
		return denied(obligationWord(bad), "denied")
	}
	if missing := x.missing(o.Scopes); len(missing) > 0 && !d.Denied {
		if f := x.stepUp(t, missing); f != nil {
			return f
		}
		return denied("step_up", publicText("denied", d))
	}
	switch {
	case !d.Allow:
		return denied("denied", publicText("denied", d))
	case o.Approval:
		return denied("approval_not_available", publicText("denied: a person has to approve this, and approvals are not available here", d))
	case hidden != nil:
		x.g.Logger.Warn("arguments not masked", "error", hidden, "decision_id", x.id)
		return denied("mask_failed", "denied: policy hides a value of the arguments, and no other value would fit in its place")
	}
	if t.check != nil {
		if f := t.check(); f != nil {
			return f
		}
	}
	return x.spend(t, o.Classes)
}

// publicText is words with the policy's public reasons.
func publicText(words string, d *policy.Decision) string {
	if len(d.Reasons) > 0 {
		words += ": " + strings.Join(d.Reasons, "; ")
	}
	return words
}

// obligationWord is the record's word for obligations that can't be carried out.
func obligationWord(err error) string {
	var o *policy.ObligationError
	if errors.As(err, &o) {
		return o.Code
	}
	return policy.BadObligation
}

// missing are the scopes that the grant does not have.
func (x *exchange) missing(scopes []string) []string {
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return slices.Contains(x.p.Grant.Scopes, s) })
}

// stepUp asks the agent to come back with a token that has more scopes: those
// that its grant has, lest the new token be worth less, and those that are
// missing, in one challenge (RFC 6750 3.1; MCP 2026-07-28, Authorization, Scope
// Challenge Handling). offline_access is never asked for by a resource. nil means
// that asking would lead nowhere: nobody can grant them, or there is no request
// of the agent's that could be answered.
func (x *exchange) stepUp(t *target, missing []string) *refusal {
	if x.g.StepUp == nil || x.http == nil || isAsk(t.method) {
		return nil
	}
	needed := slices.DeleteFunc(slices.Clone(x.p.Grant.Scopes), func(s string) bool { return s == "offline_access" })
	needed = append(needed, missing...)
	challenge := x.g.StepUp(x.http, needed, missing)
	if challenge == "" {
		return nil
	}
	f := denied("insufficient_scope", "more scopes are needed: "+strings.Join(missing, " "))
	f.status, f.challenge = http.StatusForbidden, challenge
	// Where the status can't be told any more, in a batch or on a stream, this is
	// all that the agent gets.
	f.data = wire.AppendString([]byte(`{"error":"insufficient_scope","scope":`), strings.Join(needed, " "))
	f.data = append(f.data, '}')
	return f
}

// spend takes one use from each class of rates, or from none. It comes last, so
// that what is refused for another reason costs nothing; a request about a task,
// what is asked during a call, and the answer to that, are parts of the call,
// which has been paid.
func (x *exchange) spend(t *target, classes []string) *refusal {
	if len(classes) == 0 || t.task != nil || isAsk(t.method) || x.goesOn(t) {
		return nil
	}
	for _, class := range classes {
		if x.g.rates.classes[class] == nil {
			x.g.Logger.Error("a class of rates is not declared", "class", class, "decision_id", x.id)
			f := denied("undeclared_rate", "denied")
			f.class = class
			return f
		}
	}
	class, wait := x.g.rates.spend(classes, x.whoOf(t), x.g.Now())
	if wait <= 0 {
		return nil
	}
	seconds := int64((wait + time.Second - 1) / time.Second)
	f := denied("rate", "denied: too many requests of this kind; try again in "+strconv.FormatInt(seconds, 10)+" seconds")
	f.retry, f.class = wait, class
	f.data = append(strconv.AppendInt([]byte(`{"retryAfter":`), seconds, 10), '}')
	return f
}

// goesOn tells whether a request takes up a call that waits for it, or the task
// that a call became. A state that an upstream made, or one that has the request
// made anew, can be sent any number of times, and each time is a call.
func (x *exchange) goesOn(t *target) bool {
	raw, ok := x.m.Params.Get("requestState")
	if !ok {
		return false
	}
	h, f := x.openHandle(raw, x.stateBound(t))
	if f != nil {
		return false
	}
	return h.kind == ofTask || h.kind == ofParked && x.g.parks.find(h.text).waitsFor(h.round)
}

// unfitArguments refuses arguments that don't fit the schema of the item, where
// rules read them: a rule about a string must not be asked about a list (promise
// 5). What a schema does not say, rules have to.
func (x *exchange) unfitArguments(t *target) *refusal {
	if !t.known || t.task != nil || len(t.arguments) > x.g.Limits.Arguments { // larger ones policy refuses
		return nil
	}
	var err error
	switch t.method {
	case "tools/call":
		var s *schema
		if s, err = x.g.schemas.of(t.item, "inputSchema"); err == nil {
			arguments := t.arguments
			if arguments == nil {
				arguments = []byte("{}")
			}
			err = s.check(arguments)
		}
	case "prompts/get":
		err = texts(t.arguments)
	case "completion/complete":
		if err = texts(t.arguments); err != nil && !errors.As(err, new(*unfit)) {
			err = &unfit{[]string{"/: want object"}}
		}
	}
	if err == nil {
		return nil
	}
	var wrong *unfit
	if errors.As(err, &wrong) {
		where := "params.arguments"
		if t.method == "completion/complete" {
			where = "params.argument"
		}
		return &refusal{
			status: http.StatusOK, code: codeInvalidParams, outcome: "denied", reason: "schema", unfit: true,
			text: where + " don't fit the schema of this " + t.kind + ": " + wrong.Error(),
		}
	}
	x.g.Logger.Error("arguments not checked", "error", err, "upstream", t.upstream.Name, "tool", t.name, "decision_id", x.id)
	f := denied("schema_unusable", "denied: the schema of this "+t.kind+" can't be used to check its arguments")
	f.unfit = true
	return f
}

// texts checks that the arguments of a prompt are texts, as MCP has them.
func texts(arguments []byte) error {
	if arguments == nil {
		return nil
	}
	o, err := wire.Fields(arguments)
	if err != nil {
		return err
	}
	for _, m := range o.Members {
		if o.Raw[m.Start] != '"' {
			return &unfit{[]string{"/" + clip(m.Key, 200) + ": want string"}}
		}
	}
	return nil
}
