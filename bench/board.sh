#!/usr/bin/env bash
# What an open board costs the server: each page of it in headless Chromium, on a throw-away
# server with nginx and PostgREST (or, where that is not on the PATH, the tests' stand-in).
#
#   make bench-board                        three tables: empty; with many tasks; while 2,000 a second run
#   make bench-board WHEN="empty many"      some of empty, many, busy
#   SECONDS_EACH=20  how long a page is looked at; TASKS=3000000, KINDS=300, RATE=2000
#   PAGES="Overview Tasks" some pages, ROLE=web_tenant_operator who looks, STATEMENTS=5 the dearest of a page, too
#   KEEP=1           leaves the server running; scripts/http-demo.sh stop DIRECTORY ends it
#   BOARDS="10 50 100"       instead of pages: so many overviews at once (bench/boards.js)
#
# DB time is what pg_stat_statements has of the sessions of PostgREST, planning with it; CPU what
# these sessions, and PostgREST with nginx, have used; all in per cent of a core or ms a second.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=scripts/http.sh
. "$root/scripts/http.sh"

tasks=${TASKS:-3000000}
kinds=${KINDS:-300}
when=${WHEN:-empty many busy}
modules=$root/test/board/node_modules

ask() { psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

site() {
	jq -nc --arg url "$URL" --arg chromium "$(command -v chromium)" --arg scratch "$scratch" --arg seconds "${SECONDS_EACH:-20}" --arg pages "${PAGES:-}" --arg statements "${STATEMENTS:-0}" \
		--arg boards "${BOARDS:-}" --arg token "$(ask -c "SELECT auth.token('${ROLE:-web_operator}', 'who@example.com', $([[ ${ROLE:-web_operator} = web_operator ]] && echo NULL || echo "'acme'"), '10 hours')")" \
		'{url: $url, chromium: $chromium, scratch: $scratch, seconds: ($seconds | tonumber), pages: ($pages | split(" ") | map(select(. != ""))), statements: ($statements | tonumber),
			boards: ($boards | split(" ") | map(select(. != "") | tonumber)), token: $token, claims: {}}'
}

measure() {
	printf '\n%s (load %s)\n\n' "$1" "$(cut -d' ' -f1 /proc/loadavg)"
	site | HOME=$scratch NODE_PATH=$modules node "$root/bench/board${BOARDS:+s}.js"
}

busy() {
	local load rate=${RATE:-2000}
	echo "SELECT taskq.task_submit('noop');" >"$scratch/submit.sql"
	chmod a+r "$scratch/submit.sql"
	as_pg env PGDATABASE=demo pgbench -n -M prepared -f "$scratch/submit.sql" -c 4 -R "$rate" -T 36000 >/dev/null 2>&1 &
	load=$!
	measure "while $rate tasks a second are submitted and run"
	pkill -TERM -P "$load" 2>/dev/null || true
	kill "$load" 2>/dev/null || true
	wait "$load" 2>/dev/null || true
}

"$root/scripts/setup.sh" board
http_begin "A board, on a server of its own" taskq-bench "shared_preload_libraries = 'taskq, pg_stat_statements'" "pg_stat_statements.track_planning = on" "shared_buffers = '512MB'" \
	"max_wal_size = '8GB'" "checkpoint_timeout = '30min'" "taskq.max_workers = 3" "taskq.worker_idle_timeout = '1h'" "max_connections = ${CONNECTIONS:-100}"
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -f "$root/bench/sql/board_setup.sql"
ask -c "SELECT taskq.task_submit('noop')" >/dev/null
echo "PostgreSQL $(ask -c 'SHOW server_version'), $(nproc) cores"
[[ " $when " != *' empty '* ]] || measure 'an empty database'
if [[ " $when " == *' many '* || " $when " == *' busy '* ]]; then
	step "$tasks tasks"
	psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -v tasks="$tasks" -v kinds="$kinds" -f "$root/bench/sql/board.sql"
	ask -c 'VACUUM ANALYZE' -c CHECKPOINT -c "ALTER SYSTEM SET autovacuum_naptime = '1h'" -c 'SELECT pg_reload_conf()' >/dev/null
	[[ " $when " != *' many '* ]] || measure "$tasks finished tasks of $kinds kinds, 100,000 that wait in 1,000 queues"
	[[ " $when " != *' busy '* ]] || busy
fi
[[ -z ${KEEP:-} ]] || { keep=1; echo "$root/scripts/http-demo.sh stop $scratch"; }
