# New tools wait until somebody has looked at them. data.yaml lists the digests
# of the definitions that were; a tool that is new, or whose name, description,
# schema or annotations changed since, is not listed and can't be called.
# `ostiary tools list --format json` prints digests, and audit records have them
# (target.digest). Upstreams that are free to change stand in data.yaml too.
package ostiary

deny contains "this definition was not looked at yet" if {
	input.target.kind == "tool"
	not input.target.digest in data.new_tools.known
	not input.upstream in data.new_tools.free
}
