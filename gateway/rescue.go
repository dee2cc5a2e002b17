package gateway

import (
	"fmt"
	"runtime/debug"
)

// rescue, deferred, ends an exchange in which the gateway itself went wrong.
// The agent learns the id under which the operator finds what did, and nothing
// else.
func (x *exchange) rescue() {
	why := recover()
	if why == nil {
		return
	}
	x.g.Logger.Error("request panicked", "decision_id", x.id, "panic", why, "stack", string(debug.Stack()))
	f := fromFailure(fmt.Errorf("panic: %v", why))
	f.text += "; the gateway's log says more under " + x.id
	if x.judged {
		x.outcome(f.outcome, f.code, f.reason, nil)
	}
	x.answer(nil, f)
}
