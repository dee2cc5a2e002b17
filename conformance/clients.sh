#!/usr/bin/env bash
# Ostiary's main job with nothing of ours at either end: real, unmodified
# clients (Inspector in both eras, the TypeScript SDKs 1.x and 2.x, the AI SDK,
# mcp-remote, Claude Code, Codex, Gemini CLI) use real, unmodified servers
# (everything, filesystem, memory, an SDK 2.x server) through one gateway, one
# after the other and then all at once.
#
#   conformance/clients.sh [PATH OF THE ostiary BINARY]
#
# Without a path it builds one. It needs npm, once (tools.sh), and go only to
# build. The last line is "N passed, N failed"; the exit code is 1 if any failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

. "$here/clients/lib.sh"

# The servers.
mkdir "$work/files"
echo 'a file' >"$work/files/read-me.txt"
modern=$(port)
"$node" "$work/modern-server.mjs" "$modern" >"$work/modern.log" 2>&1 &
pids+=($!)
everything=$(port)
PORT=$everything "$node" "$modules/@modelcontextprotocol/server-everything/dist/index.js" streamableHttp >"$work/everything.log" 2>&1 &
pids+=($!)
server() { echo "$modules/@modelcontextprotocol/server-$1/dist/index.js"; }
cat >"$work/catalogs/clients.yaml" <<YAML
upstreams:
  everything:
    title: server-everything over stdio
    command: ["$node", "$(server everything)"]
  everything-http:
    title: server-everything over Streamable HTTP
    url: http://127.0.0.1:$everything/mcp
  files:
    title: server-filesystem
    command: ["$node", "$(server filesystem)", "$work/files"]
  memory:
    title: server-memory
    command: ["$node", "$(server memory)"]
    env: {MEMORY_FILE_PATH: "$work/memory.json"}
  modern:
    title: a server of the 2026-07-28 era
    url: http://127.0.0.1:$modern/mcp
YAML

# The gateway.
listen=127.0.0.1:$(port)
url=http://$listen/mcp
"$ostiary" serve --no-auth --listen "$listen" --catalogs "$work/catalogs" --data "$work/data" >"$work/ostiary.log" 2>&1 &
gateway=$!
pids=("$gateway" "${pids[@]}")
echo "-- gateway at $url"
if ! "$node" "$work/ready.mjs" "$url" 30 everything everything-http files memory modern >"$work/tools.txt" 2>"$work/ready.err"; then
	fail 'every upstream offers its tools within 30 s' "$(cat "$work/ready.err" "$work/ostiary.log")"
else
	ok 'every upstream offers its tools within 30 s'
fi

