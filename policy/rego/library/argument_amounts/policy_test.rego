package ostiary_test

import data.ostiary

argument_amounts_denies(arguments, groups) if {
	some text in ostiary.deny with input as {
		"user": {"groups": groups}, "upstream": "bank",
		"target": {"name": "transfer", "labels": []}, "arguments": arguments,
	}
		with data.argument_amounts as {"tools": {"bank": {"transfer": {"argument": "amount"}}}, "limits": {"staff": 100, "finance": 10000}}
	startswith(text, "amount must be a number")
}

test_argument_amounts_up_to_the_limit if {
	not argument_amounts_denies({"amount": 0}, ["staff"])
	not argument_amounts_denies({"amount": 100}, ["staff"])
	not argument_amounts_denies({"amount": 100.00}, ["staff"])
}

test_argument_amounts_above_it if {
	argument_amounts_denies({"amount": 100.01}, ["staff"])
	argument_amounts_denies({"amount": 1e3}, ["staff"])
}

test_argument_amounts_the_best_group_counts if {
	not argument_amounts_denies({"amount": 10000}, ["staff", "finance"])
	argument_amounts_denies({"amount": 10001}, ["finance", "staff"])
}

test_argument_amounts_no_group if {
	argument_amounts_denies({"amount": 1}, ["guests"])
	argument_amounts_denies({"amount": 1}, [])
}

test_argument_amounts_of_another_kind if {
	argument_amounts_denies({"amount": "7"}, ["staff"])
	argument_amounts_denies({"amount": [7]}, ["staff"])
	argument_amounts_denies({"amount": -1}, ["staff"])
	argument_amounts_denies({"amount": null}, ["staff"])
	argument_amounts_denies({}, ["staff"])
}
