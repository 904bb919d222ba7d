#!/usr/bin/env bash
# taskq over HTTP, on a throw-away server: PostgreSQL, PostgREST and nginx with the files of
# examples/, and a client's day by curl.
#
#   make http-demo              leaves nothing behind
#   make http-demo KEEP=1       leaves it running, and says how to go on
#   scripts/http-demo.sh stop DIRECTORY      ends one that was left
#
# Without PostgREST on the PATH it says how to get it, and shows the same with the tests'
# stand-in.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/http.sh
. "$(dirname "$0")/http.sh"

prepare() {
	local file
	for file in "$root"/examples/rest/*/*.sql; do
		[[ ${file##*/} != $(basename "${file%/*}").sql ]] || contracts+=("$(basename "${file%/*}")")
	done
	http_begin "A server of its own, with taskq, PostgREST and nginx" taskq-http
	psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -c "SELECT auth.account_set('operator@example.com', 'YourPassword', 'web_user', 'example')" \
		-c "INSERT INTO typed_app.organization VALUES ('example', 'Example')"
}

log_in() {
	title "Log in: an email and a password for a token"
	export URL
	show "TOKEN=\$(curl -s $URL/rpc/login -H 'Content-Profile: api' -H 'Content-Type: application/json' \\
      -d '{\"email\": \"operator@example.com\", \"password\": \"YourPassword\"}' | jq -r .access_token)
  A=\"Authorization: Bearer \$TOKEN\" J='Content-Type: application/json'; echo \"\${TOKEN:0:40}...\""
}

first_task() {
	title "Submit: 202, and where the task is"
	show "curl -s -D - -H \"\$A\" -H \"\$J\" $URL/task -d '{\"kind\": \"count\", \"payload\": {\"to\": 12}}' | grep -E '^(HTTP|Location)'"
	show "ID=\$(curl -s -H \"\$A\" -H \"\$J\" $URL/rpc/task_submit -d '{\"kind\": \"count\", \"payload\": {\"to\": 12}}' | jq -r .); echo \$ID"

	title "Watch: each call returns when something is new; no polling"
	typed "SEEN=null; until jq -e '.state | IN(\"completed\", \"failed\", \"cancelled\")' <<<\$SEEN >/dev/null; do
      SEEN=\$(curl -s -H \"\$A\" -H \"\$J\" $URL/rpc/task_watch -d \"{\\\"id\\\": \\\"\$ID\\\", \\\"seen\\\": \$SEEN}\")
      jq -c '[.state, .percent, .message]' <<<\$SEEN
  done"
	local SEEN=null said=0
	until jq -e '.state | IN("completed", "failed", "cancelled")' <<<"$SEEN" >/dev/null; do
		((++said < 100)) || return 1
		SEEN=$(curl -sS -H "$A" -H "$J" "$URL/rpc/task_watch" -d "{\"id\": \"$ID\", \"seen\": $SEEN}")
		jq -c '[.state, .percent, .message]' <<<"$SEEN"
	done
	echo
	show "curl -s -H \"\$A\" '$URL/task?id=eq.'\$ID'&select=state,duration,result' | jq -c ."
}

cancel_and_list() {
	title "Cancel one, let one fail, and list"
	show "ID=\$(curl -s -H \"\$A\" -H \"\$J\" $URL/rpc/task_submit -d '{\"kind\": \"count\", \"payload\": {\"to\": 1000}}' | jq -r .)
  curl -s -H \"\$A\" -H \"\$J\" $URL/rpc/task_cancel -d \"{\\\"id\\\": \\\"\$ID\\\", \\\"reason\\\": \\\"changed my mind\\\"}\" | jq -c ."
	show "ID=\$(curl -s -H \"\$A\" -H \"\$J\" $URL/rpc/task_submit -d '{\"kind\": \"count\", \"payload\": {\"fail_at\": 1}}' | jq -r .)
  curl -s -H \"\$A\" \"$URL/rpc/task_wait?id=\$ID&timeout=20s\" | jq -c '{state, error: .error.message}'"
	show "curl -s -H \"\$A\" '$URL/rpc/task_list?n=4&select=kind,state,progress,summary' | jq -c '.[]'"
	title "An unknown task, and no token"
	show "curl -s -H \"\$A\" '$URL/rpc/task_status?id=01a1fe00-0000-7000-8000-000000000000' | jq -c ."
	show "curl -s -o /dev/null -w '%{http_code}\\n' $URL/task"
}

# One that every one of the documents has: a task by its URL.
a_contract() {
	[[ " ${contracts[*]} " = *' celery '* ]] || return 0
	title "The URLs of another document: an operator's guide to Celery tasks, under /celery"
	show "TASK_ID=\$(curl -s -X POST $URL/celery/api/v1/deployments -H \"\$A\" -H \"\$J\" \\
      -d '{\"patch_id\": 123, \"asset_ids\": [456, 457, 458], \"strategy\": \"canary\"}' | jq -r '.task_id')
  while STATUS=\$(curl -s $URL/celery/api/v1/tasks/\$TASK_ID -H \"\$A\"); echo \"\$STATUS\" | jq -c .; [ \"\$(echo \"\$STATUS\" | jq .ready)\" = false ]; do
      sleep 0.25
  done"
}

how_to_go_on() {
	title "How to go on"
	if [[ -n ${KEEP:-} ]]; then
		keep=1
		cat <<-TEXT
			  All of it is still running. In a shell:

			    URL=$URL
			    A="Authorization: Bearer $TOKEN"
			    J='Content-Type: application/json'
			    curl -s -H "\$A" -H "\$J" \$URL/rpc/task_submit -d '{"kind": "count", "payload": {"to": 100}}'
			    curl -s -H "\$A" "\$URL/rpc/task_list?n=5&select=id,state,progress,message" | jq -c '.[]'
			    curl -s -H "\$A" \$URL/ | jq -r '.paths | keys[]'                  # all there is

			  The contracts are under$(printf ' /%s' "${contracts[@]}"). The token is good for an hour; the account is
			  operator@example.com with password YourPassword. As superuser:

			    $bindir/psql -h $scratch -p $PGPORT -U postgres demo

			  Stop it and remove it:

			    $root/scripts/http-demo.sh stop $scratch
		TEXT
	else
		cat <<-TEXT
			  All of it is stopped and removed now. To keep it and go on with curl:

			    make http-demo KEEP=1

			  How to set it up on a server of yours: docs/http.md.
		TEXT
	fi
}

case ${1:-} in
stop)
	stop "${2:?which directory?}"
	;;
*)
	prepare
	log_in
	first_task
	cancel_and_list
	a_contract
	how_to_go_on
	;;
esac
