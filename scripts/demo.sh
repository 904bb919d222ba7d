#!/usr/bin/env bash
# See taskq work, on a throw-away server with pgbench's million accounts.
# All that is shown comes from taskq's own views.
#
#   make demo              leaves nothing behind
#   make demo KEEP=1       leaves the server running, to go on in psql
#   scripts/demo.sh stop DIRECTORY      ends such a server

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

live=
[[ ! -t 1 || ${TERM:-dumb} == dumb ]] || live=1
columns=$(tput cols 2>/dev/null || echo 80)
# Bars as in the view demo.bars, but shorter where the messages after them would be cut.
bar=30
[[ -z $live ]] || ((columns >= 102)) || bar=$((columns > 79 ? columns - 72 : 7))

title() {
	if [[ -n $live ]]; then printf '\n\e[1m%s\e[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

# What takes some seconds is said before it is done.
step() {
	printf '  %s ...\n' "$*"
}

# Bars need a terminal that knows them.
plain() {
	if [[ $(locale charmap 2>/dev/null) == UTF-8 ]]; then cat; else sed -u 's/█/#/g; s/░/./g'; fi
}

# A statement as one types it in psql.
typed() {
	awk -v on="${live:+\033[36m}" -v off="${live:+\033[0m}" \
		'{ print on (more ? "demo-> " : "demo=> ") $0 off; more = !/;$/ }' <<<"$1"
}

# The same, and what it says.
show() {
	typed "$1"
	psql -Xq -v ON_ERROR_STOP=1 -P null=- -P footer=off <<<"$1"
}

# One value.
ask() {
	psql -XAtq -v ON_ERROR_STOP=1 -c "$1"
}

submit() {
	ask "SELECT taskq.task_submit('$1', '$2')"
}

# One picture of tasks and workers.  The first line is for us: are all of the
# tasks final, and is the one to cancel half-way?
picture() {
	psql -XAtq -v ON_ERROR_STOP=1 -v ids="$ids" -v victim="$victim" -v seconds="$1" -v width="$bar" <<-'SQL'
		SELECT FROM taskq.task_wait_all(:'ids', make_interval(secs => :seconds)) LIMIT 0;
		SELECT bool_and(ready), bool_or(id = :'victim' AND state = 'running' AND progress >= 50)
		FROM taskq.task WHERE id = ANY (:'ids');
		SELECT format('  %-21s %s%s %%  %-9s %s', title, rpad(repeat('█', (progress * :width / 100)::int), :width, '░'),
			to_char(progress, '990.0'), state,
			message || coalesce(', ' || seconds_left || ' s left', ''))
		FROM demo.bars WHERE id = ANY (:'ids') ORDER BY id;
		SELECT format('  %-21s %s, pid %s, %s', CASE row_number() OVER (ORDER BY name) WHEN 1 THEN 'workers' END, name, pid,
			CASE WHEN task_id IS NULL THEN state ELSE format('%s with %s for %s s', state, kind,
				round(extract(epoch FROM clock_timestamp() - task_started_at), 1)) END)
		FROM taskq.worker ORDER BY name;
	SQL
}

# Shows the picture, in place on a terminal and every two seconds elsewhere,
# until all tasks of $ids are final.  Cancels $victim half-way.
watch_tasks() {
	local drawn=0 started=$SECONDS next=$SECONDS lines line status
	while true; do
		mapfile -t lines < <(picture 0.15 | plain)
		((${#lines[@]})) || return 1
		status=${lines[0]} lines=("${lines[@]:1}")
		if [[ $status == *'|t' && -z $cancelled ]]; then
			cancelled=$(show "SELECT cancelled, terminated, message FROM taskq.task_cancel('$victim', 'changed my mind');")
		fi
		if [[ -n $live ]]; then
			((drawn == 0)) || printf '\e[%dA' "$drawn"
			for line in "${lines[@]}"; do
				printf '%s\e[K\n' "${line:0:columns - 1}"
			done
			printf '\e[J'
			drawn=${#lines[@]}
		elif ((SECONDS >= next)) || [[ $status == t* ]]; then
			printf '%s\n' "${lines[@]}" ''
			next=$((SECONDS + 2))
		fi
		[[ $status != t* ]] || break
		((SECONDS < started + 110)) || { say "the tasks did not finish in time"; return 1; }
	done
}

prepare() {
	title "A server of its own, with pgbench's 1,000,000 accounts"
	step "building and installing taskq"
	taskq_install
	step "starting the server"
	scratch_begin taskq-demo
	cluster_start "max_wal_size = 4GB"
	psql -Xq -v ON_ERROR_STOP=1 <<-'SQL'
		SET client_min_messages = warning;
		CREATE DATABASE demo;
		\connect demo
		CREATE EXTENSION taskq;
		CREATE ROLE demo LOGIN IN ROLE taskq_user, taskq_operator;
		ALTER DATABASE demo OWNER TO demo;
	SQL
	export PGUSER=demo PGDATABASE=demo
	step "making the accounts"
	pgbench -i -q -s 10 >"$scratch/pgbench.log" 2>&1 || { cat "$scratch/pgbench.log" >&2; return 1; }
	psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -f "$root/examples/demo.sql"
	# One account in debt, for the audit to find.
	ask "UPDATE pgbench_accounts SET abalance = -250 WHERE aid = 700001"
	printf '  %s\n' "$(ask "SELECT split_part(version(), ' on ', 1) || ', ' || to_char(count(*), 'FM9,999,999') || ' accounts, fsync ' || current_setting('fsync')
		FROM pgbench_accounts")"
}

long_tasks() {
	local first second audit
	title "Three long tasks at once; the second will be cancelled half-way"
	first=$(submit savings_plan '{"title": "savings, first half", "first": 1, "last": 500000}')
	second=$(submit savings_plan '{"title": "savings, second half", "first": 500001, "last": 1000000}')
	audit=$(submit audit '{"title": "audit of all accounts"}')
	ids="{$first,$second,$audit}" victim=$second cancelled=
	watch_tasks

	title "The one that completed: its result, and its half a million writes"
	show "SELECT state, duration, result FROM taskq.task_status('$first');"
	show "SELECT count(*) FROM pgbench_accounts WHERE aid <= 500000 AND abalance > 0;"

	title "The one that was cancelled: nothing of what it wrote is there"
	printf '%s\n\n' "$cancelled"
	show "SELECT state, celery_state, progress, cancel_reason FROM taskq.task_status('$second');"
	show "SELECT count(*) FROM pgbench_accounts WHERE aid > 500000 AND abalance > 0;"

	title "The one that failed: the whole error"
	show "SELECT state, attempt, e.* FROM taskq.task_status('$audit') t, jsonb_each_text(t.error) e;"
}

workflow() {
	title "A workflow: four steps and one for the case that something fails; of the third no model is there"
	local id wait
	wait="SELECT FROM taskq.task_wait_all(array(SELECT id FROM taskq.task WHERE workflow = :'id'), '60 s')"
	id=$(ask "SELECT taskq.template_submit('analysis', '{\"branch\": 7}')")
	typed "SELECT taskq.template_submit('analysis', '{\"branch\": 7}');"
	psql -Xq -o /dev/null -v id="$id" <<<"$wait;"
	show "SELECT step, state, progress, message FROM taskq.workflow_tree('$id');"
	title "The model is there now: what failed is done again, what had completed is not"
	show "UPDATE demo.model SET there = true;"
	show "SELECT count(*) AS retried FROM taskq.workflow_retry('$id');"
	psql -Xq -o /dev/null -v id="$id" <<<"$wait;"
	show "SELECT step, state, progress FROM taskq.workflow_tree('$id');"
	show "SELECT step, payload, result FROM taskq.task WHERE workflow = '$id' AND state = 'completed' ORDER BY started_at;"
}

any_sql() {
	title "Any SQL as a task, also what can't run inside a transaction"
	local id
	id=$(ask "SELECT taskq.task_submit_sql('VACUUM (ANALYZE) pgbench_accounts')")
	typed "SELECT taskq.task_submit_sql('VACUUM (ANALYZE) pgbench_accounts');"
	show "SELECT state, run_as, duration, payload FROM taskq.task_wait('$id', '60 s');"
	show "SELECT relname, last_vacuum, vacuum_count FROM pg_stat_user_tables WHERE relname = 'pgbench_accounts';"
}

short_tasks() {
	title "A thousand short ones, submitted in one statement"
	show "SELECT count(*) AS submitted FROM taskq.task_submit_many('transfer', array(
	SELECT jsonb_build_object('from', n, 'to', 500000 + n) FROM generate_series(1, 1000) n));"
	show "SELECT state, count(*) FROM taskq.task_wait_all(
	array(SELECT id FROM taskq.task WHERE kind = 'transfer'), '60 s') GROUP BY state;"
	show "SELECT round(extract(epoch FROM max(finished_at) - min(created_at)) * 1000) AS milliseconds_in_all,
	count(DISTINCT worker) AS workers FROM taskq.task WHERE kind = 'transfer';"
	show "SELECT count(*) AS history_rows, sum(delta) AS moved FROM pgbench_history;"
}

# psql prints a notification after the statement during which it came: so
# send empty ones until it is there.
event() {
	title "A notification when a task is finished"
	local line='' said='' deadline=$((SECONDS + 10))
	coproc listener { exec psql -XAtq 2>&1; }
	cat >&"${listener[1]}" <<-'SQL'
		LISTEN taskq;
		SELECT 'submitted ' || taskq.task_submit('transfer', '{"from": 1, "to": 2}');
	SQL
	typed "LISTEN taskq;"
	typed "SELECT taskq.task_submit('transfer', '{\"from\": 1, \"to\": 2}');"
	while [[ $said != Asynchronous* ]] && ((SECONDS < deadline)); do
		if IFS= read -r -t 0.05 line <&"${listener[0]}"; then
			said=$line
			echo "  $said"
		else
			echo ';' >&"${listener[1]}"
		fi
	done
	echo '\q' >&"${listener[1]}"
	# shellcheck disable=SC2154
	wait "$listener_PID" || true
	[[ $said == Asynchronous* ]] || { say "no notification came"; return 1; }
}

summary() {
	title "All that ran"
	show "SELECT kind, state, count(*), avg(duration) AS average_run FROM taskq.task GROUP BY kind, state ORDER BY kind, state;"
}

how_to_go_on() {
	title "How to go on"
	if [[ -n ${KEEP:-} ]]; then
		keep=1
		cat <<-TEXT
			  The server is still running. Look around in psql:

			    $bindir/psql -h $scratch -p $PGPORT -U demo demo

			      SELECT taskq.task_submit('savings_plan', '{"title": "again", "first": 1, "last": 1000000}');
			      SELECT title, bar, progress, state, message FROM demo.bars WHERE title <> '' ORDER BY id \\watch 0.5
			      SELECT * FROM taskq.worker;
			      \\x
			      \\df+ taskq.*

			  Stop it and remove it:

			    $root/scripts/demo.sh stop $scratch
		TEXT
	else
		cat <<-TEXT
			  The server is stopped and removed now. To keep one and go on in psql:

			    make demo KEEP=1

			  The handlers of this demo are in examples/demo.sql, how to install taskq on a real server in README.md.
		TEXT
	fi
}

stop() {
	scratch=$(realpath "$1")
	[[ -e $scratch/.taskq-scratch ]] || { say "no demo server in $1"; exit 1; }
	choose_user
	PATH=$(pg --bindir):$PATH
	servers_stop "$scratch"
	rm -rf "$scratch"
	say "stopped and removed"
}

case ${1:-} in
stop)
	stop "${2:?which directory?}"
	;;
*)
	prepare
	long_tasks
	workflow
	any_sql
	short_tasks
	event
	summary
	how_to_go_on
	;;
esac
