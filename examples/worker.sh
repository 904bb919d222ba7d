#!/usr/bin/env bash
# An external worker in plain shell: claims tasks and runs a command for each.
#
#   examples/worker.sh -q mails -k send_mail -- ./send-mail
#
# The command gets the payload on standard input, and TASK_ID, TASK_KIND and
# TASK_ATTEMPT in its environment.  What it prints is the result (JSON, or else
# kept as a string); exit code 0 is success, 100 "failed, do not try again".
# Connect with the usual PG* variables, as a role that has taskq_worker and the
# kinds: SELECT taskq.kind_grant('send_mail', 'mailer', 'work').
#
# What a worker has to get right, and how this one does:
#   - the claim is committed before the work begins (psql's autocommit)
#   - heartbeats go on while the command runs, from a process of their own
#   - a cancel, or a claim that is lost, ends the command
#   - SIGTERM gives the task back; the server being away is waited out
#   - the result is handed in again until the server has taken or refused it

set -uo pipefail

queues= kinds= lease=60 name="$(hostname)-$$" once=
while getopts 'q:k:l:n:1' option; do
	case $option in
		q) queues=$OPTARG ;;
		k) kinds=$OPTARG ;;
		l) lease=$OPTARG ;;
		n) name=$OPTARG ;;
		1) once=yes ;;
		*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
if (($# == 0)); then
	echo "usage: $0 [-q queue,…] [-k kind,…] [-l lease in seconds] [-n name] [-1] -- command …" >&2
	exit 2
fi

# shellcheck source=examples/worker.inc.sh
. "$(dirname "${BASH_SOURCE[0]}")/worker.inc.sh"

command=("$@")

# A query with variables :'name' set by -v; prints rows as tab-separated text.
# psql takes them only from a file or standard input, and so no value ever is SQL.
query() {
	local sql=$1
	shift
	psql -XAtq -F $'\t' -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate "$@" <<<"$sql" 2>"$scratch/error"
}

# The last query failed because the claim is lost, or the arguments are wrong:
# anything but the server being away.
refused() {
	grep -qE 'ERROR: +(PT4|22|42|54)' "$scratch/error"
}

claim() {
	query "SELECT id, token, kind, attempt, encode(convert_to(coalesce(payload, 'null')::text, 'UTF8'), 'base64')
		FROM taskq.task_claim(:'worker', string_to_array(nullif(:'queues', ''), ','), string_to_array(nullif(:'kinds', ''), ','),
			lease => make_interval(secs => :lease), wait => '20 s')" \
		-v worker="$name" -v queues="$queues" -v kinds="$kinds" -v lease="$lease" | tr -d '\n' >"$scratch/claimed"
}

# Extends the lease three times in its length, and ends the command when it is
# cancelled ("cancel" in the file) or lost ("lost").
heartbeats() {
	local answer
	while sleep "$((lease / 3 > 0 ? lease / 3 : 1))"; do
		answer=$(query "SELECT cancel_requested FROM taskq.task_heartbeat(:'id', :'token')" -v id="$id" -v token="$token")
		if [[ $answer == t ]]; then
			echo cancel >"$scratch/state"
		elif [[ -z $answer ]] && refused; then
			echo lost >"$scratch/state"
		else
			continue
		fi
		kill -TERM "$1" 2>/dev/null
		return
	done
}

# Hand in how it ended, again and again while the server is away.
hand_in() {
	local sql=$1
	shift
	until query "$sql" -v id="$id" -v token="$token" "$@" >/dev/null; do
		if refused; then
			echo "$name: task $id is not ours any more: $(tr '\n' ' ' <"$scratch/error")" >&2
			return
		fi
		sleep 1
	done
}

run_task() {
	local status payload
	IFS=$'\t' read -r id token kind attempt payload <"$scratch/claimed"
	base64 -d <<<"$payload" >"$scratch/payload"

	run_command
	if [[ $(<"$scratch/state") == lost ]]; then
		echo "$name: the claim of task $id is lost" >&2
	elif [[ -n $stopping && $status != 0 ]]; then
		hand_in "SELECT taskq.task_release(:'id', :'token')"
	elif [[ $status == 0 || $(<"$scratch/state") == cancel ]]; then
		# what is no JSON is kept as a string
		hand_in "SELECT taskq.task_complete(:'id', :'token', CASE WHEN :'json' = 't' THEN :'result'::jsonb ELSE to_jsonb(:'result'::text) END)" \
			-v result="$(<"$scratch/result")" -v json="$(is_json)"
	else
		hand_in "SELECT taskq.task_fail(:'id', :'token', :'error', jsonb_build_object('exit_code', :status), retry => :'retry'::bool)" \
			-v error="$(tail -c 2000 "$scratch/stderr")" -v status="$status" -v retry="$([[ $status == 100 ]] && echo f || echo t)"
	fi
}

is_json() {
	query "SELECT :'result'::jsonb IS NOT NULL" -v result="$(<"$scratch/result")" || echo f
}

cannot_claim() {
	cat "$scratch/error"
}

work
