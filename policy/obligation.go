package policy

import "encoding/json"

// Types of obligations: what a decision asks for beside yes or no.
const (
	ObligationMask     = "mask"     // hide values: {"type": "mask", "paths": ["/arguments/ssn", "/result/…"]}
	ObligationStepUp   = "step_up"  // ask for more scopes, while not allowed: {"type": "step_up", "scopes": […]}
	ObligationRate     = "rate"     // spend from a budget: {"type": "rate", "class": "heavy"}
	ObligationApproval = "approval" // ask a person first
)

// ObligationType is the type of one obligation; known is false for a type
// that nobody here can carry out, which refuses.
func ObligationType(obligation json.RawMessage) (word string, known bool) {
	var o struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(obligation, &o) != nil {
		return "", false
	}
	switch o.Type {
	case ObligationMask, ObligationStepUp, ObligationRate, ObligationApproval:
		return o.Type, true
	}
	return o.Type, false
}
