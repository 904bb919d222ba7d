# Sourced by run.sh: what is measured.  In each run the systems come one after the
# other, so that what disturbs the machine disturbs all of them.
# shellcheck shell=bash
# shellcheck disable=SC2154

# All of them, in this order: each is a function case_NAME.
# shellcheck disable=SC2034
cases=(
	submit
	bulk
	drain
	write
	payload
	latency
	mixed
	waiting
	snapshot
	backlog
	limits
	keys
	schedules
	sweep
	restart
	depends
	labels
	lists
	idle
)

pause() { q -c "SELECT taskq.queue_pause('default')" >/dev/null; }
resume() { q -c "SELECT taskq.queue_resume('default')" >/dev/null; }
workers_are() { q -c "ALTER SYSTEM SET taskq.max_workers = $1" -c 'SELECT pg_reload_conf()' >/dev/null; }
peers_too() { [[ $with_peers = yes ]] && has "$1"; }

clean() {
	for leaf in $(q -c "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'taskq_internal.task'::regclass"); do
		q -c "TRUNCATE $leaf"
	done
	# an older build has not all of them (compare.sh)
	q -c "TRUNCATE $(q -c "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relnamespace = 'taskq_internal'::regnamespace
		AND relkind = 'r' AND relname ~ '^(dependency|blocked|timer|ready|label_.*|stock|rollup)\$'")"
	q -c 'TRUNCATE floor_task, floor_plain, pgmq_task, pgmq_archive, written' -c CHECKPOINT
}

# Transactions a second of a pgbench script with $2 clients.
tps() {
	as_pg pgbench -n -M prepared -f "$1" -c "$2" -j "$2" -T "$seconds" 2>/dev/null | awk '/^tps/ { printf "%.0f\n", $3 }'
}

submit_tasks() {
	q -c "SELECT count(*) FROM taskq.task_submit_many('$1', array_fill('{}'::jsonb, ARRAY[$2]))" >/dev/null
}

# Tasks a second of a kind, from when the queue is opened to when nothing is left.
taskq_drain() {
	local start
	pause
	submit_tasks "$1" "$2"
	start=$(now)
	q -c "SELECT taskq.queue_resume('default')" -c 'CALL wait_drained()' >/dev/null
	rate "$2" "$start" "$(now)"
}

# The same of a procedure in $3 sessions; $4 fills the table.
sql_drain() {
	local start pids=() i
	q -c "$4" >/dev/null
	start=$(now)
	for ((i = 0; i < $3; i++)); do
		q -c "CALL $1" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	rate "$2" "$start" "$(now)"
}

fill_floor() {
	echo "INSERT INTO floor_task (id, lane, slot, attempt, state, payload)
		SELECT gen_random_uuid(), 1, 1, 0, 'p', '{}' FROM generate_series(1, $1); ANALYZE floor_task"
}

fill_pgmq() {
	echo "INSERT INTO pgmq_task (message) SELECT '{}' FROM generate_series(1, $1); ANALYZE pgmq_task"
}

case_submit() {
	local clients i
	echo 'SELECT floor_insert();' >"$scratch/floor.sql"
	echo "SELECT taskq.task_submit('noop');" >"$scratch/submit.sql"
	echo "INSERT INTO pgmq_task (message) VALUES ('{}');" >"$scratch/pgmq.sql"
	echo "SELECT graphile_worker.add_job('noop', '{}');" >"$scratch/graphile.sql"
	for clients in 1 8; do
		for ((i = 0; i < runs; i++)); do
			! floor_too || add floor "$(tps "$scratch/floor.sql" "$clients")"
			# only the submit is measured: the floor has nobody who works the tasks off either
			pause
			add taskq "$(tps "$scratch/submit.sql" "$clients")"
			! floor_too || add pgmq "$(tps "$scratch/pgmq.sql" "$clients")"
			if peers_too graphile; then
				add graphile "$(tps "$scratch/graphile.sql" "$clients")"
				q -c 'TRUNCATE graphile_worker._private_jobs'
				add pgboss "$(run_node pgboss submit "$clients" "$seconds")"
				q -c 'TRUNCATE pgboss.job_common' >/dev/null 2>&1 || q -c 'DELETE FROM pgboss.job' >/dev/null
			fi
			if peers_too celery; then
				add celery "$(run_celery /usr/bin/python3 "$peers/celery_noop.py" submit "$clients" "$seconds")"
				as_pg redis-cli -s "$scratch/redis.sock" flushall >/dev/null
			fi
			clean
			resume
		done
		row submit "one a commit, $clients client(s), tasks/s" more
	done
}

