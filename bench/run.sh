#!/usr/bin/env bash
# taskq beside the floor that plain SQL sets, in one run on one throw-away server.
#
#   make bench               all cases, medians of RUNS=3
#   make bench CASE=drain    one of: submit bulk drain latency idle

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

runs=${RUNS:-3}
seconds=${SECONDS_EACH:-5}
tasks=${TASKS:-200000}
case=${CASE:-all}
settings=("shared_buffers = '512MB'" "max_wal_size = '4GB'" "checkpoint_timeout = '30min'" "autovacuum = on"
	"taskq.max_workers = 2" "taskq.worker_idle_timeout = '1h'")

q() { as_pg psql -XAtq -v ON_ERROR_STOP=1 "$@"; }
wants() { [[ $case = all || $case = "$1" ]]; }
now() { date +%s.%N; }
rate() { awk -v n="$1" -v a="$2" -v b="$3" 'BEGIN { printf "%.0f\n", n / (b - a) }'; }

# Numbers on standard input as "median (min–max)".
summary() {
	sort -n | awk '{ v[NR] = $1 } END { printf "%s (%s–%s)", v[int((NR + 1) / 2)], v[1], v[NR] }'
}

rows=()
# case, what, taskq's numbers, the floor's numbers ("-" for none)
report() {
	local ours floor=- ratio=-
	ours=$(tr ' ' '\n' <<<"$3" | summary)
	if [[ $4 != - ]]; then
		floor=$(tr ' ' '\n' <<<"$4" | summary)
		ratio=$(awk -v a="${ours%% *}" -v b="${floor%% *}" 'BEGIN { printf "%.2f", a / b }')
	fi
	printf '  %-8s %-34s taskq %-28s floor %-28s ratio %s\n' "$1" "$2" "$ours" "$floor" "$ratio"
	rows+=("| $1 | $2 | $ours | $floor | $ratio |")
}

# Transactions a second of a pgbench script with $2 clients.
tps() {
	as_pg pgbench -n -M prepared -f "$1" -c "$2" -j "$2" -T "$seconds" 2>/dev/null | awk '/^tps/ { printf "%.0f\n", $3 }'
}

clean() {
	for leaf in $(q -c "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'taskq_internal.task'::regclass"); do
		q -c "TRUNCATE $leaf"
	done
	q -c 'TRUNCATE floor_task, floor_plain' -c CHECKPOINT
}

noise() {
	local cpu=() disk=() start
	for _ in 1 2 3 4 5; do
		start=$(now)
		awk 'BEGIN { for (i = 0; i < 5000000; i++) s += i }'
		cpu+=("$(awk -v a="$start" -v b="$(now)" 'BEGIN { printf "%.0f\n", 1000 * (b - a) }')")
		start=$(now)
		as_pg dd if=/dev/zero of="$scratch/noise" bs=8k count=200 oflag=dsync status=none
		disk+=("$(awk -v a="$start" -v b="$(now)" 'BEGIN { printf "%.3f\n", 1000 * (b - a) / 200 }')")
	done
	noise_line="noise: a fixed loop takes $(printf '%s\n' "${cpu[@]}" | summary) ms, a synced 8 kB write $(printf '%s\n' "${disk[@]}" | summary) ms"
	echo "$noise_line"
}

case_submit() {
	local clients ours floor
	echo 'SELECT floor_insert();' >"$scratch/floor.sql"
	echo "SELECT taskq.task_submit('noop');" >"$scratch/submit.sql"
	for clients in 1 8; do
		ours=() floor=()
		for ((i = 0; i < runs; i++)); do
			floor+=("$(tps "$scratch/floor.sql" "$clients")")
			# only the submit is measured: the floor has nobody who works the tasks off either
			q -c "SELECT taskq.queue_pause('default')" >/dev/null
			ours+=("$(tps "$scratch/submit.sql" "$clients")")
			clean
			q -c "SELECT taskq.queue_resume('default')" >/dev/null
		done
		report submit "one a commit, $clients client(s), /s" "${ours[*]}" "${floor[*]}"
	done
}