echo '-- Inspector'
inspect() { # ERA METHOD ARGS...
	local era=$1 method=$2
	shift 2
	timeout 120 mcp-inspector --cli --server-url "$url" --transport http --protocol-era "$era" --format json --quiet --method "$method" "$@"
}
names() { "$node" -e 'console.log(JSON.parse(fs.readFileSync(0)).result.tools.map((t) => t.name).sort().join("\n"))'; }
same_tools() {
	inspect legacy tools/list | names >"$work/legacy.txt"
	inspect modern tools/list | names >"$work/modern.txt"
	diff "$work/legacy.txt" "$work/modern.txt"
}
# complete compares what a server says itself with what the gateway offers of
# it. More is allowed: servers hide tools from a client that can't be asked.
complete() { # PREFIX SERVER ARGS...
	local prefix=$1
	shift
	timeout 120 mcp-inspector --cli --format json --quiet --method tools/list "$node" "$@" | names |
		grep -vxE 'get-roots-list|simulate-research-query' | sed "s/^/${prefix}__/" >"$work/own.txt"
	[ -s "$work/own.txt" ] && [ -z "$(comm -23 <(sort "$work/own.txt") <(sort "$work/legacy.txt"))" ] ||
		{ comm -23 <(sort "$work/own.txt") <(sort "$work/legacy.txt") && return 1; }
}
check 'the same tools in both eras' same_tools
check 'all of everything' complete everything "$(server everything)"
check 'all of everything over HTTP' complete everything-http "$(server everything)"
check 'all of filesystem' complete files "$(server filesystem)" "$work/files"
check 'all of memory' complete memory "$(server memory)"
for era in legacy modern; do
	check "$era: everything, stdio: echo" holds 'Echo: grüezi' inspect "$era" tools/call --tool-name everything__echo --tool-arg message=grüezi
	check "$era: everything, HTTP: get-sum" holds 'is 42' inspect "$era" tools/call --tool-name everything-http__get-sum --tool-arg a=2 b=40
	check "$era: filesystem: read_text_file" holds 'a file' inspect "$era" tools/call --tool-name files__read_text_file --tool-arg "path=$work/files/read-me.txt"
	check "$era: memory: create_entities" holds "Ada-$era" inspect "$era" tools/call --tool-name memory__create_entities \
		--tool-args-json "{\"entities\":[{\"name\":\"Ada-$era\",\"entityType\":\"person\",\"observations\":[\"counts\"]}]}"
	check "$era: memory: read_graph" holds "Ada-$era" inspect "$era" tools/call --tool-name memory__read_graph
	check "$era: modern server: add" holds '42' inspect "$era" tools/call --tool-name modern__add --tool-arg a=2 b=40
	check "$era: prompts/get of everything" holds 'Bern' inspect "$era" prompts/get --prompt-name everything__args-prompt --prompt-args city=Bern
	check "$era: prompts/get of the modern server" holds 'Greet Ada.' inspect "$era" prompts/get --prompt-name modern__greet --prompt-args name=Ada
	uri=$(inspect "$era" resources/list | "$node" -e 'console.log(JSON.parse(fs.readFileSync(0)).result.resources.find((r) => r.uri.startsWith("note://welcome"))?.uri ?? "none")' || true)
	check "$era: resources/read of the modern server" holds 'welcome' inspect "$era" resources/read --uri "$uri"
	check "$era: resources/read of a bare URI" holds 'welcome' inspect "$era" resources/read --uri note://welcome
	check "$era: resources/templates/list" holds 'note://number/{n}' inspect "$era" resources/templates/list
done

for sdk in sdk-v1 sdk-v2; do
	echo "-- $sdk"
	for path in /mcp /mcp/everything /mcp/everything-http /mcp/modern; do
		counted "$sdk at $path" "$node" "$work/$sdk.mjs" "http://$listen$path"
	done
done

# Where these keep what is theirs.
export CODEX_HOME=$HOME/codex MCP_REMOTE_CONFIG_DIR=$HOME/mcp-remote
mkdir -p "$CODEX_HOME" "$HOME/.gemini"
for client in ai-sdk mcp-remote codex; do
	echo "-- $client"
	counted "$client at /mcp" "$node" "$work/$client.mjs" "$url"
done

echo '-- Claude Code'
claude_code() {
	(cd "$work/home" && timeout 120 env -i HOME="$HOME" PATH="$PATH" CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
		DISABLE_TELEMETRY=1 DISABLE_AUTOUPDATER=1 MCP_TIMEOUT=60000 "$modules/.bin/claude" "$@")
}
check 'claude mcp add' claude_code mcp add --transport http gw "$url"
check 'claude mcp list' holds 'Connected' claude_code mcp list

echo '-- Gemini CLI'
# It speaks 2025-06-18 and leaves out the MCP-Protocol-Version header, which
# that revision demands (Streamable HTTP, Protocol Version Header): the relay
# shows that it did.
relay=$(port)
"$node" "$work/relay.mjs" "$relay" "${listen#*:}" >"$work/relay.log" 2>&1 &
pids+=($!)
gemini() {
	(cd "$work/home" && timeout 120 env -i HOME="$HOME" PATH="$PATH" "$modules/.bin/gemini" "$@" 2>&1)
}
cat >"$HOME/.gemini/settings.json" <<JSON
{"security": {"folderTrust": {"enabled": false}}, "privacy": {"usageStatisticsEnabled": false},
 "mcpServers": {"gw": {"httpUrl": "http://127.0.0.1:$relay/mcp"}}}
