package ostiary_test

import data.ostiary

by_network_denies(ip, labels) if {
	"not from this network" in ostiary.deny with input.source.ip as ip
		with input.target.labels as labels
		with data.by_network.labels as {"internal": ["10.0.0.0/8", "fd00::/8"], "local": ["127.0.0.0/8"]}
}

test_by_network_inside if not by_network_denies("10.200.0.1", ["internal"])

test_by_network_inside_ipv6 if not by_network_denies("fd00::7", ["internal"])

test_by_network_outside if by_network_denies("11.0.0.1", ["internal"])

test_by_network_every_label_counts if by_network_denies("10.0.0.1", ["internal", "local"])

test_by_network_a_free_label if not by_network_denies("203.0.113.1", ["read"])
