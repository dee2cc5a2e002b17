package ostiary_test

import data.ostiary

step_up_needs(labels) := scopes if {
	obligations := ostiary.obligations with input.target.labels as labels
		with input.upstream as "bank"
		with input.user.groups as []
		with data.step_up.scopes as {"money": "payments", "write": "changes"}
	scopes := {scope | some o in obligations; o.type == "step_up"; some scope in o.scopes}
}

test_step_up_one if step_up_needs(["money", "read"]) == {"payments"}

test_step_up_each_label_has_its_scope if step_up_needs(["money", "write"]) == {"payments", "changes"}

test_step_up_none if step_up_needs(["read"]) == set()