case_bulk() {
	local start i
	pause
	for ((i = 0; i < runs; i++)); do
		if floor_too; then
			start=$(now)
			q -c "INSERT INTO floor_plain (id, lane, slot, attempt, state, payload)
				SELECT gen_random_uuid(), 1, 1, 0, 'p', '{}' FROM generate_series(1, $tasks)"
			add floor "$(rate "$tasks" "$start" "$(now)")"
		fi
		start=$(now)
		submit_tasks noop "$tasks"
		add taskq "$(rate "$tasks" "$start" "$(now)")"
		if floor_too; then
			start=$(now)
			q -c "INSERT INTO pgmq_task (message) SELECT '{}' FROM generate_series(1, $tasks)"
			add pgmq "$(rate "$tasks" "$start" "$(now)")"
		fi
		if peers_too graphile; then
			start=$(now)
			graphile_fill "$tasks"
			add graphile "$(rate "$tasks" "$start" "$(now)")"
			q -c 'TRUNCATE graphile_worker._private_jobs'
			add pgboss "$(run_node pgboss bulk "$tasks")"
			q -c 'TRUNCATE pgboss.job_common' >/dev/null 2>&1 || q -c 'DELETE FROM pgboss.job' >/dev/null
		fi
		if peers_too celery; then
			add celery "$(run_celery /usr/bin/python3 "$peers/celery_noop.py" bulk $((tasks / 10)))"
			as_pg redis-cli -s "$scratch/redis.sock" flushall >/dev/null
		fi
		clean
	done
	resume
	row bulk "$tasks at once (Celery: a tenth), tasks/s" more
}

case_drain() {
	local n i
	for n in 1 2 4; do
		workers_are "$n"
		for ((i = 0; i < runs; i++)); do
			! floor_too || add floor "$(sql_drain "floor_drain(false)" "$tasks" "$n" "$(fill_floor "$tasks")")"
			add taskq "$(taskq_drain noop "$tasks")"
			if [[ $n = 2 ]]; then
				! floor_too || add pgmq "$(sql_drain "pgmq_drain()" "$tasks" 2 "$(fill_pgmq "$tasks")")"
				if peers_too graphile; then
					add graphile "$(graphile_drain "$tasks")"
					add pgboss "$(pgboss_drain "$tasks")"
				fi
				! peers_too celery || add celery "$(celery_drain $((tasks / 20)))"
			fi
			clean
		done
		[[ $n != 2 ]] || graphile_median=$(median "${got[graphile]:-0}")
		row drain "no-op, one transaction a task, $n worker(s), tasks/s; the SQL claims 100, calls, updates them at once" more
	done
	for n in 1 2; do
		workers_are "$n"
		for ((i = 0; i < runs; i++)); do
			! floor_too || add floor "$(sql_drain "floor_drain(false)" "$tasks" "$n" "$(fill_floor "$tasks")")"
			add taskq "$(taskq_drain noop_batch "$tasks")"
			clean
		done
		[[ $n != 2 || $graphile_median = 0 ]] || add graphile "$graphile_median"
		row drain "no-op, kind with batch => true, $n worker(s), tasks/s" more
	done
	for ((i = 0; i < runs; i++)); do
		! floor_too || add floor "$(sql_drain "floor_drain(true)" "$tasks" 2 "$(fill_floor "$tasks")")"
		add taskq "$(taskq_drain noop "$tasks")"
		clean
	done
	row drain "no-op, 2 workers; the SQL marks 100 as running, commits, calls and updates each" more
	echo "    updates in place (HOT): $(q -c "SELECT round(100.0 * sum(n_tup_hot_upd) / nullif(sum(n_tup_upd), 0), 1) FROM pg_stat_user_tables WHERE schemaname = 'taskq_internal' AND relname LIKE 'task\_%'") %"
	workers_are 2
}

# Handlers that write a row.
case_write() {
	local i
	for ((i = 0; i < runs; i++)); do
		! floor_too || add floor "$(sql_drain "floor_drain(false, true)" "$tasks" 2 "$(fill_floor "$tasks")")"
		add taskq "$(taskq_drain write_row "$tasks")"
		! peers_too graphile || add graphile "$(graphile_drain "$((tasks / 4))" write_row)"
		clean
	done
	row write 'handlers that insert a row, 2 workers, tasks/s' more
	for ((i = 0; i < runs; i++)); do
		! floor_too || add floor "$(sql_drain "floor_drain(false, true)" "$tasks" 2 "$(fill_floor "$tasks")")"
		add taskq "$(taskq_drain write_row_batch "$tasks")"
		clean
	done
	row write 'the same, batch => true' more
}

lsn() { q -c 'SELECT pg_current_wal_insert_lsn()'; }
bytes_since() { q -c "SELECT (pg_current_wal_insert_lsn() - '$1')::bigint / $2"; }

# The same work with $3 kB of payload that does not compress and that the handler reads:
# tasks a second, and bytes of WAL for each from when it waits to when it is done.
payload_drain() {
	local system=$1 n=$2 kb=$3 from
	local payload="(SELECT jsonb_build_object('text', string_agg(md5(random()::text), '')) FROM generate_series(1, $kb * 32))"
	if [[ $system = floor ]]; then
		q -c "INSERT INTO floor_task (id, lane, slot, attempt, state, payload)
			SELECT gen_random_uuid(), 1, 1, 0, 'p', p FROM generate_series(1, $n), $payload x (p); ANALYZE floor_task"
		from=$(lsn)
		add floor "$(sql_drain 'floor_drain_payload()' "$n" 2 'SELECT')"
	else
		pause
		q -c "SELECT count(*) FROM taskq.task_submit_many('$system', (SELECT array_fill(p, ARRAY[$n]) FROM $payload x (p)))" >/dev/null
		from=$(lsn)
		start=$(now)
		q -c "SELECT taskq.queue_resume('default')" -c 'CALL wait_drained()' >/dev/null
		add taskq "$(rate "$n" "$start" "$(now)")"
	fi
	[[ $system = floor ]] || system=taskq
	wal[$system]+=" $(bytes_since "$from" "$n")"
}

