# Who may use what, by group. data.yaml names for each group the upstreams and,
# of each, patterns of names (of a resource: of its URI); * stands for anything.
# A person may use what any of their groups may; what is not granted is not
# listed, and answers as what does not exist.
package ostiary

default allow := false

allow if {
	some group in input.user.groups
	some pattern in data.by_group.grants[group][input.upstream]
	glob.match(pattern, null, input.target.name)
}
