#!/bin/sh
# Run a task in the foreground: queue it if it is held, wait for its end, say how it ended.
#
#     TOKEN=... BASE_URL=http://127.0.0.1:8080/typed run_task.sh TASK_ID
#
# In SQL: SELECT taskq.task_run_now(id), and then SELECT * FROM taskq.task_wait(id).
# Ends with 0 for COMPLETED, 1 for FAILED, 2 where there is no such task.  Needs curl and jq.

set -eu
task="${BASE_URL:?}/api/v1/tasks/${1:?TASK_ID}/"

ask() {
	curl -sS -H "Authorization: Bearer ${TOKEN:?}" "$@"
}

# 409: it runs already, or is over
ask -X POST "${task}run/" >/dev/null
while :; do
	answer=$(ask "$task?wait=30")
	case $(printf %s "$answer" | jq -r .status) in
	COMPLETED)
		ask "${task}output/" | jq .output
		exit 0
		;;
	FAILED)
		printf %s "$answer" | jq -r '.data.error, (.data.traceback // empty)' >&2
		exit 1
		;;
	PENDING | RUNNING) ;;
	*)
		printf '%s\n' "$answer" >&2
		exit 2
		;;
	esac
done
