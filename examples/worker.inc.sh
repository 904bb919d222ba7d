# What worker.sh and http-worker.sh have in common: how a command is run, and ended, beside the
# heartbeats.  Who includes it defines claim, heartbeats and run_task, and sets name and command.
#
#   claim        a task into $scratch/claimed, which stays empty if there is none; fails if that
#                could not be asked
#   heartbeats   extends the lease as long as process $1 runs; ends that, and writes "cancel" or
#                "lost" into $scratch/state, when it is to end
#   run_task     what is in $scratch/claimed, by run_command

scratch=$(mktemp -d)
chmod 700 "$scratch"
command_pid=
heartbeat_pid=
stopping=

end_helpers() {
	[[ -z $heartbeat_pid ]] || kill "$heartbeat_pid" 2>/dev/null
	[[ -z $heartbeat_pid ]] || wait "$heartbeat_pid" 2>/dev/null
	heartbeat_pid=
}

# Runs the command on $scratch/payload; its exit code is in status.
run_command() {
	echo "$name: task $id ($kind, attempt $attempt)" >&2
	: >"$scratch/state"
	TASK_ID=$id TASK_KIND=$kind TASK_ATTEMPT=$attempt "${command[@]}" <"$scratch/payload" >"$scratch/result" 2>"$scratch/stderr" &
	command_pid=$!
	heartbeats "$command_pid" &
	heartbeat_pid=$!
	wait "$command_pid"
	status=$?
	# a signal for us has interrupted the wait: the trap has told the command to end
	while kill -0 "$command_pid" 2>/dev/null; do
		wait "$command_pid"
		status=$?
	done
	command_pid=
	end_helpers
}

stop() {
	stopping=yes
	[[ -z $command_pid ]] || kill -TERM "$command_pid" 2>/dev/null
}
trap stop TERM INT
trap 'end_helpers; rm -rf "$scratch"' EXIT

# Claims and runs until it is told to stop, or has run one if $once is set; cannot_claim says why
# there is no answer.
work() {
	while [[ -z $stopping ]]; do
		: >"$scratch/claimed"
		# in the background, so that a signal need not wait for the poll to end
		claim &
		if wait $!; then
			if [[ -s $scratch/claimed ]]; then
				run_task
				[[ -z $once ]] || break
			fi
		elif [[ -z $stopping ]]; then
			cannot_claim >&2
			sleep 1
		fi
	done
}
