# Sourced by the demo, the tests and the benchmarks: build and install taskq,
# and run a throw-away cluster that leaves nothing behind.
# shellcheck shell=bash
#
#   taskq_install [test]           what is missing (for the tests), build, install
#   scratch_begin [prefix]         a directory of our own in $scratch, removed at exit
#   cluster_start [lines of postgresql.conf]    a server in it; PGHOST, PGPORT, PGUSER point there
#   cluster_stop
#   as_pg command …                run as the user that may run PostgreSQL
#
# However the script ends, also by Ctrl-C, the servers under $scratch are
# stopped and the directory is removed; with keep=1 both stay.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scratch=
keep=
server= # a program to start instead of postgres
job= # a process group of ours to end as well
unset MAKEFLAGS MFLAGS MAKELEVEL

# The caller's connection settings must not lead to a real server.
for name in "${!PG@}"; do
	[[ $name == PG_* ]] || unset "$name"
done

say() {
	printf 'taskq: %s\n' "$*" >&2
}

pg() {
	"${PG_CONFIG:-pg_config}" "$@"
}

installed() {
	local file ext
	ext=$(pg --sharedir)/extension
	cmp -s "$root/taskq.so" "$pkglibdir/taskq.so" || return 1
	for file in "$root"/taskq.control "$root"/sql/taskq--*.sql; do
		cmp -s "$file" "$ext/${file##*/}" || return 1
	done
}

# One build at a time: scripts may run side by side in one checkout.
taskq_install() {
	"$root/scripts/setup.sh" "$@"
	bindir=$(pg --bindir)
	pkglibdir=$(pg --pkglibdir)
	PATH=$bindir:$PATH
	flock "$root" make -s -C "$root" all
	if installed; then
		return
	elif [[ -w $pkglibdir && -w $(pg --sharedir)/extension ]]; then
		flock "$root" make -s -C "$root" install >/dev/null
	elif ! sudo -n make -s -C "$root" PG_CONFIG="${PG_CONFIG:-pg_config}" install >/dev/null 2>&1; then
		say "installing the extension into $pkglibdir needs root; run this, and then the same again:"
		echo "    sudo make -C $root install" >&2
		exit 1
	fi
}

# PostgreSQL refuses to run as root: then take the user postgres, or make one.
choose_user() {
	pg_user=$(id -un)
	[[ $(id -u) = 0 ]] || return 0
	pg_user=postgres
	id "$pg_user" >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin "$pg_user"
}

as_pg() {
	if [[ $(id -u) = 0 ]]; then
		(cd "$scratch" && exec setpriv --reuid "$pg_user" --regid "$(id -g "$pg_user")" --init-groups \
			env HOME="$scratch" TMPDIR="$scratch" USER="$pg_user" "$@")
	else
		(cd "$scratch" && exec env TMPDIR="$scratch" "$@")
	fi
}

scratch_begin() {
	choose_user
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/${1:-taskq}.XXXXXX")
	trap scratch_end EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	touch "$scratch/.taskq-scratch"
	[[ $(id -u) != 0 ]] || chown -R "$pg_user": "$scratch"
}

# Stop every server under a directory, those that tests left as well.
servers_stop() {
	local pidfile
	find "$1" -name postmaster.pid 2>/dev/null | while read -r pidfile; do
		as_pg pg_ctl -D "${pidfile%/*}" -m "${2:-fast}" -t 20 -w stop >/dev/null 2>&1 ||
			as_pg pg_ctl -D "${pidfile%/*}" -m immediate -t 20 -w stop >/dev/null 2>&1 ||
			[[ ! -e $pidfile ]] || say "could not stop the server in ${pidfile%/*}"
	done
}

scratch_end() {
	local status=$?
	trap - EXIT
	trap '' HUP INT TERM
	if [[ $status != 0 ]]; then
		keep=
		[[ $status -gt 128 || ! -s $scratch/server.log ]] || tail -n 25 "$scratch/server.log" | sed 's/^/server log: /' >&2
	fi
	[[ -z $job ]] || kill -- "-$job" 2>/dev/null || true
	if [[ -z $keep ]]; then
		servers_stop "$scratch"
		rm -rf "$scratch"
	fi
	exit "$status"
}

# No TCP and a socket directory of its own: the port can't be taken.
cluster_start() {
	export PGHOST=$scratch PGPORT=54320 PGUSER=postgres PGDATABASE=postgres PGCLIENTENCODING=UTF8
	as_pg initdb -D "$scratch/data" -U postgres -A trust -E UTF8 --no-locale -N >"$scratch/initdb.log" 2>&1 ||
		{ cat "$scratch/initdb.log" >&2; return 1; }
	as_pg tee -a "$scratch/data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$scratch'
		port = $PGPORT
		shared_preload_libraries = 'taskq'
		log_line_prefix = '%m [%p] %b|%e %q%u@%d %a '
		$(printf '%s\n' "$@")
	CONF
	as_pg pg_ctl -D "$scratch/data" ${server:+-p "$server"} -l "$scratch/server.log" -w -t 300 -s start
}

cluster_stop() {
	as_pg pg_ctl -D "$scratch/data" -m fast -w -t 60 -s stop
}