case_payload() {
	local i kb n start kind
	declare -A wal
	for kb in 1 10 100; do
		n=$((kb == 1 ? tasks / 4 : kb == 10 ? tasks / 10 : tasks / 100))
		for kind in read_payload read_payload_batch; do
			wal=()
			for ((i = 0; i < runs; i++)); do
				payload_drain floor "$n" "$kb"
				payload_drain "$kind" "$n" "$kb"
				clean
			done
			row payload "$n with $kb kB, which the handler reads$([[ $kind = read_payload ]] || echo ', batch => true'), 2 workers, tasks/s" more
			got[floor]=${wal[floor]} got[taskq]=${wal[taskq]}
			row payload '… bytes of WAL to run and complete one' less
		done
	done
}

# p50, p99 and the most of a list of milliseconds, one a line.
add_latency() {
	local p50 p99 most
	sort -n "$2" | awk -v s="$1" '{ v[NR] = $1 }
		function at(p) { i = int(NR * p + 0.999999); return v[i < 1 ? 1 : i > NR ? NR : i] }
		END { print at(0.5), at(0.99), v[NR] }' >"$scratch/latency"
	read -r p50 p99 most <"$scratch/latency"
	p50s[$1]+=" $p50" p99s[$1]+=" $p99" mosts[$1]+=" $most"
}

latency_rows() {
	local s
	for s in "${!p50s[@]}"; do got[$s]="${p50s[$s]}"; done
	row latency "$1, p50, ms" less
	for s in "${!p99s[@]}"; do got[$s]="${p99s[$s]}"; done
	row latency '… p99, ms' less
	for s in "${!mosts[@]}"; do got[$s]="${mosts[$s]}"; done
	row latency '… the most, ms' less
}

# From the submit's commit to the waiter's return; 10 a second, then under load.
case_latency() {
	local i load
	declare -A p50s=() p99s=() mosts=()
	for ((i = 0; i < runs; i++)); do
		q -v n=200 -v pause=0.1 -f "$root/bench/sql/latency.sql" >"$scratch/ms"
		add_latency taskq "$scratch/ms"
		if peers_too graphile; then
			run_node graphile latency 200 100 >"$scratch/ms"
			add_latency graphile "$scratch/ms"
			run_node pgboss latency 50 100 >"$scratch/ms"
			add_latency pgboss "$scratch/ms"
		fi
		if peers_too celery; then
			celery_worker
			run_celery /usr/bin/python3 "$peers/celery_noop.py" latency 20 10 >/dev/null
			run_celery /usr/bin/python3 "$peers/celery_noop.py" latency 200 100 >"$scratch/ms"
			celery_worker_stop
			add_latency celery "$scratch/ms"
		fi
	done
	latency_rows 'submit committed → result at the waiter, 10 a second'
	p50s=() p99s=() mosts=()
	echo "SELECT taskq.task_submit('noop');" >"$scratch/submit.sql"
	for ((i = 0; i < runs; i++)); do
		as_pg pgbench -n -M prepared -f "$scratch/submit.sql" -c 2 -R 2000 -T 100 >/dev/null 2>&1 &
		load=$!
		q -v n=200 -v pause=0.02 -f "$root/bench/sql/latency.sql" >"$scratch/ms"
		pkill -TERM -P "$load" 2>/dev/null || true
		kill "$load" 2>/dev/null || true
		wait "$load" 2>/dev/null || true
		add_latency taskq "$scratch/ms"
	done
	latency_rows 'the same while 2,000 other tasks a second are submitted and run'
	clean
}

# Short tasks that were submitted behind long ones of the same kind.
case_mixed() {
	local i
	workers_are 4
	for ((i = 0; i < runs; i++)); do
		q -f "$root/bench/sql/mixed.sql" >"$scratch/ms"
		add taskq "$(sed -n 1p "$scratch/ms")"
	done
	workers_are 2
	row mixed '4 workers; 5,000 short tasks, among them 3 that take 1 s: the last short one is done after, s' less
	clean
}

# Submit $2 tasks of kind noop with the key that $1 makes of i, from 1 on.
submit_keyed() {
	q -c "SELECT count(*) FROM (SELECT taskq.task_submit('noop', concurrency_key => $1) FROM generate_series(1, $2) i) s" >/dev/null
}

# The rate of $2 such tasks, by that of as many without a key.
keyed_ratio() {
	local start plain
	plain=$(taskq_drain noop "$2")
	clean
	pause
	submit_keyed "$1" "$2"
	start=$(now)
	q -c "SELECT taskq.queue_resume('default')" -c 'CALL wait_drained()' >/dev/null
	awk -v a="$(rate "$2" "$start" "$(now)")" -v b="$plain" 'BEGIN { printf "%.2f\n", a / b }'
	clean
}