JSON
check 'gemini mcp list' holds '- Connected' gemini mcp list
check 'gemini initializes with 2025-06-18' grep -q '"method":"initialize","offered":"2025-06-18"' "$work/relay.log"
check 'gemini pings without a version header' grep -q '"header":null,"method":"ping"' "$work/relay.log"

echo '-- all at once'
# Each client of the crowd has a mark, which is in the arguments of its calls.
# The last two offer no way to call a tool without a model: they connect.
cat >"$work/crowd.txt" <<'TXT'
inspector-legacy legacy inspector-cli
inspector-modern modern inspector-cli
sdk-v1 legacy sdk-v1
sdk-v2 modern sdk-v2
ai-sdk modern ai-sdk-mcp-client
mcp-remote legacy stdio-only (via mcp-remote 0.15.1)
codex legacy codex-mcp-client
claude-code modern claude-code
gemini legacy mcp-test-client
TXT
inspector_crowd() { # ERA
	local n text
	inspect "$1" tools/list | names | diff "$work/legacy.txt" -
	for n in 0 1; do
		text=inspector-$1-$n
		holds "Echo: $text\"" inspect "$1" tools/call --tool-name everything__echo --tool-arg "message=$text"
		echo "made everything $text"
		holds "Echo: $text\"" inspect "$1" tools/call --tool-name everything-http__echo --tool-arg "message=$text"
		echo "made everything-http $text"
	done
}
member() { # MARK: what this client does
	case $1 in
	inspector-*) inspector_crowd "${1#inspector-}" ;;
	claude-code) holds 'Connected' claude_code mcp list ;;
	gemini) holds '- Connected' gemini mcp list ;;
	*) timeout 120 "$node" "$work/$1.mjs" "$url" "$1" ;;
	esac
}
since=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
began=$SECONDS
crowd=()
for mark in $(cut -d' ' -f1 "$work/crowd.txt"); do
	(
		set -e
		member "$mark"
	) >"$work/crowd-$mark.log" 2>&1 &
	crowd+=($!)
done
i=0
for mark in $(cut -d' ' -f1 "$work/crowd.txt"); do
	if wait "${crowd[i]}"; then ok "at once: $mark"; else fail "at once: $mark" "$(cat "$work/crowd-$mark.log")"; fi
	i=$((i + 1))
done
echo "-- all at once: $((SECONDS - began)) s"
grep -h '^made ' "$work"/crowd-*.log >"$work/made.txt" || true
audited() {
	"$ostiary" audit verify --data "$work/data" &&
		"$ostiary" audit query --data "$work/data" --since "$since" --format json | "$node" "$work/log.mjs" "$work/crowd.txt" "$work/made.txt"
}
check 'the log has every call of the crowd under its agent' audited

echo '-- the end'
check 'the gateway still runs' kill -0 "$gateway"
began=$SECONDS
stop "$gateway"
if [ $((SECONDS - began)) -le 9 ]; then ok 'TERM ends the gateway'; else fail 'TERM ends the gateway' "$(tail -20 "$work/ostiary.log")"; fi
# What the gateway started has a server's path in its command line and the
# servers that this script started do not run over stdio.
# The brackets keep grep from finding itself.
left=$(grep -lz "$modules/[@]modelcontextprotocol/server-" /proc/[0-9]*/cmdline 2>/dev/null | grep -v "/${pids[2]}/" || true)
if [ -z "$left" ]; then ok 'no upstream process is left behind'; else fail 'no upstream process is left behind' "$left"; fi

finish "$work/ostiary.log"
