# What clients.sh and signin.sh share: a work folder, the ostiary binary, the
# npm tools, processes that end with the script, and checks that are counted.
# Sourced with $here set to the folder conformance, and the script's arguments.
work=$(mktemp -d)
pids=()
stop() { # PID...: TERM, then KILL after ten seconds
	local pid
	for pid in "$@"; do kill -TERM "$pid" 2>/dev/null || continue; done
	for pid in "$@"; do
		for _ in $(seq 100); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
}
trap 'stop "${pids[@]}"; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ostiary=${1:-}
if [ -z "$ostiary" ]; then
	ostiary=$work/ostiary
	(cd "$here/.." && go build -buildvcs=false -o "$ostiary" ./cmd/ostiary)
fi
ostiary=$(realpath "$ostiary")
tools=$("$here/tools.sh")
# The scripts find their packages beside themselves, and every process that the
# gateway starts has a path in $work, by which it is told from others.
ln -s "$tools/node_modules" "$work/node_modules"
cp "$here"/clients/*.mjs "$work/"
modules=$work/node_modules
export PATH=$modules/.bin:$PATH
node=$modules/.bin/node
mkdir -p "$work/home" "$work/catalogs"
export HOME=$work/home # no client may find, or leave, anything of the user's

passed=0 failed=0 known=0 unchecked=0
is_known() { grep -qxF -- "$1" "$here/clients/known.txt"; }
ok() {
	if is_known "$1"; then
		fail "$1" 'passes now: take its line out of conformance/clients/known.txt'
	else
		passed=$((passed + 1))
		echo "ok   $1"
	fi
}
fail() { # NAME OUTPUT
	local word=FAIL
	if is_known "$1" && [ "${2#passes now}" = "$2" ]; then
		known=$((known + 1)) word=known
	else
		failed=$((failed + 1))
	fi
	printf '%s %s\n%s\n' "$word" "$1" "$(tail -c 1500 <<<"$2" | sed 's/^ */     /')"
}
# check NAME COMMAND...: the command succeeds.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then ok "$name"; else fail "$name" "$out"; fi
}
# skipped NAME WHY: it can't be checked here, and the last line says so.
skipped() {
	unchecked=$((unchecked + 1))
	printf 'not checked: %s\n     %s\n' "$1" "$2"
}
# counted NAME COMMAND...: a script of ours that prints a line for each check,
# "ok   WHAT" or "FAIL WHAT: WHY".
counted() {
	local name=$1 out status=0 line seen=0 what
	shift
	out=$(timeout 120 "$@" 2>&1) || status=$?
	while IFS= read -r line; do
		what="$name: $(sed -E 's/^(ok|FAIL) +//; s/: .*//' <<<"$line")"
		case $line in
		'ok   '*) ok "$what" ;;
		'FAIL '*) seen=1 && fail "$what" "$(cut -d: -f2- <<<"$line")" ;;
		esac
	done <<<"$out"
	if [ "$status" -ne 0 ] && [ "$seen" -eq 0 ]; then fail "$name: ends with $status" "$out"; fi
}
# holds TEXT COMMAND...: the output of the command contains the text.
holds() {
	local want=$1 out
	shift
	out=$("$@") || { echo "$out" && return 1; }
	grep -qF -- "$want" <<<"$out" || { echo "no $want in: $out" && return 1; }
}
port() { "$node" -e 'net.createServer().listen(0, "127.0.0.1", function () { console.log(this.address().port); this.close() })'; }
# finish LOG...: says how it went; the exit code is 1 if any check failed.
finish() {
	local log
	if [ "$failed" -gt 0 ]; then
		for log in "$@"; do
			echo "-- the end of $(basename "$log")"
			tail -n 30 "$log"
		done
	fi
	[ "$known" -eq 0 ] || echo "-- $known known failures are listed in conformance/clients/known.txt"
	echo "$passed passed, $failed failed$([ "$unchecked" -eq 0 ] || echo ", $unchecked not checked")"
	[ "$failed" -eq 0 ]
}