# The rate of $2 plain no-ops beside $1 tasks that wait for a busy key, by that without these.
beside_busy_key() {
	local alone beside
	q -c "SELECT taskq.queue_define('busy')" -c "SELECT taskq.queue_resume('busy')" >/dev/null
	alone=$(taskq_drain noop "$2")
	clean
	# one more, for who has the key
	workers_are 3
	q -c "SELECT taskq.task_submit('nap_long', queue => 'busy', concurrency_key => 'busy')" >/dev/null
	until_true 'the key to be busy' says 1 "SELECT count(*) FROM taskq.worker WHERE kind = 'nap_long'"
	q -c "SELECT count(*) FROM taskq.task_submit_many('noop', array_fill('{}'::jsonb, ARRAY[$1]), queue => 'busy', concurrency_key => 'busy')" >/dev/null
	beside=$(taskq_drain noop "$2")
	q -c "SELECT taskq.queue_pause('busy')" -c "SELECT taskq.task_cancel(id) FROM taskq.task WHERE kind = 'nap_long' AND NOT ready" >/dev/null
	until_true 'the key to be free' says 0 "SELECT count(*) FROM taskq.worker WHERE kind = 'nap_long'"
	awk -v a="$beside" -v b="$alone" 'BEGIN { printf "%.2f\n", a / b }'
	workers_are 2
	clean
	q -c 'TRUNCATE taskq_internal.keyed' >/dev/null
}

# Concurrency keys.
case_keys() {
	local i n=100000 waiting=$((pending < 1000000 ? pending : 1000000)) keys
	for keys in 1000 100000 1; do
		for ((i = 0; i < runs; i++)); do
			add taskq "$(keyed_ratio "'k' || i % $keys" "$n")"
		done
		row keys "$n no-ops with $keys concurrency key(s), 2 workers: rate by that of plain ones" more
	done
	for ((i = 0; i < runs; i++)); do
		add taskq "$(beside_busy_key "$waiting" "$n")"
	done
	row keys "$n plain no-ops beside $waiting that wait for a busy key: rate by that without these" more
}

server_is() {
	q -c "ALTER SYSTEM SET taskq.max_workers = $1" -c "ALTER SYSTEM SET max_worker_processes = $2"
	as_pg pg_ctl -D "$scratch/data" -m fast -w -t 60 -s restart -l "$scratch/server.log"
}

# CPU-seconds that the server has used, with the processes that have ended.
server_cpu() {
	local postmaster
	postmaster=$(head -n 1 "$scratch/data/postmaster.pid")
	awk -v t="$(ticks "$(pgrep -P "$postmaster" | tr '\n' ' ')")" -v hz="$(getconf CLK_TCK)" '{ print (t + $14 + $15 + $16 + $17) / hz }' "/proc/$postmaster/stat"
}

# 64 workers whose handlers wait 10 ms; instead of plain SQL 64 sessions that do nothing but wait.
case_waiting() {
	local i start before cpu n=83200
	declare -A cpus=()
	server_is 64 80
	echo 'SELECT pg_sleep(0.01);' >"$scratch/nap.sql"
	for ((i = 0; i < runs; i++)); do
		q -c "SELECT taskq.worker_stop(name) FROM taskq.worker" >/dev/null
		pause
		submit_tasks nap "$n"
		before=$(server_cpu)
		start=$(now)
		q -c "SELECT taskq.queue_resume('default')" -c 'CALL wait_drained()' >/dev/null
		add taskq "$(awk -v r="$(rate "$n" "$start" "$(now)")" 'BEGIN { printf "%.2f\n", r / 6400 }')"
		cpus[taskq]+=" $(awk -v a="$before" -v b="$(server_cpu)" -v n="$n" 'BEGIN { printf "%.0f\n", (b - a) * 1000000 / n }')"
		if floor_too; then
			before=$(server_cpu)
			as_pg pgbench -n -M prepared -f "$scratch/nap.sql" -c 64 -j 2 -t 1300 >"$scratch/pgbench.log" 2>/dev/null
			add floor "$(awk '/^tps/ { printf "%.2f\n", $3 / 6400 }' "$scratch/pgbench.log")"
			cpus[floor]+=" $(awk -v a="$before" -v b="$(server_cpu)" -v n="$n" 'BEGIN { printf "%.0f\n", (b - a) * 1000000 / n }')"
		fi
		clean
	done
	row waiting "64 workers, handlers wait 10 ms, from no worker at all: rate of 83,200 by 6,400/s; instead of plain SQL 64 sessions of pgbench that wait" more
	got[taskq]=${cpus[taskq]} got[floor]=${cpus[floor]:-}
	row waiting '… CPU of the server for each, µs' less
	server_is 2 8
}

# Rounds while the snapshot of before is held: the last round's rate by the first's.
case_snapshot() {
	local holder i r s rounds=10 n=$((tasks / 10))
	local -a three=(taskq)
	! floor_too || three=(taskq floor pgmq)
	declare -A first last
	for ((i = 0; i < runs; i++)); do
		as_pg psql -XAtq -c 'BEGIN ISOLATION LEVEL REPEATABLE READ' -c 'SELECT 1' -c 'SELECT pg_sleep(86400)' >/dev/null 2>&1 &
		holder=$!
		until_true 'the session that holds a snapshot' says t \
			"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(86400)%' AND backend_xmin IS NOT NULL)"
		for ((r = 1; r <= rounds; r++)); do
			last[taskq]=$(taskq_drain noop "$n")
			if floor_too; then
				last[floor]=$(sql_drain "floor_drain(false)" "$n" 2 "INSERT INTO floor_task (id, lane, slot, attempt, state, payload) SELECT gen_random_uuid(), 1, 1, 0, 'p', '{}' FROM generate_series(1, $n)")
				last[pgmq]=$(sql_drain "pgmq_drain()" "$n" 2 "INSERT INTO pgmq_task (message) SELECT '{}' FROM generate_series(1, $n)")
			fi
			if [[ $r = 1 ]]; then
				for s in "${three[@]}"; do first[$s]=${last[$s]}; done
			fi
		done
		for s in "${three[@]}"; do add "$s" "$(awk -v a="${first[$s]}" -v b="${last[$s]}" 'BEGIN { printf "%.2f\n", b / a }')"; done
		q -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(86400)%'" >/dev/null
		wait "$holder" 2>/dev/null || true
		clean
	done
	row snapshot "$rounds rounds of $n no-ops while an old snapshot is held, rate of the last by that of the first" more
}

