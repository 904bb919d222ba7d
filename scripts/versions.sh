#!/usr/bin/env bash
# Every PostgreSQL that this machine has: all tests against those with a server,
# a build against those of which there are only headers.
#
#   scripts/versions.sh             all of them
#   scripts/versions.sh 17 18       these
#   T=t/003_crash.pl scripts/versions.sh      one test file
#
# Works in copies of the checkout, so no version meets another's object files.

set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/taskq-versions.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
failed=0

# What is not committed yet is tried as well.
copy() {
	mkdir "$1"
	(cd "$root" && git ls-files -z --cached --others --exclude-standard | tar --null -T - -cf -) | tar -xf - -C "$1"
}

try() {
	local version=$1 config=$2 bin
	bin=$("$config" --bindir)
	copy "$scratch/$version"
	chmod 755 "$scratch"
	if [[ -x $bin/postgres ]]; then
		printf '\n#### PostgreSQL %s: make test\n' "$version"
		make -s -C "$scratch/$version" test PG_CONFIG="$config" || failed=1
	else
		printf '\n#### PostgreSQL %s: build only, no server here\n' "$version"
		if make -s -C "$scratch/$version" all PG_CONFIG="$config"; then echo '   built without warnings'; else failed=1; fi
	fi
	rm -rf "${scratch:?}/$version"
}

found=0
for config in /usr/lib/postgresql/*/bin/pg_config; do
	version=$(cut -d/ -f5 <<<"$config")
	[[ -e $("$config" --includedir-server 2>/dev/null)/postgres.h ]] || continue
	[[ $# = 0 || " $* " == *" $version "* ]] || continue
	found=1
	try "$version" "$config"
done
[[ $found = 1 ]] || { echo 'taskq: no PostgreSQL with headers under /usr/lib/postgresql' >&2; exit 1; }
exit "$failed"
