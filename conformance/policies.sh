#!/usr/bin/env bash
# Policies on arguments, time, network, client, group and label, and what they
# ask for beside yes and no (masks, budgets, more scopes), end to end:
# Inspector, in both eras, uses server-filesystem and server-memory through a
# gateway whose rules say who may do what, and what was refused is looked for
# on the disk and in the audit log.
#
#   conformance/policies.sh [PATH OF THE ostiary BINARY]
#
# Without a path it builds one. It needs npm, once (tools.sh), and go only to
# build. The last line is "N passed, N failed"; the exit code is 1 if any failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

. "$here/clients/lib.sh"

# Writes go to the inbox only, by day only, from the office only, and never
# through the nightly job; guests see nothing of it.
mkdir -p "$work/files/inbox" "$work/files/archive" "$work/policies"
echo 'kept as it is' >"$work/files/archive/old.txt"
server() { echo "$modules/@modelcontextprotocol/server-$1/dist/index.js"; }
cat >"$work/catalogs/policies.yaml" <<YAML
upstreams:
  files:
    command: ["$node", "$(server filesystem)", "$work/files"]
    tools:
      write_file: {labels: [write]}
      edit_file: {labels: [write]}
      move_file: {labels: [write]}
      create_directory: {labels: [write]}
  memory:
    command: ["$node", "$(server memory)"]
    env: {MEMORY_FILE_PATH: "$work/memory.json"}
YAML
cat >"$work/policies/files.rego" <<REGO
package ostiary

default allow := false

staff if "staff" in input.user.groups

writes if "write" in input.target.labels

whole_tree if input.target.name == "directory_tree"

allow if {
	staff
	not writes
	not whole_tree
}

allow if {
	staff
	whole_tree
	"files" in input.grant.scopes
}

obligations contains {"type": "step_up", "scopes": ["files"]} if {
	staff
	whole_tree
	not "files" in input.grant.scopes
}

# Guests see who is known, not what of them, and not as often as they like.
obligations contains {"type": "mask", "paths": ["/result/structuredContent/entities/*/observations"]} if {
	"guests" in input.user.groups
	input.target.name == "read_graph"
}

obligations contains {"type": "rate", "class": "graph"} if {
	"guests" in input.user.groups
	input.target.name == "search_nodes"
}

allow if {
	staff
	input.target.name == "write_file"
	startswith(input.arguments.path, "$work/files/inbox/")
	not contains(input.arguments.path, "..")
}

# Guests have the memory alone.
allow if {
	"guests" in input.user.groups
	input.upstream == "memory"
}

deny contains "nothing is written at night" if {
	writes
	not input.time.hour in numbers.range(7, 19)
}

deny contains "writes come from the office network" if {
	writes
	not net.cidr_contains("10.0.0.0/8", input.source.ip)
}

deny contains "the nightly job only reads" if {
	writes
	input.client.id == "nightly"
}
REGO

