package ostiary_test

import data.ostiary

read_only_denies(target, groups) if {
	"changes are for writers only" in ostiary.deny with input.target as object.union({"kind": "tool", "labels": [], "trusted": false}, target)
		with input.user.groups as groups
		with data.read_only.writers as ["maintainers"]
}

test_read_only_a_labelled_tool if not read_only_denies({"labels": ["read"]}, ["staff"])

test_read_only_a_trusted_hint if not read_only_denies({"trusted": true, "annotations": {"readOnlyHint": true}}, ["staff"])

test_read_only_an_untrusted_hint if read_only_denies({"annotations": {"readOnlyHint": true}}, ["staff"])

test_read_only_a_hint_that_is_no_boolean if read_only_denies({"trusted": true, "annotations": {"readOnlyHint": "true"}}, ["staff"])

test_read_only_a_silent_tool if read_only_denies({}, ["staff"])

test_read_only_a_writer if not read_only_denies({}, ["staff", "maintainers"])

test_read_only_a_resource if not read_only_denies({"kind": "resource"}, ["staff"])
