#!/usr/bin/env bash
# Every PostgreSQL that this machine has: all tests against those with a server,
# a build against those of which there are only headers.
#
#   scripts/versions.sh             all of them
#   scripts/versions.sh 17 18       these
#   scripts/versions.sh --build-only          no tests: a build against all but that of PG_CONFIG, and
#                                             against those whose headers apt offers; part of make test
#   T=t/003_crash.pl scripts/versions.sh      one test file
#
# Works in copies of the checkout, so no version meets another's object files.  What apt offers
# is unpacked in a scratch directory, not installed.

set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/taskq-versions.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
oldest=15
failed=0
build_only=
unset MAKEFLAGS MFLAGS MAKELEVEL

# What is not committed yet is tried as well.
copy() {
	mkdir "$1"
	tar -C "$root" --exclude={./.git,./build,./results,./output_iso,./tmp_check,'*.o','*.so',errnames.h} -cf - . | tar -xf - -C "$1"
}

# The names of errors come with the server; where there are only headers, those of another
# version do for a build.
errcodes() {
	local config file
	for config in "$1" "${PG_CONFIG:-pg_config}" /usr/lib/postgresql/*/bin/pg_config; do
		file=$("$config" --sharedir 2>/dev/null)/errcodes.txt
		[[ ! -e $file ]] || break
	done
	echo "$file"
}

build() {
	if make -s -C "$scratch/$1" all PG_CONFIG="$2" ERRCODES="$(errcodes "$2")"; then
		echo "PostgreSQL $1: built without warnings"
	else
		echo "PostgreSQL $1: failed to build"
		failed=1
	fi
}

try() {
	local version=$1 config=$2
	copy "$scratch/$version"
	chmod 755 "$scratch"
	if [[ -z $build_only && -x $("$config" --bindir)/postgres ]]; then
		printf '\n#### PostgreSQL %s: make test\n' "$version"
		ONE_VERSION=1 make -s -C "$scratch/$version" test PG_CONFIG="$config" || failed=1
	else
		build "$version" "$config"
	fi
	rm -rf "${scratch:?}/$version"
}

has_headers() {
	[[ -e $("$1" --includedir-server 2>/dev/null)/postgres.h ]]
}

installed() {
	local config
	for config in /usr/lib/postgresql/*/bin/pg_config; do
		! has_headers "$config" || cut -d/ -f5 <<<"$config"
	done
}

offered() {
	! command -v apt-cache >/dev/null || LC_ALL=C apt-cache -n search '^postgresql-server-dev-[0-9]+$' | sed 's/^postgresql-server-dev-\([0-9]*\) .*/\1/'
}

# Unpacks the headers, and PGXS, which Debian has in the package of clients.
fetch() (
	mkdir "$scratch/apt-$1" && cd "$scratch/apt-$1" &&
		timeout 60 apt-get download "postgresql-server-dev-$1" "postgresql-client-$1" >/dev/null 2>&1 &&
		for package in *.deb; do dpkg -x "$package" . || exit; done
)

if [[ ${1:-} = --build-only ]]; then
	build_only=1
	shift
fi
mine=
[[ -z $build_only ]] || mine=$("${PG_CONFIG:-pg_config}" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')

mapfile -t here < <(installed)
mapfile -t all < <({ installed; [[ -z $build_only ]] || offered; } | sort -nu)
found=0
for version in "${all[@]}"; do
	if ((version < oldest)) || [[ $version = "$mine" ]]; then continue; fi
	[[ $# = 0 || " $* " == *" $version "* ]] || continue
	found=1
	if [[ " ${here[*]} " == *" $version "* ]]; then
		try "$version" "/usr/lib/postgresql/$version/bin/pg_config"
	elif fetch "$version"; then
		try "$version" "$scratch/apt-$version/usr/lib/postgresql/$version/bin/pg_config"
	else
		echo "PostgreSQL $version: apt offers its headers, but they could not be fetched"
	fi
done
if [[ $found = 1 ]]; then
	exit "$failed"
elif [[ -n $build_only ]]; then
	echo "no headers of a PostgreSQL but $mine here, and apt offers none"
else
	echo 'taskq: no PostgreSQL with headers under /usr/lib/postgresql' >&2
	exit 1
fi