# Tasks a second of the first so many of a backlog.  From a state that does not
# depend on its size: pages are on disk, and nobody vacuums.
head_rate() {
	local start
	q -c CHECKPOINT
	until_true 'autovacuum to end' says 0 "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
	q -c "SELECT taskq.worker_stop(name) FROM taskq.worker" >/dev/null
	until_true 'the workers to go' says 0 'SELECT count(*) FROM taskq.worker'
	start=$(now)
	q -c "SELECT taskq.queue_resume('default')" -c "CALL wait_completed($1)" >/dev/null
	rate "$1" "$start" "$(now)"
	pause
}

case_backlog() {
	local i n=100000
	declare -a small=() large=() beside=()
	pause
	for ((i = 0; i < runs; i++)); do
		submit_tasks noop $((n + 10000))
		small+=("$(head_rate "$n")")
		clean
	done
	for ((i = 0; i < pending; i += 500000)); do
		submit_tasks noop 500000
	done
	for ((i = 0; i < runs; i++)); do
		large+=("$(head_rate "$n")")
	done
	clean
	q -c "SELECT taskq.queue_define('other')" -c "SELECT taskq.queue_pause('other')" >/dev/null
	for i in 1 2; do
		q -c "SELECT count(*) FROM taskq.task_submit_many('noop', array_fill('{}'::jsonb, ARRAY[500000]), queue => 'other', priority => 50)" >/dev/null
	done
	for ((i = 0; i < runs; i++)); do
		submit_tasks noop $((n + 10000))
		beside+=("$(head_rate "$n")")
	done
	clean
	q -c "SELECT taskq.queue_resume('other')" >/dev/null
	resume
	got[taskq]=" ${large[*]}" got[floor]=" ${small[*]}"
	row backlog "first $n of $pending pending, tasks/s; instead of plain SQL: of 110,000" more
	got[taskq]=" ${beside[*]}" got[floor]=" ${small[*]}"
	row backlog "the same beside 1,000,000 of higher priority that may not run" more
}

# Plain tasks beside a million that wait behind a limit that is full; and of kinds with limits.
case_limits() {
	local i n=1000000
	declare -a alone=() behind=() one=() many=()
	workers_are 3
	q -c 'CREATE FUNCTION nap_for_ever(p jsonb) RETURNS void LANGUAGE sql AS $$SELECT pg_sleep(86400)$$' \
		-c "SELECT taskq.kind_define('full', 'nap_for_ever(jsonb)', queue => 'full', max_running => 1)" \
		-c "SELECT taskq.kind_define('one_at_a_time', 'noop(jsonb)', max_running => 1)" \
		-c "SELECT taskq.kind_define('many_at_a_time', 'noop(jsonb)', max_running => 64)" \
		-c "SELECT taskq.task_submit('full')" >/dev/null
	until_true 'the limit to be full' says 1 "SELECT count(*) FROM taskq.task WHERE kind = 'full' AND state = 'running'"
	for ((i = 0; i < runs; i++)); do
		alone+=("$(taskq_drain noop "$tasks")")
		one+=("$(taskq_drain one_at_a_time "$tasks")")
		many+=("$(taskq_drain many_at_a_time "$tasks")")
	done
	for ((i = 0; i < n; i += 250000)); do
		submit_tasks full 250000
	done
	for ((i = 0; i < runs; i++)); do
		behind+=("$(taskq_drain noop "$tasks")")
	done
	q -c "SELECT taskq.task_cancel(id, force => true) FROM taskq.task WHERE kind = 'full' AND state = 'running'" -c "SELECT taskq.queue_pause('full')" >/dev/null
	clean
	workers_are 2
	got[taskq]=" ${behind[*]}" got[floor]=" ${alone[*]}"
	row limits "no-op tasks/s beside 1,000,000 behind a full limit; instead of plain SQL: without these" more
	got[taskq]=" ${many[*]}" got[floor]=" ${alone[*]}"
	row limits "... of a kind that may have 64 at a time; instead of plain SQL: of one without a limit" more
	got[taskq]=" ${one[*]}" got[floor]=" ${alone[*]}"
	row limits "... one at a time" more
}

# 100 schedules with an interval of a second, whose due times are $1 apart: the 99th
# percentile, in ms, of how late their tasks were submitted and begun.
schedules_late() {
	q -c "SELECT count(taskq.schedule_define('s' || i, 'noop', every => '1 s', missed => 'all', overlap => true, starts_at => date_trunc('second', now()) + interval '2 s' + i * interval '$1'))
		FROM generate_series(1, 100) i" >/dev/null
	until_true 'the schedules to run' says t "SELECT sum(runs) >= $((200 * seconds)) FROM taskq.schedule"
	q -c "SELECT count(taskq.schedule_drop(name)) FROM taskq.schedule" -c 'CALL wait_drained()' >/dev/null
	q -c "SELECT concat_ws(' ', round((percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM created_at - due)) * 1000)::numeric, 1),
			round((percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - due)) * 1000)::numeric, 1))
		FROM (SELECT created_at, started_at, (options->>'due')::timestamptz AS due FROM taskq.task WHERE options ? 'schedule') t"
}

