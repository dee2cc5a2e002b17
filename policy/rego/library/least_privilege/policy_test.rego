package ostiary_test

import data.ostiary

least_privilege_denies(client, upstream, name) if {
	"not for this client" in ostiary.deny with input.client.id as client
		with input.agent.name as "cli"
		with input.upstream as upstream
		with input.target.name as name
		with data.least_privilege.clients as {"cli": {"github": ["*"]}, "bot": {"github": ["list_*"]}}
}

test_least_privilege_what_it_is_for if not least_privilege_denies("bot", "github", "list_repos")

test_least_privilege_anything if not least_privilege_denies("cli", "github", "delete_repo")

test_least_privilege_another_tool if least_privilege_denies("bot", "github", "delete_repo")

test_least_privilege_another_upstream if least_privilege_denies("cli", "files", "read")

test_least_privilege_a_client_that_only_claims_a_name if least_privilege_denies("unknown", "github", "list_repos")
