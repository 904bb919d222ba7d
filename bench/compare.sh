#!/usr/bin/env bash
# Two builds of taskq in one sitting, one after the other and again: what disturbs the
# machine disturbs both.  Both are installed already, each in a PostgreSQL of its own; what is
# measured are bench/cases.sh, without other systems and without plain SQL.
#
#   bench/compare.sh PG_CONFIG_A PG_CONFIG_B CASE…
#   RUNS=5 how often each (3); TASKS, SECONDS_EACH, PENDING, LIMIT as for run.sh

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if (($# < 3)); then
	sed -n 's/^#   //p' "$0" >&2
	exit 2
fi
a=$1 b=$2
shift 2
figures=$(mktemp -d)
trap 'rm -rf "$figures"' EXIT
failed=0

for ((i = 1; i <= ${RUNS:-3} * $#; i++)); do
	case=${@:(i - 1) % $# + 1:1}
	for which in a b; do
		printf 'round %d, %s, %s\n' $(((i - 1) / $# + 1)) "$case" "${!which}" >&2
		CASE=$case RUNS=1 PEERS=no FLOOR=no INSTALLED=yes FIGURES=$figures/$which PG_CONFIG=${!which} \
			"$here/run.sh" >"$figures/log" 2>&1 ||
			{ failed=1; grep -v '^server log' "$figures/log" | tail -n 5 >&2; echo "$case did not come to its end: ${!which}" >&2; }
	done
done

printf '\na: %s\nb: %s\n\n| case | what | a | b | b by a |\n|---|---|---|---|---|\n' "$a" "$b"
touch "$figures/a" "$figures/b"
# median (lowest-highest) of each row, in the order in which the rows came
awk -F '\t' '
	function summary(values, n, i, j, v, t) {
		n = split(values, v, " ")
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && v[j] + 0 < v[j - 1] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
		middle = v[int((n + 1) / 2)]
		return n == 0 ? "-" : n == 1 ? v[1] : v[int((n + 1) / 2)] " (" v[1] "–" v[n] ")"
	}
	FNR == 1 { file++ }
	{
		row = "| " $1 " | " $2 " |"
		if (!(row in known)) { known[row] = 1; order[++rows] = row; better[row] = $3 }
		values[FILENAME == a ? "a" : "b", row] = values[FILENAME == a ? "a" : "b", row] " " $4
	}
	END {
		for (i = 1; i <= rows; i++) {
			row = order[i]
			first = summary(values["a", row]); x = middle
			second = summary(values["b", row]); y = middle
			ratio = x > 0 && y > 0 ? sprintf("%.2f (%s is better)", y / x, better[row]) : "-"
			print row " " first " | " second " | " ratio " |"
		}
	}' a="$figures/a" "$figures/a" "$figures/b"
exit "$failed"
