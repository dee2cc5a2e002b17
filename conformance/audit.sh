#!/usr/bin/env bash
# No audit, no request: a real gateway with a real upstream is killed under
# load, its disk is filled, its writes are made to fail and to hang, and each
# time every call that ran must have its record, every other be refused, and
# service resume by itself. auditproof does the work; this prepares what it
# needs of the machine.
#
#   conformance/audit.sh [PATH OF THE ostiary BINARY]
#
# OSTIARY_KILLS says how often it is killed; default 20. Without a path it builds
# the binary. The small disk needs a mount, and failing syscalls need strace
# (installed with apt where there is none and we are root): what can't be had is
# said and counted in the last line. The exit code is 1 if anything failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
mounted=()
cleanup() {
	local dir
	for dir in "${mounted[@]}"; do umount "$dir" 2>/dev/null || umount -l "$dir" || true; done
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ostiary=${1:-}
if [ -z "$ostiary" ]; then
	ostiary=$work/ostiary
	(cd "$here/.." && go build -buildvcs=false -o "$ostiary" ./cmd/ostiary)
fi
ostiary=$(realpath "$ostiary")
(cd "$here/.." && go build -buildvcs=false -o "$work/auditproof" ./conformance/auditproof)

flags=()
mkdir "$work/small" "$work/readonly"
if mount -t tmpfs -o size=48m,mode=700 auditproof "$work/small" 2>"$work/mount.err"; then
	mounted+=("$work/small")
	flags+=(-small "$work/small")
	if mount -t tmpfs -o size=1m,ro auditproof "$work/readonly" 2>>"$work/mount.err"; then
		mounted+=("$work/readonly")
		flags+=(-readonly "$work/readonly")
	fi
fi
if ! command -v strace >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	{ apt-get -qq update && apt-get -qq install -y --no-install-recommends strace; } >"$work/apt.log" 2>&1 || tail -5 "$work/apt.log" >&2
fi
# May it attach? Only a try tells.
if command -v strace >/dev/null; then
	sleep 30 &
	probe=$!
	timeout -s INT 1 strace -qq -o /dev/null -p "$probe" 2>"$work/strace.err" || true
	kill "$probe" 2>/dev/null || true
	wait "$probe" 2>/dev/null || true
	if [ -s "$work/strace.err" ]; then cat "$work/strace.err" >&2; else flags+=(-strace); fi
fi
cd "$work"
"$work/auditproof" -ostiary "$ostiary" -rounds "${OSTIARY_KILLS:-20}" "${flags[@]}"
