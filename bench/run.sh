#!/usr/bin/env bash
# taskq beside the floor that plain SQL sets and beside other task systems, in one
# run on one throw-away server.
#
#   make bench                  all cases, medians of RUNS=3
#   make bench CASE=drain       one or several of those at the top of bench/cases.sh
#   make bench PEERS=no         without the other systems (which come from apt and npm)
#   make bench FLOOR=no PEERS=no    taskq alone
#   bench/compare.sh            two builds of taskq instead
#   TASKS=200000 SECONDS_EACH=5 PENDING=10000000 change how much is done
#   LIMIT=900                   seconds that any one wait may take

set -euo pipefail
# what fails in "$(…)" ends that, and add() sees that there is no figure
shopt -s inherit_errexit
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=bench/peers.sh
. "$root/bench/peers.sh"
# shellcheck source=bench/cases.sh
. "$root/bench/cases.sh"

runs=${RUNS:-3}
seconds=${SECONDS_EACH:-5}
tasks=${TASKS:-200000}
pending=${PENDING:-10000000}
case=${CASE:-all}
with_peers=${PEERS:-yes}
with_floor=${FLOOR:-yes}
limit=${LIMIT:-900}
settings=("shared_buffers = '512MB'" "max_wal_size = '8GB'" "checkpoint_timeout = '30min'" "autovacuum = on"
	"taskq.max_workers = 2" "taskq.worker_idle_timeout = '1h'")

systems=(taskq floor graphile pgboss celery pgmq)
declare -A name=([taskq]=taskq [floor]="plain SQL" [graphile]=graphile-worker [pgboss]=pg-boss [celery]="Celery + Redis" [pgmq]="pgmq's way")
declare -A got=()
table=()
row_before=

# No statement takes longer than the limit; one that is given up is shown.
q() {
	PGOPTIONS="-c statement_timeout=${limit}s" as_pg psql -XAtq -v ON_ERROR_STOP=1 "$@" ||
		{ say "failed, or took more than $limit s: ${*: -1}"; return 1; }
}

# Waits for a command to succeed, as long as the limit is: $1 says what for.
until_true() {
	local what=$1 end=$((SECONDS + limit))
	shift
	until "$@"; do
		((SECONDS < end)) || { say "waited $limit s for $what"; return 1; }
		sleep 0.02
	done
}

# Is this what the query says?
says() { [[ $(q -c "$2") = "$1" ]]; }

wants() { [[ $case = all || " $case " = *" $1 "* ]]; }
now() { date +%s.%N; }
rate() { awk -v n="$1" -v a="$2" -v b="$3" 'BEGIN { printf "%.0f\n", n / (b - a) }'; }
floor_too() { [[ $with_floor = yes ]]; }

# A figure of a system; none is a fault of the measurement.
add() {
	[[ $2 =~ [0-9] ]] || { say "no figure of ${name[$1]}"; exit 1; }
	got[$1]+=" $2"
}

# Numbers on standard input as "median (min–max)", thousands set apart.
summary() {
	sort -n | awk '
		function f(x, i, s) {
			if (x < 10000)
				return x
			s = sprintf("%d", x)
			for (i = length(s) - 3; i > 0; i -= 3)
				s = substr(s, 1, i) "," substr(s, i + 1)
			return s
		}
		{ v[NR] = $1 }
		END { printf "%s", f(v[int((NR + 1) / 2)]); if (NR > 1) printf " (%s–%s)", f(v[1]), f(v[NR]) }'
}

median() { tr ' ' '\n' <<<"$1" | grep . | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# What was added since the last row, as text now and as a row of the table in the
# end.  $3: more (is better) or less.
row() {
	local what=$2 better=$3 line="| $1 | $2 |" s text ours ratio
	ours=$(median "${got[taskq]}")
	printf '\n%s: %s\n' "$1" "$what"
	for s in "${systems[@]}"; do
		if [[ -z ${got[$s]:-} ]]; then
			line+=" |"
			continue
		fi
		text=$(tr ' ' '\n' <<<"${got[$s]}" | grep . | summary)
		ratio=
		if [[ $s != taskq ]]; then
			ratio=$(awk -v a="$ours" -v b="$(median "${got[$s]}")" -v better="$better" \
				'BEGIN { if (a > 0 && b > 0) printf "%.2f", better == "more" ? a / b : b / a }')
		fi
		printf '    %-16s %-32s %s\n' "${name[$s]}" "$text" "${ratio:+taskq: $ratio ×}"
		line+=" $text${ratio:+, **$ratio ×**} |"
	done
	table+=("$line")
	# "… p99" goes with the row before
	[[ $2 = …* ]] || row_before=$2
	[[ -z ${FIGURES:-} ]] || printf '%s\t%s\t%s\t%s\n' "$1" "$row_before$([[ $2 != …* ]] || echo " $2")" "$3" "$ours" >>"$FIGURES"
	got=()
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
	echo "noise: a fixed loop takes $(printf '%s\n' "${cpu[@]}" | summary) ms, a synced 8 kB write $(printf '%s\n' "${disk[@]}" | summary) ms"
}

main() {
	local c before
	for c in $case; do
		[[ " all ${cases[*]} " = *" $c "* ]] || { say "no such case: $c; there are: ${cases[*]}"; exit 1; }
	done
	# what is installed there, or this
	if [[ -n ${INSTALLED:-} ]]; then
		PATH=$(pg --bindir):$PATH
	else
		taskq_install
	fi
	scratch_begin taskq-bench
	# however it ends
	# shellcheck disable=SC2154
	trap 'status=$?; set +e; peers_stop; (exit "$status"); scratch_end' EXIT
	peers_install
	cluster_start "${settings[@]}"
	q -f "$root/bench/sql/setup.sql" >/dev/null
	peers_start
	[[ $with_peers != yes ]] || ! has graphile || q -f "$root/bench/sql/peers.sql" >/dev/null
	echo "PostgreSQL $(q -c 'SHOW server_version'), $(nproc) cores, medians of $runs runs (lowest–highest); fsync on; ${settings[*]}"
	[[ $with_peers != yes ]] || ! has graphile ||
		echo "graphile-worker 0.18.0 as its page on performance tunes it, 2 processes; pg-boss 12.35.0 fetching 1,000 at a time, 2 processes; Node $(as_pg "$node" --version)"
	[[ $with_peers != yes ]] || ! has celery ||
		echo "Celery $(/usr/bin/python3 -c 'import celery; print(celery.__version__)') with $(redis-server --version | grep -o 'v=[0-9.]*' | sed 's/v=/Redis /'), 2 processes, results ignored"
	before=$(noise)
	echo "$before"
	for c in "${cases[@]}"; do
		! wants "$c" || "case_$c"
	done
	printf '\nbefore: %s\nafter: %s\n\n| case | what |' "$before" "$(noise)"
	for c in "${systems[@]}"; do printf ' %s |' "${name[$c]}"; done
	printf '\n|---|---|'
	for c in "${systems[@]}"; do printf -- '---|'; done
	printf '\n'
	printf '%s\n' "${table[@]}"
}

main