case_schedules() {
	local i apart submitted begun
	for apart in '10 ms' '0 ms'; do
		declare -a late=()
		for ((i = 0; i < runs; i++)); do
			read -r submitted begun <<<"$(schedules_late "$apart" | tail -n 1)"
			add taskq "$submitted"
			late+=("$begun")
			clean
		done
		row schedules "100 schedules a second, due $apart apart: their tasks are submitted so late, p99, ms" less
		got[taskq]=" ${late[*]}"
		row schedules '… and begin so late, p99, ms' less
	done
}

# Latency of short tasks and timers, at 1,000 a second, while leaves with many old tasks
# are emptied.  SWEEP_DONE and SWEEP_WAITING say how many.
case_sweep() {
	local i load start begun
	local done=${SWEEP_DONE:-5000000} waiting=${SWEEP_WAITING:-300000}
	declare -a before=() during=() late_before=() late=() took=()
	echo "SELECT taskq.task_submit('noop');" >"$scratch/submit.sql"
	echo "SELECT taskq.task_submit('noop', delay => '100 ms');" >"$scratch/timer.sql"
	for ((i = 0; i < runs; i++)); do
		declare -A p50s=() p99s=() mosts=()
		q -v done="$done" -v waiting="$waiting" -f "$root/bench/sql/sweep.sql" -c CHECKPOINT
		as_pg pgbench -n -M prepared -f "$scratch/submit.sql@19" -f "$scratch/timer.sql@1" -c 2 -R 1000 -T 3600 >/dev/null 2>&1 &
		load=$!
		start=$(q -c 'SELECT now()')
		q -v n=500 -v pause=0.01 -f "$root/bench/sql/latency.sql" >"$scratch/ms"
		add_latency before "$scratch/ms"
		late_before+=("$(q -c "SELECT timers_late('$start')")")
		# a reload has old tasks looked for at once
		start=$(q -c 'SELECT now() FROM pg_reload_conf()')
		begun=$(now)
		: >"$scratch/ms"
		while says t 'SELECT old_left()'; do
			awk -v a="$begun" -v b="$(now)" -v limit="$limit" 'BEGIN { exit b - a > limit }' ||
				{ say "waited $limit s for the sweep to end"; exit 1; }
			q -v n=200 -v pause=0.01 -f "$root/bench/sql/latency.sql" >>"$scratch/ms"
		done
		took+=("$(awk -v a="$begun" -v b="$(now)" 'BEGIN { printf "%.1f\n", b - a }')")
		add_latency during "$scratch/ms"
		late+=("$(q -c "SELECT timers_late('$start')")")
		pkill -TERM -P "$load" 2>/dev/null || true
		kill "$load" 2>/dev/null || true
		wait "$load" 2>/dev/null || true
		before+=("${p99s[before]}") during+=("${p99s[during]}")
		q -c 'CALL wait_drained()' || true
		clean
		q -c "SELECT taskq.queue_resume('held')" >/dev/null
	done
	got[taskq]=" ${during[*]}" got[floor]=" ${before[*]}"
	row sweep "latency at 1,000 a second while $done finished and $waiting waiting old tasks are swept, p99, ms; instead of plain SQL: without a sweep" less
	got[taskq]=" ${late[*]}" got[floor]=" ${late_before[*]}"
	row sweep '… timers late by at most, ms' less
	got[taskq]=" ${took[*]}"
	row sweep '… the sweep takes, s' less
}

ticks() { local t=0 p; for p in $1; do [[ ! -r /proc/$p/stat ]] || t=$((t + $(awk '{ print $14 + $15 }' "/proc/$p/stat"))); done; echo "$t"; }
pss() { local t=0 p; for p in $1; do [[ ! -r /proc/$p/smaps_rollup ]] || t=$((t + $(awk '/^Pss:/ { print $2 }' "/proc/$p/smaps_rollup"))); done; awk -v t="$t" 'BEGIN { printf "%.1f\n", t / 1024 }'; }

