package ostiary_test

import data.ostiary

by_group_grants := {"engineering": {"github": ["list_*"], "files": ["*"]}, "staff": {"github": ["get_issue"]}}

by_group_asks(groups, upstream, name) := {"user": {"id": "local:ann", "groups": groups}, "upstream": upstream, "target": {"name": name}}

test_by_group_a_pattern_of_the_group if {
	ostiary.allow with input as by_group_asks(["engineering"], "github", "list_repos") with data.by_group.grants as by_group_grants
}

test_by_group_any_group_counts if {
	ostiary.allow with input as by_group_asks(["other", "staff"], "github", "get_issue") with data.by_group.grants as by_group_grants
}

test_by_group_a_name_outside_the_pattern if {
	not ostiary.allow with input as by_group_asks(["engineering"], "github", "delete_repo") with data.by_group.grants as by_group_grants
}

test_by_group_a_pattern_matches_the_whole_name if {
	not ostiary.allow with input as by_group_asks(["staff"], "github", "get_issue_secrets") with data.by_group.grants as by_group_grants
}

test_by_group_another_upstream if {
	not ostiary.allow with input as by_group_asks(["staff"], "files", "get_issue") with data.by_group.grants as by_group_grants
}

test_by_group_a_star_spans_dots_and_slashes if {
	ostiary.allow with input as by_group_asks(["engineering"], "files", "file:///srv/a.b/c") with data.by_group.grants as by_group_grants
}

test_by_group_no_group if {
	not ostiary.allow with input as by_group_asks([], "github", "list_repos") with data.by_group.grants as by_group_grants
}
