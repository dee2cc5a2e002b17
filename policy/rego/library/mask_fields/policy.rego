# Fields that only some may see. data.yaml names for each tool the values of its
# arguments and of its result, as JSON pointers in which * stands for anything,
# and the groups that get them in clear. Others may call the tool: rules see the
# values, but upstream, agent and record get neutral ones of the same type, that
# fit the tool's schemas. Name a field of structuredContent: text that is the
# same JSON, or repeats the value, is masked with it; free text alone is not.
package ostiary

obligations contains {"type": "mask", "paths": paths} if {
	paths := data.mask_fields.paths[input.upstream][input.target.name]
	not mask_fields_clear
}

mask_fields_clear if {
	some group in input.user.groups
	group in data.mask_fields.clear
}