# CPU-seconds a minute of these processes, from 20 seconds.
idle_cpu() {
	local before
	before=$(ticks "$1")
	sleep 20
	awk -v t=$(($(ticks "$1") - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f\n", t / hz * 3 }'
}

# Milliseconds from the submit of a task to its end, as its waiter sees it; or from the
# commit of a prepared one ($1 is its id).
first_task() {
	if [[ -n ${1:-} ]]; then
		q -c 'CREATE TEMP TABLE first AS SELECT clock_timestamp() AS at' -c "COMMIT PREPARED 'bench'" \
			-c "SELECT round(1000 * extract(epoch FROM w.finished_at - first.at), 1) FROM first, taskq.task_wait('$1', '60 s') w"
	else
		q -c "CREATE TEMP TABLE first AS SELECT clock_timestamp() AS at, taskq.task_submit('noop') AS id" \
			-c "SELECT round(1000 * extract(epoch FROM w.finished_at - first.at), 1) FROM first, taskq.task_wait(first.id, '60 s') w"
	fi
}

# The server stops in this way and starts again.
start_again() {
	as_pg pg_ctl -D "$scratch/data" -m "$1" -w -t 300 -s stop
	as_pg pg_ctl -D "$scratch/data" -l "$scratch/server.log" -w -t 300 -s start
}

# The first task after a restart, a crash, and a prepared transaction, while many finished ones are there.
case_restart() {
	local i left n id how
	for ((left = pending; left > 0; left -= n)); do
		n=$((left < 500000 ? left : 500000))
		submit_tasks noop_batch "$n"
		q -c 'CALL wait_drained()' >/dev/null
	done
	q -c 'ALTER SYSTEM SET max_prepared_transactions = 10' -c CHECKPOINT >/dev/null
	for how in fast immediate; do
		for ((i = 0; i < runs; i++)); do
			start_again "$how"
			add taskq "$(first_task)"
		done
		row restart "first task after stop -m $how and start, $pending finished: submit → completed, ms" less
	done
	for ((i = 0; i < runs; i++)); do
		id=$(q -c BEGIN -c "SELECT taskq.task_submit('noop')" -c "PREPARE TRANSACTION 'bench'")
		add taskq "$(first_task "$id")"
	done
	row restart 'the same, COMMIT PREPARED → completed, ms' less
	q -c 'ALTER SYSTEM RESET max_prepared_transactions' >/dev/null
	start_again fast
	clean
}

# A chain, each link of which waits for the one before, submitted at once.
chain_rate() {
	local start
	pause
	q -c "CALL submit_chain('$1', $2)"
	start=$(now)
	q -c "SELECT taskq.queue_resume('default')" -c "CALL wait_chain()" >/dev/null
	rate "$2" "$start" "$(now)"
}

# Many that wait for one.
fan_rate() {
	local start before
	before=$(q -c 'SELECT coalesce(sum(completed), 0) FROM taskq.worker')
	pause
	q -c "SELECT count(*) FROM taskq.task_submit_many('$1', array_fill('{}'::jsonb, ARRAY[$2]), depends_on => ARRAY[taskq.task_submit('$1')])" >/dev/null
	start=$(now)
	q -c "SELECT taskq.queue_resume('default')" -c "CALL wait_completed($before + $2 + 1)" >/dev/null
	rate "$2" "$start" "$(now)"
}

# One that waits for many.
gather_rate() {
	local start
	pause
	q -c "CALL submit_gather('$1', $2)"
	start=$(now)
	q -c "SELECT taskq.queue_resume('default')" -c "CALL wait_chain()" >/dev/null
	rate "$2" "$start" "$(now)"
}

case_depends() {
	local i kind
	for ((i = 0; i < runs; i++)); do
		add taskq "$(chain_rate noop 10000)"
		clean
	done
	row depends 'a chain of 10,000, 2 workers, steps/s' more
	for kind in noop noop_batch; do
		for ((i = 0; i < runs; i++)); do
			add taskq "$(taskq_drain "$kind" 100000)"
			clean
		done
		row depends "100,000 $kind that wait for nothing, 2 workers, tasks/s" more
		for ((i = 0; i < runs; i++)); do
			add taskq "$(fan_rate "$kind" 100000)"
			clean
		done
		row depends "100,000 $kind that wait for one, tasks/s" more
		for ((i = 0; i < runs; i++)); do
			add taskq "$(gather_rate "$kind" 100000)"
			clean
		done
		row depends "one that waits for 100,000 $kind, tasks/s" more
	done
}

# Submits at once with these arguments, tasks/s; nothing runs.
labelled_rate() {
	local start
	start=$(now)
	q -c "SELECT count(*) FROM taskq.task_submit_many('$1', array_fill('{\"customer\": \"c1\", \"n\": 1}'::jsonb, ARRAY[$2]) ${3:+, $3})" >/dev/null
	rate "$2" "$start" "$(now)"
}

# What has labels beside what has none.
case_labels() {
	local i start n=50000
	q -c "SELECT taskq.kind_define('fails', 'fails(jsonb)', max_attempts => 1), taskq.kind_define('fans', 'fans(jsonb)')"
	q -c "SELECT taskq.kind_define('indexed', 'noop(jsonb)', indexed => '{customer}')" >/dev/null 2>&1 ||
		q -c "SELECT taskq.kind_define('indexed', 'noop(jsonb)')" # a build without (compare.sh)
	submit_row() {
		for ((i = 0; i < runs; i++)); do
			pause
			add taskq "$(labelled_rate "$2" "$tasks" "$3")"
			clean
			resume
		done
		row labels "$1" more
	}
	submit_row "$tasks at once without labels, tasks/s" noop ''
	submit_row '… with a tag' noop "tags => '{one}'"
	submit_row '… with two tags and a tenant' noop "tags => '{one,two}', options => '{\"tenant\": \"acme\"}'"
	submit_row '… with a member that is indexed' indexed ''
	for ((i = 0; i < runs; i++)); do
		add taskq "$(taskq_drain fails "$n")"
		clean
	done
	row labels "$n that fail, 2 workers, tasks/s" more
	for ((i = 0; i < runs; i++)); do
		pause
		submit_tasks noop "$n"
		start=$(now)
		q -c "SELECT taskq.queue_clear('default', n => $n)" >/dev/null
		add taskq "$(rate "$n" "$start" "$(now)")"
		clean
		resume
	done
	row labels "$n cancelled by queue_clear, tasks/s" more
	for ((i = 0; i < runs; i++)); do
		submit_tasks fans 1
		start=$(now)
		until_true 'the children' says $((n + 1)) "SELECT count(*) FROM taskq_internal.task WHERE state = 'c'"
		add taskq "$(rate "$n" "$start" "$(now)")"
		clean
	done
	row labels "$n children of one task, submitted and run, 2 workers, tasks/s" more
}

# Milliseconds that a query takes, of which the first are not counted.
query_ms() {
	echo "$1" >"$scratch/query.sql"
	as_pg pgbench -n -f "$scratch/query.sql" -c 1 -t 20 >/dev/null 2>&1
	as_pg pgbench -n -f "$scratch/query.sql" -c 1 -t 200 2>/dev/null | awk '/^latency average/ { print $4 }'
}

# Pages of 50 and one task's status, among many finished ones of a day.
case_lists() {
	local i what query id
	q -v n="$pending" -f "$root/bench/sql/lists.sql" >/dev/null
	q -f "$root/bench/sql/statistics.sql" >/dev/null
	q -c 'VACUUM ANALYZE' >/dev/null
	id=$(q -c "SELECT id FROM taskq.task_list('{\"state\": \"failed\"}', n => 1)")
	while IFS='|' read -r what query; do
		for ((i = 0; i < runs; i++)); do
			add taskq "$(query_ms "$query")"
		done
		row lists "$what, $pending finished: ms" less
	done <<-END
		task_status|SELECT * FROM taskq.task_status('$id')
		newest page|SELECT * FROM taskq.task_list()
		oldest page|SELECT * FROM taskq.task_list(order_by => 'oldest')
		by priority|SELECT * FROM taskq.task_list(order_by => 'priority')
		the longest|SELECT * FROM taskq.task_list(order_by => 'duration')
		completed ones of a kind|SELECT * FROM taskq.task_list('{"state": "completed", "kind": "list_7"}')
		failed ones|SELECT * FROM taskq.task_list('{"state": "failed"}')
		failed ones of a kind|SELECT * FROM taskq.task_list('{"state": "failed", "kind": "list_7"}')
		pending ones by priority|SELECT * FROM taskq.task_list('{"state": "pending"}', 'priority')
		scheduled ones|SELECT * FROM taskq.task_list('{"state": "scheduled"}')
		of a category|SELECT * FROM taskq.task_list('{"category": "few"}')
		of a tenant|SELECT * FROM taskq.task_list('{"tenant": "tenant_7"}')
		failed ones of a tenant|SELECT * FROM taskq.task_list('{"tenant": "tenant_7", "state": "failed"}')
		with a tag|SELECT * FROM taskq.task_list('{"tag": "tag_7"}')
		failed ones with a text in the error|SELECT * FROM taskq.task_list('{"state": "failed", "text": "pump 77"}')
		view task: running|SELECT * FROM taskq.task WHERE state = 'running'
		view task: by id|SELECT * FROM taskq.task WHERE id = '$id'
		task_counts|SELECT * FROM taskq.task_counts()
		statistics of 30 days|SELECT taskq.statistics('30 days')
		statistics of 24 hours by tag|SELECT * FROM taskq.statistics_by('24 hours', 'tag')
		metrics|SELECT taskq.metrics()
		sitrep|SELECT taskq.sitrep()
	END
	clean
}

case_idle() {
	local pids worker node_pids celery_pids
	q -c "SELECT taskq.task_submit('noop')" -c 'CALL wait_drained()' >/dev/null
	pids=$(q -c "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'taskq %'")
	worker=$(q -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'taskq worker' LIMIT 1")
	add taskq "$(idle_cpu "$pids")"
	local worker_pss
	worker_pss=$(pss "$worker")
	local graphile_pss='' celery_pss=''
	if peers_too graphile; then
		start_nodes graphile 1
		go
		until_true 'graphile-worker to listen' says t "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN \"jobs:insert\"%')"
		node_pids="$(pgrep -f "$peers/graphile.mjs" | tr '\n' ' ') $(q -c "SELECT pid FROM pg_stat_activity WHERE application_name <> 'psql' AND backend_type = 'client backend'" | tr '\n' ' ')"
		add graphile "$(idle_cpu "$node_pids")"
		graphile_pss=$(pss "$(pgrep -f "$peers/graphile.mjs" | tail -n 1)")
		stop_nodes
	fi
	if peers_too celery; then
		celery_worker
		# it is there when it has answered
		run_celery /usr/bin/python3 "$peers/celery_noop.py" latency 1 0 >/dev/null
		celery_pids="$(pgrep -f celery_noop | tr '\n' ' ') $(cat "$scratch/redis.pid")"
		add celery "$(idle_cpu "$celery_pids")"
		celery_pss=$(pss "$(pgrep -f celery_noop | tr '\n' ' ')")
		celery_worker_stop
	fi
	row idle 'CPU-seconds a minute, all processes' less
	add taskq "$worker_pss"
	[[ -z $graphile_pss ]] || add graphile "$graphile_pss"
	[[ -z $celery_pss ]] || add celery "$celery_pss"
	row idle 'an idle worker process, MiB PSS (Celery: all of its processes)' less
}
