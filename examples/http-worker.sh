#!/usr/bin/env bash
# An external worker over HTTP, in shell, curl and jq: claims tasks from
# PostgREST and runs a command for each.
#
#   TASKQ_URL=http://localhost:3000 TASKQ_TOKEN=eyJ… examples/http-worker.sh -k send_mail -- ./send-mail
#
# The command gets the payload on standard input, and TASK_ID, TASK_KIND and
# TASK_ATTEMPT in its environment.  What it prints is the result (JSON, or else
# kept as a string); exit code 0 is success, 100 "failed, do not try again".
# The token's role has taskq_worker and the kinds:
# SELECT taskq.kind_grant('send_mail', 'web_worker', 'work').
#
# TASKQ_WAIT_URL, if set, is another PostgREST, for the call that waits for
# tasks.  With TASKQ_TOKEN_FILE the token is read from that file each time, so
# that it can be renewed.
#
# Every call may be repeated: an end that is told twice with the same claim is
# told once, and what was claimed by an answer that got lost comes again when
# its lease is over.

set -uo pipefail

queues=null kinds=null lease=60 name="$(hostname)-$$" once=
list() {
	jq -cn --arg names "$1" '$names | split(",")'
}
while getopts 'q:k:l:n:1' option; do
	case $option in
		q) queues=$(list "$OPTARG") ;;
		k) kinds=$(list "$OPTARG") ;;
		l) lease=$OPTARG ;;
		n) name=$OPTARG ;;
		1) once=yes ;;
		*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
if (($# == 0)) || [[ -z ${TASKQ_URL:-} ]]; then
	echo "usage: TASKQ_URL=… TASKQ_TOKEN=… $0 [-q queue,…] [-k kind,…] [-l lease in seconds] [-n name] [-1] -- command …" >&2
	exit 2
fi

# shellcheck source=examples/worker.inc.sh
. "$(dirname "${BASH_SOURCE[0]}")/worker.inc.sh"

command=("$@")

# post FUNCTION FILE: calls it with the arguments that are in the file; what it
# says is in $scratch/answer.FUNCTION, the status in status.FUNCTION, 000 if no
# answer came.  The token is in no program's arguments, for everybody on this
# machine can read these.
post() {
	local base=$TASKQ_URL
	[[ $1 != task_claim ]] || base=${TASKQ_WAIT_URL:-$TASKQ_URL}
	curl -sS --max-time 90 -o "$scratch/answer.$1" -w '%{http_code}' -K - \
		-H 'Content-Type: application/json' -H 'Content-Profile: taskq' --data-binary "@$2" "$base/rpc/$1" \
		<<<"header = \"Authorization: Bearer $(token)\"" >"$scratch/status.$1" 2>"$scratch/error.$1" ||
		echo 000 >"$scratch/status.$1"
	[[ $(<"$scratch/status.$1") == 2?? ]]
}

token() {
	if [[ -n ${TASKQ_TOKEN_FILE:-} ]]; then cat "$TASKQ_TOKEN_FILE"; else printf %s "${TASKQ_TOKEN:-}"; fi
}

# The last call of this function was refused for good: neither was the server
# away, nor is it to be asked again later, nor has the token to be renewed.
refused() {
	[[ $(<"$scratch/status.$1") =~ ^4 && ! $(<"$scratch/status.$1") =~ ^4(01|08|29)$ ]]
}

why() {
	printf '%s %s' "$(<"$scratch/status.$1")" "$(head -c 500 "$scratch/answer.$1" 2>/dev/null || cat "$scratch/error.$1")"
}

claim() {
	rm -f "$scratch/answer.task_claim"
	jq -n --arg worker "$name" --argjson queues "$queues" --argjson kinds "$kinds" --arg lease "$lease s" \
		'{worker: $worker, queues: $queues, kinds: $kinds, lease: $lease, wait: "20 s"}' >"$scratch/claim"
	post task_claim "$scratch/claim" || return 1
	jq -c '.[0] // empty' "$scratch/answer.task_claim" >"$scratch/claimed"
}

# Extends the lease three times in its length, and ends the command when it is
# cancelled ("cancel" in the file) or lost ("lost").
heartbeats() {
	while sleep "$((lease / 3 > 0 ? lease / 3 : 1))"; do
		if post task_heartbeat "$scratch/proof"; then
			[[ $(jq -r .cancel_requested "$scratch/answer.task_heartbeat") == true ]] || continue
			echo cancel >"$scratch/state"
		elif refused task_heartbeat; then
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
	local function=$1
	shift
	jq "$@" "$scratch/proof" >"$scratch/end"
	until post "$function" "$scratch/end"; do
		if refused "$function"; then
			echo "$name: task $id: $(why "$function")" >&2
			return
		fi
		sleep 1
	done
}

run_task() {
	local status kind attempt
	id=$(jq -r .id "$scratch/claimed") kind=$(jq -r .kind "$scratch/claimed") attempt=$(jq -r .attempt "$scratch/claimed")
	jq -c .payload "$scratch/claimed" >"$scratch/payload"
	jq '{id, token}' "$scratch/claimed" >"$scratch/proof"

	run_command
	if [[ $(<"$scratch/state") == lost ]]; then
		echo "$name: the claim of task $id is lost" >&2
	elif [[ -n $stopping && $status != 0 ]]; then
		hand_in task_release .
	elif [[ $status == 0 || $(<"$scratch/state") == cancel ]]; then
		# one JSON value is kept as it is, all else as a string
		jq -se 'length == 1' "$scratch/result" >/dev/null 2>&1 || jq -Rs . "$scratch/result" >"$scratch/text"
		[[ ! -e $scratch/text ]] || mv "$scratch/text" "$scratch/result"
		# shellcheck disable=SC2016
		hand_in task_complete --slurpfile result "$scratch/result" '. + {result: $result[0]}'
	else
		# shellcheck disable=SC2016
		hand_in task_fail --arg error "$(tail -c 2000 "$scratch/stderr")" --argjson status "$status" \
			'. + {error: $error, details: {exit_code: $status}, retry: ($status != 100)}'
	fi
}

cannot_claim() {
	echo "$name: cannot claim: $(why task_claim)"
}

work
