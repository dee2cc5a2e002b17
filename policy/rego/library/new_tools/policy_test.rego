package ostiary_test

import data.ostiary

new_tools_denies(upstream, kind, digest) if {
	"this definition was not looked at yet" in ostiary.deny with input.upstream as upstream
		with input.target as {"kind": kind, "digest": digest, "labels": []}
		with data.new_tools as {"known": ["aa11"], "free": ["playground"]}
}

test_new_tools_a_known_definition if not new_tools_denies("github", "tool", "aa11")

test_new_tools_a_changed_one if new_tools_denies("github", "tool", "bb22")

test_new_tools_without_digest if new_tools_denies("github", "tool", "")

test_new_tools_a_free_upstream if not new_tools_denies("playground", "tool", "bb22")

test_new_tools_prompts_and_resources if not new_tools_denies("github", "resource", "bb22")
