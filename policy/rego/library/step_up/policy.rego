# Consent that is asked for when it is needed. Tools that the catalog labels as in
# data.yaml need a scope, which ostiary.yaml declares: scopes: {payments: Move
# money}. They are listed to all who may use them; a call without the scope is
# answered with 403 and the scopes to come back with, the agent asks for them,
# and the person sees in the consent page what for. A scope that is not declared
# can't be granted, and refuses.
package ostiary

obligations contains {"type": "step_up", "scopes": [scope]} if {
	some label in input.target.labels
	scope := data.step_up.scopes[label]
}
