# Sourced by the demos over HTTP, after lib.sh: a throw-away server with PostgREST, or the tests'
# stand-in for it, and nginx, with the files of examples/.
# shellcheck shell=bash
#
#   http_begin TITLE PREFIX [lines of postgresql.conf]    all of it, at $URL, with $contracts
#   stop DIRECTORY               ends one that was left running (keep=1)
#   title, step, typed, show     how a demo talks

live=
[[ ! -t 1 || ${TERM:-dumb} == dumb ]] || live=1
PATH=$PATH:/usr/local/bin:/usr/sbin
secret='the secret of the demo, which is no secret'
contracts=() # names of directories of examples/rest

title() {
	if [[ -n $live ]]; then printf '\n\e[1m%s\e[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

step() {
	printf '  %s ...\n' "$*"
}

# A command as one types it.
typed() {
	if [[ -n $live ]]; then printf '\e[36m$ %s\e[0m\n' "$1"; else printf '$ %s\n' "$1"; fi
}

# ... and what it says.
show() {
	typed "$1"
	eval "$1"
	echo
}

how_to_get_postgrest() {
	cat <<-'TEXT'

		  There is no "postgrest" on the PATH. It is one program, and not a package of Debian:

		    a static binary (Linux, macOS, Windows, FreeBSD)   https://github.com/PostgREST/postgrest/releases
		                                                       postgrest-v…-linux-static-x86-64.tar.xz; tar xJf, then
		                                                       sudo install postgrest /usr/local/bin/
		    a container                                        docker pull postgrest/postgrest
		    packages                                           brew install postgrest; pacman -S postgrest;
		                                                       nix-env -i postgrest; pkg install hs-postgrest

		  What follows is shown with a stand-in that this repository has for its tests (test/http/standin.py).
		  It answers these calls as PostgREST does, and is not for production.
	TEXT
}

# The first port of ours that nobody has.
free_port() {
	local port
	for port in {8080..8099}; do
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	say "no port from 8080 to 8099 is free"
	return 1
}

# The files of examples/, with this server's addresses.
write_confs() {
	local name file schemas
	schemas=$(IFS=,; echo "taskq,api${contracts[*]:+,${contracts[*]}}")
	for name in postgrest postgrest-wait; do
		sed -e "s|host=/var/run/postgresql|host=$scratch\&port=$PGPORT|; s|^db-uri = \"postgres://authenticator@/postgres|db-uri = \"postgres://authenticator@/demo|" \
			-e "s|^db-schemas = .*|db-schemas = \"$schemas\"|; s|^jwt-secret = .*|jwt-secret = \"$secret\"|" \
			-e "s|localhost:8080|127.0.0.1:$port|; /^server-host/d; s|^server-port.*|server-unix-socket = \"$scratch/$name.sock\"|" \
			"$root/examples/$name.conf" >"$scratch/$name.conf"
	done
	mkdir "$scratch/nginx"
	sed -e "s|127.0.0.1:3000|unix:$scratch/postgrest.sock|; s|127.0.0.1:3001|unix:$scratch/postgrest-wait.sock|" \
		-e "s|127.0.0.1:8080|127.0.0.1:$port|; s|/run/taskq-http|$scratch|; s|^worker_processes .*|worker_processes 1;|" \
		"$root/examples/nginx.conf" >"$scratch/nginx/nginx.conf"
	cp -r "$root/examples/rest" "$scratch/nginx/"
	[[ $(id -u) != 0 ]] || chown -R "$pg_user": "$scratch/nginx" "$scratch"/*.conf
}

# In the background, as the user of the server; pid in a file.
run() {
	local name=$1
	shift
	as_pg sh -c 'echo $$ >"$0.pid"; exec "$@" >>"$0.log" 2>&1' "$scratch/$name" "$@" </dev/null &
	disown
}

start_http() {
	local name stand_in=
	if [[ -z $postgrest ]]; then
		stand_in=$scratch/standin.py
		cp "$root/test/http/standin.py" "$stand_in"
	fi
	for name in postgrest postgrest-wait; do
		if [[ -n $postgrest ]]; then
			run "$name" "$postgrest" "$scratch/$name.conf"
		else
			run "$name" /usr/bin/python3 "$stand_in" "$scratch/$name.conf"
		fi
	done
	run nginx "$nginx" -p "$scratch/nginx" -c "$scratch/nginx/nginx.conf" -e "$scratch/nginx/error.log" -g 'daemon off;'
	for _ in {1..600}; do
		[[ $(curl -s -o /dev/null -w '%{http_code}' "$URL/rpc/no_such_function") != 404 ||
			$(curl -s -o /dev/null -w '%{http_code}' -X POST "$URL/rpc/task_wait") == 502 ]] || return 0
		sleep 0.1
	done
	tail -n 20 "$scratch"/*.log >&2
	return 1
}

stop_http() {
	local file pid
	for file in "$1"/{nginx,postgrest,postgrest-wait}.pid; do
		pid=$(cat "$file" 2>/dev/null) || continue
		kill "$pid" 2>/dev/null || true
		for _ in {1..50}; do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
	done
}

# What talks to the server ends before it; lib.sh does the rest.
http_end() {
	local status=$?
	set +e
	trap '' HUP INT TERM
	[[ -n $keep && $status = 0 ]] || stop_http "$scratch"
	(exit $status)
	scratch_end
}

http_begin() {
	local name
	title "$1"
	step "building and installing taskq"
	taskq_install http
	nginx=$(command -v nginx) || { say "nginx is not on the PATH"; exit 1; }
	postgrest=$(command -v postgrest || true)
	[[ -n $postgrest ]] || how_to_get_postgrest
	step "starting the server"
	scratch_begin "$2"
	trap http_end EXIT
	cluster_start "${@:3}"
	step "the roles and accounts${contracts[*]:+, and the contracts} of examples/"
	psql -Xq -v ON_ERROR_STOP=1 <<-'SQL'
		SET client_min_messages = warning;
		CREATE DATABASE demo;
		\connect demo
		CREATE EXTENSION taskq;
	SQL
	export PGDATABASE=demo
	psql -Xq -o /dev/null -v jwt_secret="$secret" -f "$root/examples/roles.sql"
	psql -Xq -o /dev/null -f "$root/examples/http.sql"
	for name in "${contracts[@]}"; do
		psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -f "$root/examples/rest/$name/$name.sql"
	done
	step "PostgREST twice, and nginx"
	port=$(free_port)
	export URL=http://127.0.0.1:$port
	write_confs
	start_http
	printf '  %s, %s\n' "$([[ -z $postgrest ]] && echo 'the stand-in for PostgREST' || "$postgrest" --version)" "$("$nginx" -v 2>&1)"
}

stop() {
	scratch=$(realpath "$1")
	[[ -e $scratch/.taskq-scratch ]] || { say "no demo server in $1"; exit 1; }
	choose_user
	PATH=$(pg --bindir):$PATH
	stop_http "$scratch"
	servers_stop "$scratch"
	rm -rf "$scratch"
	say "stopped and removed"
}
