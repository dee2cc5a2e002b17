#!/usr/bin/env bash
# Installs the npm packages of package.json (exact versions, no install scripts)
# into a cache folder and prints that folder. A second run installs nothing.
#
#   conformance/tools.sh [FOLDER WITH package.json AND package-lock.json]
#
# OSTIARY_TOOLS names the cache; default ${XDG_CACHE_HOME:-~/.cache}/ostiary-conformance.
# Node 22, which the tools need, is one of the packages: any node that runs npm will do.
set -euo pipefail

from=${1:-$(dirname "${BASH_SOURCE[0]}")}
cache=${OSTIARY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/ostiary-conformance}
# The folder's name is its contents: a changed pin is another folder.
version=$(cat "$from/package.json" "$from/package-lock.json" | sha256sum | cut -c1-16)
tools=$cache/npm-$version

if [ ! -e "$tools/ready" ]; then
	command -v npm >/dev/null || {
		echo "tools.sh: npm is not on PATH: install Node and npm (Debian: apt-get install npm)" >&2
		exit 1
	}
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/installing-XXXXXX")
	trap 'rm -rf "$work"' EXIT
	cp "$from/package.json" "$from/package-lock.json" "$work/"
	# Engine warnings are about the node that runs npm, not the one installed here.
	(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
	# The one install script that is needed puts Claude Code's own binary in place.
	claude=$work/node_modules/@anthropic-ai/claude-code
	if [ -e "$claude/install.cjs" ]; then
		(cd "$claude" && PATH="$work/node_modules/.bin:$PATH" node install.cjs >&2)
	fi
	touch "$work/ready"
	# Two at once: the first to finish wins, the other's work is thrown away.
	mv -T "$work" "$tools" 2>/dev/null || [ -e "$tools/ready" ]
fi
echo "$tools"
