# Files only below certain folders. data.yaml names for each upstream which
# arguments are paths and below which folders they must be. A path is refused
# unless it is text in plain form: absolute, without empty, . or .. parts,
# backslashes, percent signs or control characters, so that the upstream can't
# read it differently. A list is judged by its parts, anything else is refused.
# An argument that data.yaml does not name is not looked at: name them all, and
# give the upstream its own user with rights to these folders alone as well.
package ostiary

deny contains sprintf("%s must be a plain path below %s", [name, concat(" or ", guard.folders)]) if {
	guard := data.argument_paths.upstreams[input.upstream]
	some name in guard.arguments
	some path in argument_paths_of(input.arguments[name])
	not argument_paths_fine(path, guard.folders)
}

# An empty list is no path either, but harmless.
argument_paths_of(value) := value if is_array(value)

argument_paths_of(value) := [value] if not is_array(value)

argument_paths_fine(path, folders) if {
	is_string(path)
	regex.match(`^(/[^/\\%\x00-\x1f]+)+/?$`, path)
	not regex.match(`/\.\.?(/|$)`, path)
	some folder in folders
	argument_paths_below(path, trim_suffix(folder, "/"))
}

argument_paths_below(path, folder) if trim_suffix(path, "/") == folder

argument_paths_below(path, folder) if startswith(path, concat("", [folder, "/"]))
