package ostiary_test

import data.ostiary

argument_paths_denies(arguments) if {
	some text in ostiary.deny with input.upstream as "files"
		with input.arguments as arguments
		with data.argument_paths.upstreams as {"files": {"arguments": ["path", "paths"], "folders": ["/srv/shared", "/tmp/"]}}
	contains(text, "must be a plain path below /srv/shared or /tmp/")
}

test_argument_paths_below if {
	not argument_paths_denies({"path": "/srv/shared/a/b.txt"})
	not argument_paths_denies({"path": "/srv/shared"})
	not argument_paths_denies({"path": "/srv/shared/"})
	not argument_paths_denies({"path": "/tmp/x"})
	not argument_paths_denies({"path": "/srv/shared/a..b/.hidden"})
}

test_argument_paths_elsewhere if {
	argument_paths_denies({"path": "/etc/passwd"})
	argument_paths_denies({"path": "/srv/shared2/x"})
	argument_paths_denies({"path": "/SRV/shared/x"})
	argument_paths_denies({"path": "/"})
	argument_paths_denies({"path": ""})
	argument_paths_denies({"path": "srv/shared/x"})
}

test_argument_paths_in_disguise if {
	argument_paths_denies({"path": "/srv/shared/../../etc/passwd"})
	argument_paths_denies({"path": "/srv/shared/.."})
	argument_paths_denies({"path": "/srv/shared/./x"})
	argument_paths_denies({"path": "/srv/shared//x"})
	argument_paths_denies({"path": "/srv/shared/%2e%2e/x"})
	argument_paths_denies({"path": "/srv/shared/..\\x"})
	argument_paths_denies({"path": "/srv/shared/x\u0000"})
	argument_paths_denies({"path": "/srv/shared/x\n/etc"})
}

test_argument_paths_of_another_kind if {
	argument_paths_denies({"path": {"path": "/srv/shared/x"}})
	argument_paths_denies({"path": 7})
	argument_paths_denies({"path": null})
	argument_paths_denies({"path": [["/etc/passwd"]]})
}

test_argument_paths_in_a_list if {
	not argument_paths_denies({"paths": ["/srv/shared/a", "/tmp/b"]})
	argument_paths_denies({"paths": ["/srv/shared/a", "/etc/passwd"]})
}

test_argument_paths_of_another_upstream if {
	denials := ostiary.deny with input.upstream as "web"
		with input.arguments as {"path": "/etc/passwd"}
		with data.argument_paths.upstreams as {"files": {"arguments": ["path"], "folders": ["/srv"]}}
	every text in denials { not contains(text, "must be a plain path") }
}
