#!/usr/bin/env bash
# All tests: regression, isolation, pgTAP, TAP (crash, restart, promotion) and HTTP.
#
#   make test                       everything
#   make test T=t/003_crash.pl      one file; also T=sql/…, T=specs/…, T=pgtap/…, several, or a directory
#   make test SANITIZE=undefined    with a build that checks for undefined behaviour
#   make test VALGRIND=1 T=…        the server under valgrind; not for T=t/…
#   make test ONE_VERSION=1         no build against other versions of PostgreSQL
#
# A failed run leaves logs and diffs in build/test.  The servers are in TMPDIR; if that is not
# set, in memory where there is room.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

read -ra only <<<"${T:-}"
only=("${only[@]#test/}")
limit=${TEST_TIMEOUT:-300}
timeout=(timeout --foreground -s INT -k 10 "$limit")
passed=0
failed=0
took=()
node_modules=

header() {
	printf '\n== %s\n' "$*"
}

# The files of one sort that are to run, relative to test/.
files() {
	local file
	(cd "$root/test" && compgen -G "$1" || true) | LC_ALL=C sort | while read -r file; do
		if ((!${#only[@]})) || [[ " ${only[*]} " == *" $file "* || " ${only[*]} " == *" ${file%%/*} "* ]]; then
			echo "$file"
		fi
	done
}

add() {
	passed=$((passed + $1))
	failed=$((failed + $2))
}

# 4 GB, and programs can be run there.
memory() {
	local try
	[[ $(df -kP /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }') -gt 4000000 ]] && try=$(mktemp /dev/shm/taskq-try.XXXXXX 2>/dev/null) || return 1
	cp /bin/true "$try" && chmod 700 "$try" && "$try" && rm "$try" && return
	rm -f "$try"
	return 1
}

keep_for_inspection() {
	mkdir -p "$root/build/test"
	cp -r "$@" "$root/build/test/" 2>/dev/null || true
}

# What the server logged since the last time and should not have (test/t/ServerLog.pm): a
# failure of the test files that are named.  They announce what has to be there.
check_log() {
	local faults
	faults=$(perl -I"$root/test/t" -MServerLog -e 'exit ServerLog::main(@ARGV)' "$scratch/server.log" "$@") || {
		head -n 20 <<<"$faults" | cut -c 1-300 | sed 's/^/      /'
		add 0 1
	}
}

# Runs a command that has $limit seconds, in a process group of its own: no
# process of a test that hung outlives it.
limited() {
	local log=$1 status=0
	shift
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	job=$!
	set +m
	wait "$job" || status=$?
	kill -- "-$job" 2>/dev/null || true
	job=
	[[ $status != 124 ]] || echo "took longer than $limit s" >>"$log"
	return "$status"
}

# pg_regress or pg_isolation_regress.  $1 says which: REGRESS or ISOLATION.
run_regress() {
	local suite=$1 other=ISOLATION log=$scratch/log/$1.log names ok bad status=0
	shift
	names=("${@##*/}")
	[[ $suite = REGRESS ]] || other=REGRESS
	limited "$log" "${timeout[@]}" make -s -C "$root" installcheck "$suite=${names[*]%.*}" "$other=" || status=$?
	grep -E '^(not )?ok |\.\.\. +(ok|FAILED)' "$log" | sed 's/^/   /' || true
	ok=$(grep -cE '^ok |\.\.\. +ok' "$log") || true
	bad=$(($# - ok))
	if [[ $status != 0 || $bad != 0 ]]; then
		[[ $bad != 0 ]] || bad=1
		if [[ -s $root/regression.diffs ]]; then head -n 200 "$root/regression.diffs"; else tail -n 20 "$log"; fi
		keep_for_inspection "$log" "$root/regression.diffs" "$root/results"
	fi
	add "$ok" "$bad"
	check_log "${@/#/$root/test/}"
}

# One file that prints TAP: prove checks the plan and the exit code.
run_tap() {
	local file=$1 log=$scratch/log/${1//\//_}.log start=$SECONDS prove=(prove -v) ok bad status=0
	shift
	[[ $file != *.sql ]] || prove+=(--exec 'psql -XAtq -v ON_ERROR_STOP=1 -P pager=off -f')
	limited "$log" "$@" "${timeout[@]}" "${prove[@]}" "$file" || status=$?
	ok=$(awk '/^ok [0-9]/ && tolower($0) !~ /# *skip/' "$log" | wc -l)
	bad=$(awk '/^not ok [0-9]/ && tolower($0) !~ /# *todo/' "$log" | wc -l)
	[[ $status = 0 || $bad != 0 ]] || bad=1
	took+=("$((SECONDS - start)) s $file")
	printf '   %-36s %4d passed, %d failed  %3d s\n' "$file" "$ok" "$bad" $((SECONDS - start))
	if [[ $bad != 0 ]]; then
		grep -vE '^ok [0-9]' "$log" | tail -n 60 | sed 's/^/      /'
		keep_for_inspection "$log" "$scratch/test/tmp_check/log"
		servers_stop "$scratch/test" immediate
	fi
	add "$ok" "$bad"
}

# A file that makes servers of its own.
run_perl() {
	run_tap "$1" as_pg env -C "$scratch/test" TESTDIR="$scratch/test" \
		TESTDATADIR="$scratch/test/tmp_check" TESTLOGDIR="$scratch/test/tmp_check/log" \
		PG_REGRESS="$pkglibdir/pgxs/src/test/regress/pg_regress" INITDB_TEMPLATE="$scratch/template" TASKQ_NODE_MODULES="$node_modules" \
		PERL5LIB="$pkglibdir/pgxs/src/test/perl:$scratch/test/t:$scratch/test/http${PERL5LIB:+:$PERL5LIB}"
}

# What test/http says over the stand-in is to be said over PostgREST as well, where there is one;
# the board is tried in a browser, where that is installed.
skipped_http() {
	local log skipped
	for log in "$scratch"/log/http_*.log; do
		skipped=$(sed -n 's/^http\/.* \.\. skipped: //p' "$log" | head -n 1)
		[[ -z $skipped ]] || printf '   all of %s was skipped: %s\n' "$(basename "$log" .log | sed 's|_|/|')" "$skipped"
	done
	skipped=$(cat "$scratch"/log/http_*.log | grep -ciE '^ok [0-9].*# *skip') || return 0
	printf '   %d tests were skipped, as PostgREST or nginx is not on the PATH: docs/http.md says how to get it\n' "$skipped"
}

# The packages of test/board are many files: left where they are, if who runs the tests can read them.
node_modules_find() {
	node_modules=$root/test/board/node_modules
	[[ -d $node_modules ]] || return 0
	if ! as_pg test -r "$node_modules/puppeteer-core/package.json"; then
		cp -r "$node_modules" "$scratch/test/board/"
		node_modules=$scratch/test/board/node_modules
	fi
}

# Each pgTAP file gets a database of its own; its prologue makes the extensions.
run_pgtap() {
	local file=$1
	# Again and again: a server that the file before it crashed may be in recovery.
	for _ in {1..600}; do
		! createdb pgtap 2>/dev/null || break
		sleep 0.1
	done
	# CREATE DATABASE sends autovacuum away from the template
	check_log --allow 'FATAL:  terminating autovacuum process due to administrator command'
	run_tap "$file" env -C "$scratch/test" PGDATABASE=pgtap
	check_log "$root/test/$file"
	dropdb --force pgtap || true
	check_log --allow 'FATAL:  terminating (connection|autovacuum process|background worker "taskq \w+") due to administrator command'
}

# What valgrind says goes to files, which are looked at in the end.  What a sanitizer says is
# in the servers' logs, whatever its options say, and fails the test as all else there.
checks_begin() {
	[[ -n ${VALGRIND:-} ]] || return 0
	mkdir -m 1777 "$scratch/log/checks"
	server=$scratch/postgres
	printf '#!/bin/sh\nexec valgrind -q --trace-children=yes --leak-check=no --error-limit=no --num-callers=30 --log-file=%q %q "$@"\n' \
		"$scratch/log/checks/valgrind.%p" "$bindir/postgres" >"$server"
	chmod 755 "$server"
}

# The files with reports of taskq: one of the five innermost functions is in its sources.  With
# debug information valgrind names their files, without it taskq.so.  Not what is written of
# padding, which PostgreSQL suppresses itself (its valgrind.supp).
reports_of_taskq() {
	awk -v names="$(cd "$root/src" && printf '%s ' *.c */*.c | sed 's|[a-z]*/||g')" '
		BEGIN { n = split(names, a, " "); for (i = 1; i <= n; i++) ours[a[i]] = 1 }
		/^==[0-9]+== [A-Z]/ { padding = /^==[0-9]+== Syscall param p?write/ }
		/^==[0-9]+==    at 0x/ { depth = 0 }
		/^==[0-9]+==    (at|by) 0x/ && ++depth <= 5 && !padding && !(FILENAME in found) {
			file = $NF
			gsub(/^\(|:[0-9]+\)$/, "", file)
			if (file in ours || /taskq\.so/) { found[FILENAME] = 1; print FILENAME }
		}' "$@"
}

checks_end() {
	local reports
	[[ -n ${VALGRIND:-} ]] || return 0
	mapfile -t reports < <(reports_of_taskq "$scratch"/log/checks/*)
	header "memory: ${#reports[@]} of $(find "$scratch/log/checks" -type f | wc -l) processes have reports"
	((${#reports[@]})) || return 0
	head -n 40 "${reports[@]:0:5}"
	keep_for_inspection "$scratch/log/checks"
	add 0 "${#reports[@]}"
}

main() {
	local sql specs pgtap tap http file
	mapfile -t sql < <(files 'sql/*.sql')
	mapfile -t specs < <(files 'specs/*.spec')
	mapfile -t pgtap < <(files 'pgtap/*.sql')
	mapfile -t tap < <(files 't/*.pl')
	mapfile -t http < <(files 'http/*.pl')
	if ! ((${#sql[@]} + ${#specs[@]} + ${#pgtap[@]} + ${#tap[@]} + ${#http[@]})); then
		say "no such test: ${only[*]:-test/*}"
		exit 1
	fi

	header "build and install"
	[[ -z ${SANITIZE:-} ]] || make -s -C "$root" clean
	taskq_install test
	# The next build is another one.
	[[ -z ${SANITIZE:-} ]] || make -s -C "$root" clean
	"$bindir/postgres" --version | sed 's/^/   /'
	rm -rf "$root/build/test"
	[[ -n ${TMPDIR:-} ]] || ! memory || TMPDIR=/dev/shm
	scratch_begin taskq-test
	mkdir "$scratch/test"
	find "$root/test" -mindepth 1 -maxdepth 1 ! -name board -exec cp -rp {} "$scratch/test/" \;
	mkdir "$scratch/test/board"
	find "$root/test/board" -mindepth 1 -maxdepth 1 ! -name node_modules -exec cp -rp {} "$scratch/test/board/" \;
	cp -rp "$root/docs" "$root/examples" "$root/board" "$root/src" "$root/sql" "$root/Makefile" "$root/taskq.control" "$scratch/"
	mkdir "$scratch/log"
	((!${#http[@]})) || node_modules_find
	checks_begin
	[[ $(id -u) != 0 ]] || chown -R "$pg_user": "$scratch"

	if [[ -z ${T:-} ]]; then
		header "the floors of src/"
		if (cd "$root" && scripts/floors.pl) | sed 's/^/   /'; then add 1 0; else add 0 1; fi
		if command -v pg_bsd_indent >/dev/null; then
			if scripts/format.sh --check | sed 's/^/   /'; then add 1 0; else add 0 1; fi
		fi
		if [[ -z ${ONE_VERSION:-} ]]; then
			header "a build against other versions of PostgreSQL"
			if TMPDIR=$scratch "$root/scripts/versions.sh" --build-only 2>&1 | sed 's/^/   /'; then add 1 0; else add 0 1; fi
		fi
	fi
	if ((${#sql[@]} + ${#specs[@]} + ${#pgtap[@]})); then
		cluster_start "max_worker_processes = 16" "max_prepared_transactions = 10" "log_connections = on"
	fi
	if ((${#sql[@]})); then
		header "regression: ${#sql[@]} files"
		run_regress REGRESS "${sql[@]}"
	fi
	if ((${#specs[@]})); then
		header "isolation: ${#specs[@]} files"
		run_regress ISOLATION "${specs[@]}"
	fi
	if ((${#pgtap[@]})); then
		header "pgTAP: ${#pgtap[@]} files"
		for file in "${pgtap[@]}"; do
			run_pgtap "$file"
		done
	fi
	if ((${#sql[@]} + ${#specs[@]} + ${#pgtap[@]})); then
		cluster_stop || add 0 1
		check_log
	fi
	# PostgreSQL::Test::Cluster makes its own servers and picks its own ports.
	unset PGHOST PGPORT PGUSER PGDATABASE
	((${#tap[@]} + ${#http[@]} == 0)) || as_pg env LC_MESSAGES=C initdb -D "$scratch/template" -A trust -N >"$scratch/initdb.log"
	if ((${#tap[@]})); then
		header "crash, restart and other whole-server tests: ${#tap[@]} files"
		for file in "${tap[@]}"; do
			run_perl "$file"
		done
	fi
	if ((${#http[@]})); then
		header "HTTP: ${#http[@]} files, by $(command -v postgrest || echo 'a stand-in for PostgREST only')"
		for file in "${http[@]}"; do
			run_perl "$file"
		done
		skipped_http
	fi

	checks_end
	if [[ $failed != 0 ]]; then
		keep_for_inspection "$scratch/server.log"
		: >"$scratch/server.log"
		printf '\nLogs and diffs of what failed are in build/test.\n'
	fi
	if ((${#took[@]} > 1)); then
		printf '\nslowest: %s\n' "$(printf '%s\n' "${took[@]}" | sort -rn | head -n 5 | paste -sd, | sed 's/,/, /g')"
	fi
	printf '\n%d passed, %d failed in %d s\n' "$passed" "$failed" "$SECONDS"
	[[ $failed = 0 ]]
}

main
