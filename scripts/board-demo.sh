#!/usr/bin/env bash
# The board, on a throw-away server where tasks run, fail and wait: open the URL that it prints.
#
#   make board-demo             until Ctrl-C; leaves nothing behind
#   make board-pictures         pictures of its pages, in build/board-pictures
#   scripts/board-demo.sh pictures DIRECTORY
#
# BOARD_DEMO_SECONDS=60 ends it after a minute; pictures are taken after so many (75).
# Without PostgREST on the PATH the tests' stand-in answers.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/http.sh
. "$(dirname "$0")/http.sh"

accounts=('operator@example.com web_operator' 'boss@acme.example web_tenant_operator acme' 'ann@acme.example web_user acme' 'bob@umbrella.example web_user umbrella')

# A statement as somebody would call it over HTTP.
as_account() {
	local email role tenant
	read -r email role tenant <<<"$1"
	psql -XAtq -U authenticator -v ON_ERROR_STOP=1 -v role="$role" -v claims="$(jq -nc --arg s "$email" --arg r "$role" --arg t "$tenant" \
		'{sub: $s, role: $r} + if $t == "" then {} else {tenant: $t} end')" <<-SQL
		SET ROLE :"role";
		SET request.jwt.claims = :'claims';
		$2
	SQL
}

ask() {
	psql -XAtq -v ON_ERROR_STOP=1 -c "$1"
}

until_true() {
	for _ in {1..300}; do
		[[ $(ask "$1") != t ]] || return 0
		sleep 0.2
	done
	say "this did not come true: $1"
	return 1
}

prepare() {
	local account email role tenant
	http_begin "The board, on a server of its own" taskq-board "taskq.max_workers = 6" "max_worker_processes = 16"
	step "accounts, and a shop's tasks: examples/board.sql"
	for account in "${accounts[@]}"; do
		read -r email role tenant <<<"$account"
		ask "SELECT auth.account_set('$email', 'YourPassword', '$role', nullif('$tenant', ''))" >/dev/null
	done
	psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -f "$root/examples/board.sql"
}

# Some of each sort: failed, waiting for this and that, to come.
first_tasks() {
	local invoices="SELECT taskq.task_submit_many('send_invoice', array(SELECT jsonb_build_object('invoice', 'R-' || 1000 + n, 'to', 'customer' || n || '@example.org') FROM generate_series(1, %d) n))"
	step "the mail server is down: invoices fail"
	# shellcheck disable=SC2059
	as_account "${accounts[2]}" "$(printf "$invoices" 36);" >/dev/null
	# shellcheck disable=SC2059
	as_account "${accounts[3]}" "$(printf "$invoices" 9);" >/dev/null
	as_account "${accounts[2]}" "SELECT taskq.template_submit('upload', '{\"file\": \"catalogue.pdf\"}', 'catalogue.pdf');" >/dev/null
	as_account "${accounts[3]}" "SELECT taskq.task_submit('transcode_video', jsonb_build_object('file', 'holiday' || n || '.mp4')) FROM generate_series(1, 3) n;
		SELECT taskq.task_submit('resize_image', '{\"file\": \"logo.png\"}', delay => '3 hours', tags => '{logo}');" >/dev/null
	as_account "${accounts[0]}" "SELECT taskq.task_submit('archive', '{\"year\": 2019}'), taskq.task_submit('archive', '{\"year\": 2020}'), taskq.task_submit('archive', '{\"year\": 2021}', run_at => 'infinity');
		SELECT taskq.task_submit('send_invoice', '{\"invoice\": \"of the report\"}', depends_on => array(SELECT id FROM taskq.task_list('{\"kind\": \"monthly_report\", \"state\": \"running\"}', n => 1)))
		WHERE EXISTS (SELECT FROM taskq.task_list('{\"kind\": \"monthly_report\", \"state\": \"running\"}', n => 1));" >/dev/null
	until_true "SELECT (SELECT count(*) FROM taskq.task_list('{\"kind\": \"send_invoice\", \"state\": \"failed\"}', n => 100)) >= 45
		AND EXISTS (SELECT FROM taskq.task_list('{\"kind\": \"upload_step\", \"state\": \"failed\"}', n => 1))"
	ask "UPDATE shop.service SET up = true WHERE name = 'mail'" >/dev/null
	step "it is up again: who retries them sends them"
}

