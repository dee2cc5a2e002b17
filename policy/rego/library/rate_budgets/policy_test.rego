package ostiary_test

import data.ostiary

rate_budgets_spends(labels) := classes if {
	obligations := ostiary.obligations with input.target.labels as labels
		with data.rate_budgets.classes as {"expensive": "heavy", "write": "changes"}
	classes := {o.class | some o in obligations; o.type == "rate"}
}

test_rate_budgets_one if rate_budgets_spends(["expensive", "read"]) == {"heavy"}

test_rate_budgets_each_label_spends if rate_budgets_spends(["expensive", "write"]) == {"heavy", "changes"}

test_rate_budgets_none if rate_budgets_spends(["read"]) == set()
