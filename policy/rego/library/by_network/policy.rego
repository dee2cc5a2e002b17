# Only from certain networks. data.yaml names for each label of the catalog the
# networks from which its tools may be called; a label that it does not name is
# free. Where a request comes from is known when it is made, not when tools are
# listed: these tools stay listed, and the call answers with the reason. Behind
# a proxy, name it in trustedProxies, or every request comes from the proxy.
package ostiary

deny contains "not from this network" if {
	some label in input.target.labels
	networks := data.by_network.labels[label]
	not by_network_inside(networks)
}

by_network_inside(networks) if {
	some network in networks
	net.cidr_contains(network, input.source.ip)
}
