#!/usr/bin/env bash
# People and real, unmodified clients sign in, unattended: two gateways, one
# with local accounts and client id metadata documents, one that sends people to
# the company's identity provider (oidc-provider) and lets clients register
# themselves. Claude Code signs in at both, Codex, Inspector and mcp-remote at
# the first; they stay signed in over a restart and ten expiries of their access
# tokens, and are asked again once an operator revoked them. At the second, two
# people of different groups see different tools, until one leaves the company.
# At a third a person with a real browser, Chromium, adds a passkey and signs in
# with it, where there is a Chromium.
#
#   conformance/signin.sh [PATH OF THE ostiary BINARY]
#
# Without a path it builds one. It needs npm, once (tools.sh), and go only to
# build. The last line is "N passed, N failed", and ", N not checked" where there
# is no Chromium; the exit code is 1 if any failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/clients/lib.sh"
cp "$here"/signin/* "$work/"
ttl=5       # seconds that an access token lives
expiries=10 # that the clients live through

# The people. Each has a browser of their own: a program that follows the URL
# which a client opens, signs in and approves.
person() { # NAME PASSWORD PROVIDER
	local bin=$work/bin-$1
	mkdir "$bin"
	echo "{\"username\": \"$1\", \"password\": \"$2\", \"provider\": $3}" >"$work/$1.json"
	cat >"$bin/browser" <<SH
#!/bin/sh
# In the background: a client may wait for its browser to return.
"$node" "$work/browser.mjs" "$work/$1.json" "\$1" >>"$work/browser-$1.log" 2>&1 &
SH
	chmod +x "$bin/browser"
	ln -s browser "$bin/xdg-open"
	touch "$work/browser-$1.log"
}
person local-alice 'correct horse battery' false
person alice any true
person bob any true
# by PERSON COMMAND...: the command's browser is this person's.
by() {
	local bin=$work/bin-$1
	shift
	PATH=$bin:$PATH BROWSER=$bin/browser timeout 120 "$@" </dev/null
}
# opened PERSON: how often this person's browser was sent somewhere.
opened() { wc -l <"$work/browser-$1.log"; }

# The servers and the identity provider.
modern=$(port)
"$node" "$work/modern-server.mjs" "$modern" >"$work/modern.log" 2>&1 &
pids+=($!)
cat >"$work/catalogs/signin.yaml" <<YAML
upstreams:
  modern:
    title: a server of the 2026-07-28 era
    url: http://127.0.0.1:$modern/mcp
  memory:
    title: server-memory
    command: ["$node", "$modules/@modelcontextprotocol/server-memory/dist/index.js"]
    env: {MEMORY_FILE_PATH: "$work/memory.json"}
YAML
local=127.0.0.1:$(port) company=127.0.0.1:$(port) provider=$(port)
echo '{"alice": ["engineering"], "bob": ["sales"]}' >"$work/people.json"
"$node" "$work/provider.mjs" "$provider" "$work/people.json" "http://$company/login/callback" >"$work/provider.log" 2>&1 &
pids+=($!)

# The gateways. At the second, a policy by group.
cat >"$work/local.yaml" <<YAML
oauth:
  accessTTL: ${ttl}s
  clientDocuments:
    enabled: false # the documents themselves are elsewhere; these are pinned
    pinned:
      https://claude.ai/oauth/claude-code-client-metadata: $work/claude-code.json
      https://chatgpt.com/oauth/codex/client.json: $work/codex.json
YAML
cat >"$work/company.yaml" <<YAML
oauth:
  accessTTL: ${ttl}s
  clientDocuments: {enabled: false}
oidc:
  issuer: http://127.0.0.1:$provider
  clientId: gateway
  clientSecret: the-gateways-own-secret
  title: the company
  maxAge: ${ttl}s
YAML
mkdir "$work/policies"
cat >"$work/policies/groups.rego" <<'REGO'
package ostiary

default allow := false

allow if {
	"engineering" in input.user.groups
	input.upstream == "modern"
}

allow if {
	"sales" in input.user.groups
	input.upstream == "memory"
}
REGO
echo 'correct horse battery' | "$ostiary" user add local-alice --group engineering --password-stdin --data "$work/data-local"
declare -A gateway
serve() { # NAME ADDRESS FLAG...
	"$ostiary" serve --config "$work/$1.yaml" --listen "$2" --catalogs "$work/catalogs" --data "$work/data-$1" "${@:3}" >>"$work/$1.log" 2>&1 &
	gateway[$1]=$!
	pids=("$!" "${pids[@]}")
	answers "http://$2/readyz" || fail "gateway $1 is ready" "$(tail -20 "$work/$1.log")"
}
# answers URL: it answers 200 within 30 s.
answers() { curl -fsS -o "$work/answer" --retry 150 --retry-delay 0 --retry-max-time 30 --retry-all-errors "$1" 2>"$work/curl.err"; }
answers "http://127.0.0.1:$provider/.well-known/openid-configuration" || fail 'the identity provider runs' "$(cat "$work/provider.log")"
serve local "$local"
serve company "$company" --dev --policies "$work/policies"
echo "-- gateways at http://$local/mcp and, with the company's sign-in, http://$company/mcp"

# log GATEWAY: its log, a record a line.
log() { "$ostiary" audit query --data "$work/data-$1" --format json; }
# events GATEWAY EVENT CLIENT: how often it happened to the client whose id holds CLIENT.
events() { log "$1" | grep -F "\"event\":\"$2\"" | grep -cF -- "$3" || true; }

echo '-- sign-in'
# Where these keep what is theirs.
export CODEX_HOME=$HOME/codex MCP_REMOTE_CONFIG_DIR=$HOME/mcp-remote
mkdir -p "$CODEX_HOME"
claude_code() { # PERSON ARG...
	local who=$1
	shift
	(cd "$HOME" && env -i HOME="$HOME" PATH="$work/bin-$who:$PATH" BROWSER="$work/bin-$who/browser" CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
		DISABLE_TELEMETRY=1 DISABLE_AUTOUPDATER=1 MCP_TIMEOUT=60000 timeout 120 "$@" </dev/null)
}
listed() { claude_code alice claude mcp list; }
# line NAME TEXT: what Claude Code says of the server NAME contains the text.
line() {
	local out
	out=$(listed)
	grep -E "^$1: " <<<"$out" | grep -qF -- "$2" || { echo "no $2 for $1 in: $out" && return 1; }
}
# It refuses to sign in without a terminal; script gives it one.
for name in local company; do
	check "Claude Code: mcp add $name" claude_code alice claude mcp add --transport http "$name" "http://${!name}/mcp"
	check "Claude Code: $name wants a sign-in" line "$name" 'Needs authentication'
done
check 'Claude Code signs in with its document' holds Authenticated claude_code local-alice script -qec 'claude mcp login local' /dev/null
check 'Claude Code registers itself and signs in through the company' holds Authenticated claude_code alice script -qec 'claude mcp login company' /dev/null

check 'Codex signs in with its document' by local-alice codex mcp add gw --url "http://$local/mcp"
check 'Codex says that it is signed in' holds OAuth codex mcp list

# Without a keyring it keeps tokens in a file, if it is given a key.
export MCP_INSPECTOR_SECRET_STORE=file MCP_INSPECTOR_SECRET_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= MCP_AUTO_OPEN_ENABLED=true
inspect() { # PERSON URL ERA [ARG...]: the names of the tools
	local who=$1 out
	out=$(MCP_STORAGE_DIR=$HOME/inspector-$who by "$who" mcp-inspector --cli --server-url "$2" --transport http --protocol-era "$3" \
		--format json --quiet --method tools/list "${@:4}" 2>"$work/inspector.err") || { echo "$out" && cat "$work/inspector.err" && return 1; }
	"$node" -e 'console.log(JSON.parse(fs.readFileSync(0)).result.tools.map((t) => t.name).join("\n"))' <<<"$out"
}
# again PERSON URL ERA: the names, without a new sign-in. On a busy machine
# Inspector takes so long that its new token has expired before it is used;
# then it says so and may try again.
again() {
	local out n
	for n in 1 2 3 4 5; do
		out=$(inspect "$@" --stored-auth-only) && break
		grep -qF '401 after re-authentication' <<<"$out" || break
	done
	echo "$out" && grep -q __ <<<"$out"
}
# One after the other: all of them listen at one port for the answer.
check 'Inspector registers itself and signs in' holds modern__add inspect local-alice "http://$local/mcp" legacy
check 'Inspector of the modern era is signed in, too' holds modern__add again local-alice "http://$local/mcp" modern
check 'its person was asked once' [ "$(opened local-alice)" = 3 ]

# The clients that stay: a line in, a round of work, a line out.
declare -A to from
stays() { # NAME COMMAND...
	local name=$1
	shift
	mkfifo "$work/$name.in" "$work/$name.out"
	PATH=$work/bin-local-alice:$PATH BROWSER=$work/bin-local-alice/browser "$@" <"$work/$name.in" >"$work/$name.out" 2>"$work/$name.err" &
	pids=("$!" "${pids[@]}")
	exec {to[$name]}>"$work/$name.in" {from[$name]}<"$work/$name.out"
}
begin() { echo >&"${to[$1]}"; }
# end NAME: the line that the round ends with.
end() {
	local said
	while IFS= read -r -t 60 -u "${from[$1]}" said; do
		case $said in
		*' tools') return ;;
		FAIL*) echo "$said" && return 1 ;;
		esac
	done
	echo "no answer within a minute" && tail -5 "$work/$1.err" && return 1
}
stays mcp-remote "$node" "$work/mcp-remote.mjs" "http://$local/mcp" rounds
stays codex "$node" "$work/codex.mjs" "http://$local/mcp" rounds
for name in mcp-remote codex; do
	begin "$name"
	check "$name lists and calls" end "$name"
done
check 'every browser got through' [ "$(cat "$work"/browser-*.log | grep -c '"problem"')" = 0 ]

echo '-- two people of the company'
check 'alice, of engineering, signs in through the company' holds modern__add inspect alice "http://$company/mcp" modern
check 'bob, of sales, signs in through the company' holds memory__read_graph inspect bob "http://$company/mcp" legacy
only() { # PERSON PREFIX: that and nothing else is listed, without a new sign-in
	local names
	names=$(again "$1" "http://$company/mcp" modern) && ! grep -v "^$2__" <<<"$names" || { echo "$1 sees: $names" && return 1; }
}
check 'alice sees what engineering may use' only alice modern
check 'bob sees what sales may use, at the same URL' only bob memory
recorded() { [ "$(log company | grep -F '"kind":"decision"' | grep -F "\"name\":\"$1 of the company\"" | grep -cF "\"groups\":[\"$2\"]")" -ge 1 ]; }
check 'the log has alice with her groups' recorded alice engineering
check 'the log has bob with his' recorded bob sales

echo '-- ten expiries, and a restart between'
bad=()
for n in $(seq "$expiries"); do
	sleep "$ttl" # what was issued before has expired
	if [ "$n" -eq 6 ]; then
		stop "${gateway[@]}"
		serve local "$local"
		serve company "$company" --dev --policies "$work/policies"
	fi
	begin codex
	begin mcp-remote
	listed >"$work/claude.out" 2>&1 &
	claude=$!
	era=modern
	if [ $((n % 2)) -eq 0 ]; then era=legacy; fi
	out=$(again local-alice "http://$local/mcp" "$era") || bad+=("Inspector, round $n, $era: $out")
	wait "$claude" || true
	[ "$(grep -c '✔ Connected' "$work/claude.out")" = 2 ] || bad+=("Claude Code, round $n: $(cat "$work/claude.out")")
	for name in codex mcp-remote; do
		out=$(end "$name") || bad+=("$name, round $n: $out")
	done
done
for name in 'Claude Code' codex mcp-remote Inspector; do
	mine=$(printf '%s\n' "${bad[@]}" | grep "^$name," || true)
	if [ -z "$mine" ]; then ok "$name stays signed in"; else fail "$name stays signed in" "$mine"; fi
done
check 'nobody was asked again' [ "$(opened local-alice) $(opened alice) $(opened bob)" = '4 2 1' ]
ids=$("$ostiary" client list --data "$work/data-local" --format json)
id() { "$node" -e 'const c = JSON.parse(process.argv[1]).find((c) => c.name.includes(process.argv[2])); console.log(c.id)' "$ids" "$1"; }
for name in 'Claude Code' Codex Inspector 'MCP CLI Proxy'; do
	n=$(events local token.refreshed "$(id "$name")")
	if [ "$n" -ge "$expiries" ]; then ok "$name: a new token for each that expired"; else fail "$name: a new token for each that expired" "$n"; fi
done

echo '-- the company changes its mind'
echo '{"alice": ["engineering"], "bob": ["engineering"]}' >"$work/people.json"
sleep "$ttl"
check 'bob, moved to engineering, sees its tools at the next refresh' only bob modern
echo '{"alice": ["engineering"]}' >"$work/people.json"
sleep "$ttl"
refused() { # PERSON URL: Inspector has no sign-in that works
	local out
	if out=$(again "$1" "$2" modern); then echo "still sees: $out" && return 1; fi
	grep -q 'auth_required\|[Uu]nauthorized\|401' <<<"$out" || { echo "fails otherwise: $out" && return 1; }
}
check 'bob, who left, is out at the next refresh' refused bob "http://$company/mcp"
check 'the log says that the provider does not know him' [ "$(events company user.not_vouched bob)" -ge 1 ]
check 'alice stays' only alice modern

echo '-- after client revoke they are asked again'
before=$(opened local-alice) # mcp-remote asks as soon as its stream ends
for name in 'Claude Code' Codex Inspector 'MCP CLI Proxy'; do
	check "client revoke: $name" "$ostiary" client revoke "$(id "$name")" --data "$work/data-local"
done
check 'Claude Code wants a sign-in' line local 'Needs authentication'
check 'at the other gateway it stays signed in' line company 'Connected'
check 'Inspector wants a sign-in' refused local-alice "http://$local/mcp"
asked() { # the person's browser is opened once more
	for _ in $(seq 300); do
		[ "$(opened local-alice)" -gt "$before" ] && return
		sleep 0.1
	done
	echo 'no browser was opened' && return 1
}
begin mcp-remote
check 'mcp-remote asks its person again' asked
begin codex
out=$(end codex) && fail 'Codex is refused' "$out" || ok 'Codex is refused'

echo '-- passkeys'
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -n "$chromium" ]; then
	named=$(port)
	echo '{}' >"$work/named.yaml"
	echo 'correct horse battery' | "$ostiary" user add carol --password-stdin --data "$work/data-named"
	serve named "127.0.0.1:$named" --public-url "http://localhost:$named"
	counted 'passkey in Chromium' "$node" "$work/passkey.mjs" "$chromium" "$work/chromium" "http://localhost:$named" carol 'correct horse battery'
	check 'the log says how carol signed in' holds '"hwk","user","mfa"' log named
else
	skipped 'passkeys in a real browser' 'no chromium, chromium-browser or google-chrome on PATH (Debian: apt-get install chromium)'
fi

finish "$work/local.log" "$work/company.log"
