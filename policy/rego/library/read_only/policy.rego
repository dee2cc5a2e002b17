# Reading for everyone, changing for some. A tool counts as reading when the
# operator labels it `read` in the catalog, or when it says readOnlyHint itself
# and the operator vouches for its annotations (trustAnnotations). Everything
# else counts as a change, also a tool that says nothing. data.yaml names the
# groups that may change things.
package ostiary

deny contains "changes are for writers only" if {
	input.target.kind == "tool"
	not read_only_reads
	not read_only_writer
}

read_only_reads if "read" in input.target.labels

read_only_reads if {
	input.target.trusted
	input.target.annotations.readOnlyHint == true
}

read_only_writer if {
	some group in input.user.groups
	group in data.read_only.writers
}
