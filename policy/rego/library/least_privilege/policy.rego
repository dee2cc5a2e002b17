# Each client only what it is for. data.yaml names for each client id the
# upstreams and patterns of names that it may use, whoever uses it; * stands for
# anything. Another client may use nothing. An agent's own name for itself plays
# no part: anyone can claim it.
package ostiary

deny contains "not for this client" if not least_privilege_meant

least_privilege_meant if {
	some pattern in data.least_privilege.clients[input.client.id][input.upstream]
	glob.match(pattern, null, input.target.name)
}
