#!/usr/bin/env bash
# PostgreSQL's look for all of src/: pg_bsd_indent (Debian: pg-bsd-indent) with the
# options of PostgreSQL's pgindent.  A new type goes into scripts/typedefs.list.
#
#   scripts/format.sh           change the files
#   scripts/format.sh --check   only say which are not as they should be
#
# By one version of it: 2.1.2, which comes with PostgreSQL 17, indents some initial values
# another way.

set -euo pipefail
cd "$(dirname "$0")/.."
command -v pg_bsd_indent >/dev/null || { echo 'taskq: pg_bsd_indent is missing (apt-get install pg-bsd-indent)' >&2; exit 1; }
version=2.1.1
if [[ $(pg_bsd_indent --version) != "pg_bsd_indent $version "* ]]; then
	echo "not the pg_bsd_indent that src/ is formatted with, $version: nothing checked or changed"
	[[ ${1-} = --check ]]
	exit
fi
options='-bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79 -lp -lpl -nip -npro -sac -tpg -ts4'
scratch=$(mktemp -d "${TMPDIR:-/tmp}/taskq-format.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
status=0
for file in src/*.c src/*/*.[ch]; do
	[[ $file != src/base/errnames.h ]] || continue
	# comments in the first column are left as they are
	sed 's|^/\* *$|/*---X_X|' "$file" >"$scratch/in"
	# shellcheck disable=SC2086
	pg_bsd_indent $options -Uscripts/typedefs.list <"$scratch/in" 2>"$scratch/err" |
		sed -E -e 's|^/\*---X_X|/*|' -e 's|^([A-Za-z_][^[:space:]]*)[[:space:]]+\*$|\1 *|' >"$scratch/out"
	[[ ! -s $scratch/err ]] || { sed "s|^|$file: |" "$scratch/err" >&2; status=1; }
	cmp -s "$file" "$scratch/out" && continue
	if [[ ${1-} = --check ]]; then
		echo "$file: not formatted (make format)"
		status=1
	else
		cat "$scratch/out" >"$file"
	fi
done
exit "$status"