case_bulk() {
	local ours=() floor=() start
	q -c "SELECT taskq.queue_pause('default')" >/dev/null
	for ((i = 0; i < runs; i++)); do
		start=$(now)
		q -c "INSERT INTO floor_plain (id, lane, slot, attempt, state, payload)
			SELECT gen_random_uuid(), 1, 1, 0, 'p', '{}' FROM generate_series(1, $tasks)"
		floor+=("$(rate "$tasks" "$start" "$(now)")")
		start=$(now)
		q -c "SELECT count(*) FROM taskq.task_submit_many('noop', array_fill('{}'::jsonb, ARRAY[$tasks]))" >/dev/null
		ours+=("$(rate "$tasks" "$start" "$(now)")")
		clean
	done
	q -c "SELECT taskq.queue_resume('default')" >/dev/null
	report bulk "$tasks in one statement, rows/s" "${ours[*]}" "${floor[*]}"
}

case_drain() {
	local workers ours floor start pids
	for workers in 1 2; do
		q -c "ALTER SYSTEM SET taskq.max_workers = $workers" -c 'SELECT pg_reload_conf()' >/dev/null
		ours=() floor=()
		for ((i = 0; i < runs; i++)); do
			q -c "INSERT INTO floor_task (id, lane, slot, attempt, state, payload)
				SELECT gen_random_uuid(), 1, 1, 0, 'p', '{}' FROM generate_series(1, $tasks)" -c 'ANALYZE floor_task'
			start=$(now) pids=()
			for ((j = 0; j < workers; j++)); do
				q -c 'CALL floor_drain()' &
				pids+=($!)
			done
			wait "${pids[@]}"
			floor+=("$(rate "$tasks" "$start" "$(now)")")

			q -c "SELECT taskq.queue_pause('default')" \
				-c "SELECT count(*) FROM taskq.task_submit_many('noop', array_fill('{}'::jsonb, ARRAY[$tasks]))" >/dev/null
			start=$(now)
			q -c "SELECT taskq.queue_resume('default')" -c 'CALL wait_drained()' >/dev/null
			ours+=("$(rate "$tasks" "$start" "$(now)")")
			hot=$(q -c "SELECT pg_sleep(0.5)" -c "SELECT round(100.0 * sum(n_tup_hot_upd) / nullif(sum(n_tup_upd), 0)) FROM pg_stat_user_tables WHERE schemaname = 'taskq_internal' AND relname LIKE 'task\_%'" | tail -n 1)
			clean
		done
		report drain "no-op tasks, $workers worker(s), /s" "${ours[*]}" "${floor[*]}"
	done
	q -c 'ALTER SYSTEM RESET taskq.max_workers' -c 'SELECT pg_reload_conf()' >/dev/null
	echo "           updates in place (HOT) so far: $hot %"
}

# From the submit's commit to the waiter's return, one after the other.
case_latency() {
	local p50=() p99=() max=()
	for ((i = 0; i < runs; i++)); do
		q -f "$root/bench/latency.sql" >"$scratch/lat.txt"
		p50+=("$(sed -n 1p "$scratch/lat.txt")") p99+=("$(sed -n 2p "$scratch/lat.txt")") max+=("$(sed -n 3p "$scratch/lat.txt")")
	done
	report latency 'submit commit → wait returns, p50, ms' "${p50[*]}" -
	report latency '… p99, ms' "${p99[*]}" -
	report latency '… max, ms' "${max[*]}" -
}

case_idle() {
	local pids before after pss=- worker
	q -c "SELECT taskq.task_submit('noop')" >/dev/null
	q -c 'CALL wait_drained()'
	pids=$(q -c "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'taskq %'")
	ticks() { local t=0 p; for p in $pids; do t=$((t + $(awk '{ print $14 + $15 }' "/proc/$p/stat"))); done; echo "$t"; }
	before=$(ticks)
	sleep 20
	after=$(ticks)
	report idle 'all processes, CPU-seconds a minute' "$(awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", t / hz * 3 }')" -
	worker=$(q -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'taskq worker' LIMIT 1")
	[[ ! -r /proc/$worker/smaps_rollup ]] || pss=$(awk '/^Pss:/ { printf "%.1f", $2 / 1024 }' "/proc/$worker/smaps_rollup")
	report idle 'an idle worker, MiB PSS' "$pss" -
}

taskq_install
scratch_begin taskq-bench
cluster_start "${settings[@]}"
q -f "$root/bench/setup.sql" >/dev/null
echo "taskq benchmark: $(q -c 'SHOW server_version'), $(nproc) cores, $runs runs each: median (min–max); fsync on; ${settings[*]}"
noise
for name in submit bulk drain latency idle; do
	! wants "$name" || "case_$name"
done
printf '\n%s\n\n| case | what | taskq | floor | ratio |\n|---|---|---|---|---|\n' "$noise_line"
printf '%s\n' "${rows[@]}"