# zone N gives one in which it is about N o'clock now.
zone() {
	local west=$(((10#$(date -u +%H) - $1 + 36) % 24 - 12)) # POSIX: Etc/GMT+N is N hours west
	printf 'Etc/GMT%+d\n' "$west"
}
listen=127.0.0.1:$(port)
url=http://$listen/mcp
start() { # ZONE
	printf 'listen: %s\ntrustedProxies: [127.0.0.1]\npolicy: {timeZone: %s, timeout: 20s}\n' "$listen" "$1" >"$work/ostiary.yaml"
	printf 'scopes: {files: see all files}\nrates: {graph: {limit: 3, per: 1h, by: [user, client]}}\n' >>"$work/ostiary.yaml"
	"$ostiary" serve --config "$work/ostiary.yaml" --catalogs "$work/catalogs" --policies "$work/policies" \
		--data "$work/data" >>"$work/ostiary.log" 2>&1 &
	gateway=$!
	pids=("$gateway")
	for _ in $(seq 300); do
		[ "$(curl -s -o /dev/null -w '%{http_code}' "http://$listen/readyz")" != 200 ] || return 0
		sleep 0.1
	done
	echo 'the gateway is not ready within 30 s' && tail -n 20 "$work/ostiary.log" && exit 1
}
op() { "$ostiary" "$@" --config "$work/ostiary.yaml" --data "$work/data"; }
start "$(zone 12)"
for user in alice:staff bob:guests; do
	op user add "${user%:*}" --group "${user#*:}" --password-stdin <<<'correct horse battery' >/dev/null
done
op client add nightly --redirect-uri http://127.0.0.1/callback >/dev/null
declare -A token
token[alice]=$(op token issue --user alice)
token[bob]=$(op token issue --user bob)
token[nightly]=$(op token issue --user alice --client nightly)
token[stepped]=$(op token issue --user alice --scope mcp --scope files)

# inspect WHO ERA FROM METHOD ARGS...: prints what came, errors included; FROM
# is the address that the proxy in front of the gateway reports.
inspect() {
	local who=$1 era=$2 from=$3 method=$4
	shift 4
	timeout 120 mcp-inspector --cli --server-url "$url" --transport http --protocol-era "$era" --format json --quiet \
		--header "Authorization: Bearer ${token[$who]}" "X-Forwarded-For: $from" --method "$method" "$@" 2>&1 || true
}
call() { # WHO ERA FROM TOOL ARGUMENTS
	inspect "$1" "$2" "$3" tools/call --tool-name "$4" --tool-args-json "$5"
}
# unlisted WHO TOOL ARGUMENTS: Inspector calls nothing that it has not seen listed,
# so the call is made by hand.
unlisted() {
	local out
	out=$(OSTIARY_TOKEN=${token[$1]} "$ostiary" tools call "$2" --args "$3" --url "$url" 2>&1) && echo "it ran: $out" && return 1
	grep -qF "Unknown tool: $2" <<<"$out" || { echo "$out" && return 1; }
}
lacks() { # TEXT COMMAND...
	local text=$1 out
	shift
	out=$("$@")
	! grep -qF -- "$text" <<<"$out" || { echo "$text in: $out" && return 1; }
}
# challenged WHO ERA: the headers of a call that asks for more scopes (RFC 6750 3.1).
challenged() {
	local meta='' headers=(-H "Authorization: Bearer ${token[$1]}" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream')
	if [ "$2" = modern ]; then
		meta='"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"curl","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}},'
		headers+=(-H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/call' -H 'Mcp-Name: files__directory_tree')
	else
		local session
		session=$(curl -s -D - -o /dev/null "${headers[@]}" "$url" -d '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}' |
			tr -d '\r' | sed -n 's/^[Mm]cp-[Ss]ession-[Ii]d: //p')
		headers+=(-H "Mcp-Session-Id: $session" -H 'MCP-Protocol-Version: 2025-11-25')
	fi
	curl -s -D - "${headers[@]}" "$url" -d "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{$meta\"name\":\"files__directory_tree\",\"arguments\":{\"path\":\"$work/files\"}}}"
}
lists() { # WHO ERA TOOL
	inspect "$1" "$2" 10.1.2.3 tools/list | grep -qF "\"$3\""
}
lists_not() { ! lists "$@"; }
content() { [ "$(cat "$1" 2>/dev/null)" = "$2" ] || { echo "$1 is $(cat "$1" 2>&1)" && return 1; }; }
absent() { [ ! -e "$1" ] || { echo "$1 is there" && return 1; }; }
ready() { for _ in $(seq 100); do lists alice legacy files__read_text_file && return; done; return 1; }
check 'both upstreams are there' ready
office=10.1.2.3 home=192.0.2.7
for era in legacy modern; do
	echo "-- $era"
	inbox=$work/files/inbox/$era.txt archive=$work/files/archive/$era.txt
	write() { printf '{"path":"%s","content":"written by %s"}' "$1" "$era"; }
	check "$era: group: a guest sees none of the files" lists_not bob "$era" files__read_text_file
	check "$era: group: a guest has the memory" holds entities call bob "$era" "$office" memory__read_graph '{}'
	check "$era: group: what a guest does not see answers as what is not there" \
		unlisted bob files__read_text_file "{\"path\":\"$work/files/archive/old.txt\"}"
	check "$era: reads need no more than the group" holds 'kept as it is' call alice "$era" "$home" files__read_text_file "{\"path\":\"$work/files/archive/old.txt\"}"
	check "$era: argument: a write to the inbox" holds 'Successfully wrote' call alice "$era" "$office" files__write_file "$(write "$inbox")"
	check "$era: argument: it is on the disk" content "$inbox" "written by $era"
	check "$era: argument: a write elsewhere is denied" holds 'denied' call alice "$era" "$office" files__write_file "$(write "$archive")"
	check "$era: argument: and by a way around" holds 'denied' call alice "$era" "$office" files__write_file "$(write "$work/files/inbox/../archive/$era.txt")"
	check "$era: argument: neither is on the disk" absent "$archive"
	check "$era: label: no other tool that writes is listed" lists_not alice "$era" files__move_file
	check "$era: network: a write from home is denied in words" \
		holds 'denied: writes come from the office network' call alice "$era" "$home" files__write_file "$(write "$work/files/inbox/$era-home.txt")"
	check "$era: network: it is not on the disk" absent "$work/files/inbox/$era-home.txt"
	check "$era: client: the nightly job reads" holds 'kept as it is' call nightly "$era" "$office" files__read_text_file "{\"path\":\"$work/files/archive/old.txt\"}"
	check "$era: client: the nightly job sees no writes" lists_not nightly "$era" files__write_file
	check "$era: client: and can't make any" unlisted nightly files__write_file "$(write "$work/files/inbox/$era-nightly.txt")"
	check "$era: scope: the whole tree is listed" lists alice "$era" files__directory_tree
	check "$era: scope: but asks for one more" holds 'insufficient_scope' challenged alice "$era"
	check "$era: scope: with it, it runs" holds 'old.txt' call stepped "$era" "$office" files__directory_tree "{\"path\":\"$work/files\"}"
	check "$era: mask: alice notes something down" holds "canary-$era" call alice "$era" "$office" memory__create_entities \
		"{\"entities\":[{\"name\":\"Ada-$era\",\"entityType\":\"person\",\"observations\":[\"canary-$era\"]}]}"
	check "$era: mask: alice reads it" holds "canary-$era" call alice "$era" "$office" memory__read_graph '{}'
	check "$era: mask: bob reads whom it is about" holds "Ada-$era" call bob "$era" "$office" memory__read_graph '{}'
	check "$era: mask: but not what" lacks canary- call bob "$era" "$office" memory__read_graph '{}'
	check "$era: time: by day writes are listed" lists alice "$era" files__write_file
done

echo '-- budgets'
for n in 1 2 3; do
	check "rate: search $n of 3" holds entities call bob modern "$office" memory__search_nodes '{"query":"Ada"}'
done
for era in legacy modern; do
	check "$era: rate: one more is refused" holds 'too many requests' call bob "$era" "$office" memory__search_nodes '{"query":"Ada"}'
	check "$era: rate: who has no budget has no bound" holds entities call alice "$era" "$office" memory__search_nodes '{"query":"Ada"}'
done

echo '-- at night'
stop "$gateway"
start "$(zone 3)"
check 'the upstreams are back' ready
for era in legacy modern; do
	check "$era: time: at night no write is listed" lists_not alice "$era" files__write_file
	check "$era: time: nor can be made" unlisted alice files__write_file "{\"path\":\"$work/files/inbox/$era-night.txt\",\"content\":\"x\"}"
	check "$era: time: it is not on the disk" absent "$work/files/inbox/$era-night.txt"
	check "$era: time: reads go on" holds 'kept as it is' call alice "$era" "$office" files__read_text_file "{\"path\":\"$work/files/archive/old.txt\"}"
done

echo '-- the record'
stop "$gateway"
records() { op audit query --format json "$@"; }
check 'every refusal names who, what and why' holds 'writes come from the office network' records --user alice --tool write_file --decision deny
check 'with the arguments that were judged' holds "$work/files/inbox/modern-home.txt" records --user alice --tool write_file --decision deny
check 'and the client' holds '"id":"nightly"' records --client nightly --decision deny
check 'the log verifies' op audit verify
finish "$work/ostiary.log"
