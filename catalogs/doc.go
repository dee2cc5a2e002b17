// Package catalogs reads what operators declare about upstream MCP servers: a
// directory of YAML files, taken as a whole or not at all, with every mistake
// named by file, line and key. It hands an immutable Catalog to federation and
// a list of Problems to the operator.
//
// # Format
//
// Each file has one key, upstreams, a mapping from name to entry; the
// README shows an entry and catalog.schema.json describes every key for
// editors. Unknown keys, duplicate keys, anchors, aliases and custom tags are
// refused: what an operator reads in the file is all there is.
//
// A *.json file of another tool is read as it is: mcpServers (Claude Desktop,
// Claude Code, Cursor, Windsurf, Gemini CLI), servers with inputs (VS Code), and
// the server.json of the MCP Registry. Keys of theirs that have no meaning here
// are warnings, ${env:X} and $X are ${X}, ${input:an-id} is ${AN_ID}, file: is
// nothing special, and a name such as "My Server" becomes my-server. Of headers,
// the one that carries the credential is read. Import turns such a file into one
// of ours.
//
// # Values from elsewhere
//
// In url, command, env, dir, auth (value, prefix and the keys of Extra),
// proxy, caFile and user:
//
//	${NAME}            the variable NAME; it is a problem when there is none
//	${NAME:-text}      text when NAME is unset or empty
//	file:PATH          the content of a file, without its last line break;
//	                   the whole value, and PATH may hold ${NAME}. Not in dir
//	                   and caFile, which are paths already
//	$${ and $file:     a literal ${ and a literal leading file:
//
// Relative paths in file:, dir and caFile start at the catalog's directory.
// What a variable or a file says is never expanded again. OSTIARY_* variables,
// paths in the gateway's data directory and the files of /proc, which would
// show the gateway's own environment, are refused. Entries with enabled: false
// are checked for form, but nothing of theirs is read.
package catalogs