# What customers do meanwhile.
some_more() {
	as_account "${accounts[2]}" "SELECT taskq.task_submit('resize_image', jsonb_build_object('file', 'photo' || (random() * 1000)::int || CASE WHEN random() < 0.1 THEN '.bmp' ELSE '.jpg' END), tags => '{web}')
		FROM generate_series(1, 1 + (random() * 3)::int);" >/dev/null
	as_account "${accounts[3]}" "SELECT taskq.task_submit('resize_image', jsonb_build_object('file', 'scan' || (random() * 1000)::int || '.png'));" >/dev/null
}

# For so many seconds; without any, until Ctrl-C.
go_on() {
	local ends=$((SECONDS + ${1:-0}))
	while [[ -z ${1:-} ]] || ((SECONDS < ends)); do
		some_more
		sleep 2
	done
}

say_where() {
	title "Open   $URL/board"
	cat <<-TEXT

		  Log in, with password YourPassword, as
		    operator@example.com    sees and steers everything
		    boss@acme.example       operator of tenant "acme"
		    ann@acme.example        a user of tenant "acme"
		    bob@umbrella.example    a user of tenant "umbrella"

		  To try: 45 invoices have failed. Find them, see why, and retry them all: docs/board.md
		  The upload "catalogue.pdf" has failed, as its scanner is away. This brings it back; then "Retry what failed", in its workflow:
		    $bindir/psql -h $scratch -p $PGPORT -U postgres demo -c "UPDATE shop.service SET up = true"
		  From another machine: ssh -L $port:127.0.0.1:$port $(hostname), and the same URL there.

	TEXT
	if [[ -n ${BOARD_DEMO_SECONDS:-} ]]; then
		printf '  All of it is removed in %s seconds.\n' "$BOARD_DEMO_SECONDS"
	else
		echo '  Ctrl-C ends it, and removes all of it.'
	fi
}

pictures() {
	local to=$1 chromium modules=$root/test/board/node_modules
	"$root/scripts/setup.sh" board
	chromium=$(command -v chromium || true)
	[[ -n $chromium && -d $modules/puppeteer-core ]] || { say "pictures need Chromium, Node and the packages of test/board"; exit 1; }
	mkdir -p "$to"
	step "tasks run for ${BOARD_DEMO_SECONDS:-75} s, so that there is something to see"
	go_on "${BOARD_DEMO_SECONDS:-75}"
	step "taking pictures"
	jq -nc --arg url "$URL" --arg chromium "$chromium" --arg shots "$(realpath "$to")" --arg token "$(ask "SELECT auth.token('web_operator', 'operator@example.com')")" \
		'{url: $url, db: "dbname=demo", chromium: $chromium, shots: $shots, parts: ["shots"], tokens: {operator: $token}}' |
		HOME=$scratch NODE_PATH=$modules node "$root/test/board/board.js" >"$scratch/shots.log" || { cat "$scratch/shots.log" >&2; exit 1; }
	! grep '^not ok' "$scratch/shots.log" >&2 || exit 1
	printf '  %d pictures in %s\n' "$(find "$to" -name '*.png' | wc -l)" "$to"
}

case ${1:-} in
pictures)
	prepare
	first_tasks
	pictures "${2:-$root/build/board-pictures}"
	;;
*)
	prepare
	first_tasks
	say_where
	# the end that is wished for is no failure
	trap 'echo; exit 0' INT
	go_on "${BOARD_DEMO_SECONDS:-}"
	;;
esac
