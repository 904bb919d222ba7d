# Sourced by run.sh: the other task systems.  Each has functions that start it,
# fill it, and print a figure; what can't be installed is left out.
# shellcheck shell=bash
# shellcheck disable=SC2154

peers=$root/build/peers
node=$peers/node_modules/node/bin/node

peers_install() {
	[[ $with_peers = yes ]] || return 0
	"$root/scripts/setup.sh" bench || { say "without peers: their packages could not be installed"; with_peers=no; return 0; }
	mkdir -p "$peers"
	cp "$root"/bench/peers/* "$peers/"
	if [[ ! -x $node || ! -d $peers/node_modules/pg-boss ]]; then
		say "npm install in build/peers"
		(cd "$peers" && npm install --no-audit --no-fund --loglevel=error >"$peers/npm.log" 2>&1) ||
			{ tail -n 5 "$peers/npm.log" >&2; say "without graphile-worker and pg-boss"; }
	fi
	chmod -R a+rX "$peers"
	if [[ -x $node ]] && as_pg "$node" --version >/dev/null 2>&1; then
		have_node=yes
	fi
	if /usr/bin/python3 -c 'import celery, redis' 2>/dev/null && command -v redis-server >/dev/null; then
		have_celery=yes
	fi
}

has() {
	case $1 in
		graphile | pgboss) [[ -n ${have_node:-} ]] ;;
		celery) [[ -n ${have_celery:-} ]] ;;
	esac
}

# None takes longer than the limit; what it says when it fails is kept, and shown.
run_node() {
	as_pg timeout --foreground "$limit" "$node" "$peers/$1.mjs" "${@:2}" 2>"$scratch/$1.log" ||
		{ tail -n 5 "$scratch/$1.log" >&2; say "failed, or took more than $limit s: $*"; return 1; }
}
run_celery() { as_pg timeout --foreground "$limit" env REDIS_SOCKET="$scratch/redis.sock" PYTHONPATH="$peers" PYTHONDONTWRITEBYTECODE=1 "$@"; }

peers_start() {
	[[ $with_peers = yes ]] || return 0
	if has graphile; then
		run_node graphile migrate
		run_node pgboss migrate
	fi
	if has celery; then
		as_pg redis-server --port 0 --unixsocket "$scratch/redis.sock" --dir "$scratch" --save "" --daemonize yes --pidfile "$scratch/redis.pid" >/dev/null
		until_true Redis as_pg redis-cli -s "$scratch/redis.sock" ping >/dev/null 2>&1
	fi
}

peers_stop() {
	[[ ! -s $scratch/redis.pid ]] || kill "$(cat "$scratch/redis.pid")" 2>/dev/null || true
}

# Start worker processes that say "ready" and begin when told; leaves them in $workers.
start_nodes() {
	local script=$1 n=$2 i fd
	workers=() goes=()
	for ((i = 0; i < n; i++)); do
		mkfifo "$scratch/go.$i" "$scratch/ready.$i"
		set -m
		run_node "$script" work <"$scratch/go.$i" >"$scratch/ready.$i" &
		set +m
		workers+=($!)
		exec {fd}>"$scratch/go.$i"
		goes+=("$fd")
		read -r -t "$limit" <"$scratch/ready.$i" || { say "$script does not get ready"; return 1; }
		rm "$scratch/go.$i" "$scratch/ready.$i"
	done
}

go() {
	local fd
	for fd in "${goes[@]}"; do
		echo go >&"$fd"
		exec {fd}>&-
	done
}

# Each has a process group: the shells that started them are not the processes themselves.
stop_nodes() {
	local group
	for group in "${workers[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
	wait "${workers[@]}" 2>/dev/null || true
}

graphile_fill() {
	q -c "SELECT count(*) FROM (SELECT graphile_worker.add_jobs(array_agg(json_populate_record(NULL::graphile_worker.job_spec,
		json_build_object('identifier', '${2:-noop}', 'payload', '{}'::json)))) FROM generate_series(1, $1)) s" >/dev/null
}

graphile_drain() {
	local start end
	# a new table, and the planner knows how much there is
	q -c 'TRUNCATE graphile_worker._private_jobs'
	graphile_fill "$1" "${2:-noop}"
	q -c 'VACUUM ANALYZE graphile_worker._private_jobs'
	start_nodes graphile 2
	start=$(now)
	go
	q -c 'CALL graphile_wait()'
	end=$(now)
	stop_nodes
	rate "$1" "$start" "$end"
}

pgboss_drain() {
	local start worker
	run_node pgboss bulk "$1" >/dev/null
	q -c 'VACUUM ANALYZE' >/dev/null 2>&1
	start_nodes pgboss 2
	start=$(now)
	go
	for worker in "${workers[@]}"; do wait "$worker"; done
	rate "$1" "$start" "$(now)"
	q -c 'TRUNCATE pgboss.job CASCADE' 2>/dev/null || true
}

celery_worker() {
	(cd "$peers" && exec setsid env REDIS_SOCKET="$scratch/redis.sock" PYTHONDONTWRITEBYTECODE=1 \
		setpriv --reuid "$pg_user" --regid "$(id -g "$pg_user")" --init-groups \
		/usr/bin/python3 -m celery -A celery_noop worker -c 2 --loglevel=ERROR --without-gossip --without-mingle --without-heartbeat >"$scratch/celery.log" 2>&1) &
	celery_pid=$!
}

celery_worker_stop() {
	kill -TERM -- "-$celery_pid" 2>/dev/null || kill -TERM "$celery_pid" 2>/dev/null || true
	wait "$celery_pid" 2>/dev/null || true
}

celery_drain() {
	run_celery /usr/bin/python3 "$peers/celery_noop.py" bulk "$1" >/dev/null
	run_celery /usr/bin/python3 "$peers/celery_noop.py" drain "$1" >"$scratch/celery.rate" &
	local waiter=$!
	celery_worker
	wait "$waiter"
	celery_worker_stop
	cat "$scratch/celery.rate"
}
