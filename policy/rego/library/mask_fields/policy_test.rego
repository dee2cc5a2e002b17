package ostiary_test

import data.ostiary

mask_fields_masks(name, groups) := paths if {
	obligations := ostiary.obligations with input.upstream as "crm" with input.target.name as name
		with input.target.labels as []
		with input.user.groups as groups
		with data.mask_fields as {"paths": {"crm": {"get": ["/result/structuredContent/ssn"]}}, "clear": ["compliance"]}
	paths := {path | some o in obligations; o.type == "mask"; some path in o.paths}
}

test_mask_fields_of_a_tool if mask_fields_masks("get", ["staff"]) == {"/result/structuredContent/ssn"}

test_mask_fields_of_nobody_without_groups if mask_fields_masks("get", []) == {"/result/structuredContent/ssn"}

test_mask_fields_in_clear if mask_fields_masks("get", ["staff", "compliance"]) == set()

test_mask_fields_of_no_other_tool if mask_fields_masks("put", ["staff"]) == set()
