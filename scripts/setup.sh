#!/usr/bin/env bash
# Install what building, testing and the demo need, and only what is missing.
# An installed server is neither upgraded nor restarted, and no cluster is made.
#
#   PG_CONFIG=/usr/lib/postgresql/17/bin/pg_config scripts/setup.sh     for another version
#   scripts/setup.sh test|http|board|bench                                 also what only some tests, or the other systems in the benchmark, need
#
# "test" and "board" (pictures of the board) want Chromium, Node and, by npm, the packages of
# test/board; a machine that has none of them to offer is told so, and goes on without.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
no_cluster=/etc/postgresql-common/createcluster.d/taskq-setup.conf
no_services=/usr/sbin/policy-rc.d
made_no_services=
purpose=${1:-}
log=

# The major version: that of pg_config when it can build, else of the newest
# server here.  Nothing when there is none: the distribution decides.
major_version() {
	local config=${PG_CONFIG:-pg_config}
	if [[ -e $("$config" --pgxs 2>/dev/null || true) ]]; then
		"$config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'
	elif [[ $config =~ /postgresql/([0-9]+)/ ]]; then
		echo "${BASH_REMATCH[1]}"
	else
		compgen -G '/usr/lib/postgresql/*/bin/postgres' | cut -d/ -f5 | sort -n | tail -1 || true
	fi
}

# What pg_config of version $1 says; a path that can't be when there is none.
ask() {
	local config
	for config in "${PG_CONFIG:-pg_config}" "/usr/lib/postgresql/$1/bin/pg_config"; do
		if [[ $("$config" --version 2>/dev/null) =~ ^PostgreSQL\ $1[^0-9] ]]; then
			"$config" "$2"
			return
		fi
	done
	echo /nonexistent
}

# PostgREST is in no package of Debian.
missing_http() {
	command -v curl >/dev/null || echo curl
	command -v jq >/dev/null || echo jq
	[[ -x $(command -v nginx || echo /usr/sbin/nginx) ]] || echo nginx
}

# One line for each missing thing: the Debian package that has it.
missing() {
	local v=$1 bin lib share
	bin=$(ask "$v" --bindir) lib=$(ask "$v" --pkglibdir) share=$(ask "$v" --sharedir)
	command -v make >/dev/null || echo make
	command -v gcc >/dev/null || echo gcc
	[[ -e /usr/include/stdio.h ]] || echo libc6-dev
	command -v prove >/dev/null || echo perl
	perl -MIPC::Run -e1 2>/dev/null || echo libipc-run-perl
	[[ -e $lib/pgxs/src/makefiles/pgxs.mk && -e $(ask "$v" --includedir-server)/postgres.h ]] || echo "postgresql-server-dev-$v"
	[[ -e $lib/pgxs/src/test/perl/PostgreSQL/Test/Cluster.pm && -x $bin/psql ]] || echo "postgresql-client-$v"
	[[ -x $bin/postgres && -x $bin/pgbench ]] || echo "postgresql-$v"
	[[ -e $lib/pg_cron.so ]] || echo "postgresql-$v-cron"
	[[ -e $share/extension/pgtap.control ]] || echo "postgresql-$v-pgtap"
	if [[ $purpose = test ]]; then
		[[ -x /usr/sbin/pgbouncer ]] || echo pgbouncer
		command -v promtool >/dev/null || echo prometheus
		/usr/bin/python3 -c 'import psycopg2' 2>/dev/null || echo python3-psycopg2
		# for examples/bridge
		/usr/bin/python3 -c 'import psycopg' 2>/dev/null || echo python3-psycopg
		/usr/bin/python3 -c 'import aiohttp' 2>/dev/null || echo python3-aiohttp
		/usr/bin/python3 -c 'import jwt' 2>/dev/null || echo python3-jwt
		missing_http
		missing_board
	elif [[ $purpose = http || $purpose = board ]]; then
		/usr/bin/python3 -c 'import psycopg2' 2>/dev/null || echo python3-psycopg2
		missing_http
		[[ $purpose = http ]] || missing_board
	elif [[ $purpose = bench ]]; then
		/usr/bin/python3 -c 'import celery' 2>/dev/null || echo python3-celery
		/usr/bin/python3 -c 'import redis' 2>/dev/null || echo python3-redis
		command -v redis-server >/dev/null || echo redis-server
		command -v npm >/dev/null || echo npm
	fi
}

# A browser and what drives it.
missing_board() {
	command -v chromium >/dev/null || echo chromium
	command -v node >/dev/null || echo nodejs
	command -v npm >/dev/null || echo npm
}

# Without these there are fewer tests.
optional() {
	[[ $purpose != bench && ( $1 = chromium || $1 = nodejs || $1 = npm ) ]]
}

# Is one of them such that nothing works without it?
needed() {
	local package
	for package in "$@"; do
		optional "$package" || return 0
	done
	return 1
}

# Those of the packages that apt has, and those that have to be there.
on_offer() {
	local package
	for package in "$@"; do
		if ! optional "$package" || [[ $(apt-cache policy "$package") =~ Candidate:\ [^\(] ]]; then
			echo "$package"
		else
			say "there is no package $package here: no tests of the board in a browser"
		fi
	done
}

# In the checkout, and not again while package-lock.json is the same.  The browser is Debian's:
# none is downloaded.
npm_packages() {
	local here=$root/test/board
	[[ $purpose = test || $purpose = board ]] && command -v node >/dev/null && command -v npm >/dev/null || return 0
	cd "$here"
	exec 8<.
	flock 8
	! cmp -s package-lock.json node_modules/.taskq-lock || return 0
	say "npm ci in test/board"
	# a registry that answers no more would be waited for without end
	for _ in 1 2; do
		if timeout --foreground -k 10 120 npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >/dev/null; then
			chmod -R a+rX node_modules
			cp package-lock.json node_modules/.taskq-lock
			return
		fi
	done
	# half of them would fail instead of being skipped
	rm -rf node_modules
	say "npm ci failed: no tests of the board in a browser"
}

# Packages in the version of the installed server, where apt has it, so that
# the headers come without an upgrade of the server beside them.
pinned() {
	local v=$1 have package
	shift
	have=$(dpkg-query -W -f '${Version}' "postgresql-$v" 2>/dev/null || true)
	for package in "$@"; do
		if [[ -n $have && $package =~ ^(postgresql-(server-dev|client)-$v|libpq-dev)$ ]] &&
			apt-cache madison "$package" | awk -F' *[|] *' '{ print $2 }' | grep -qxF "$have"; then
			package+="=$have"
		fi
		echo "$package"
	done
}

as_root() {
	if [[ $(id -u) = 0 ]]; then "$@"; else sudo -n "$@"; fi
}

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get "$@"
}

cleanup() {
	local status=$?
	if [[ -e $no_cluster ]]; then
		as_root rm -f "$no_cluster"
		as_root rmdir --ignore-fail-on-non-empty "${no_cluster%/*}"
	fi
	[[ -z $made_no_services ]] || as_root rm -f "$no_services"
	[[ $status = 0 ]] || tail -n 30 "$log" >&2
	rm -f "$log"
	exit "$status"
}

# Nor shall they start with the machine.
disable_services() {
	local package
	for package in "$@"; do
		case ${package%%=*} in
		pgbouncer | redis-server | nginx) as_root systemctl disable "${package%%=*}" || true ;;
		esac
	done
}

say() {
	echo "taskq setup: $*" >&2
}

packages() {
	local v need
	v=$(major_version)
	mapfile -t need < <(missing "$v")
	((${#need[@]})) || return 0

	if ! needed "${need[@]}" && compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
		mapfile -t need < <(on_offer "${need[@]}")
		((${#need[@]})) || return 0
	fi
	if ! needed "${need[@]}" && ! { command -v apt-get >/dev/null && as_root true 2>/dev/null; }; then
		say "no tests of the board in a browser, as these are missing (by their names in Debian): ${need[*]}"
		return 0
	elif ! command -v apt-get >/dev/null; then
		say "these are missing (by their names in Debian): ${need[*]}"
		exit 1
	elif [[ $(id -u) != 0 ]] && ! sudo -n true 2>/dev/null; then
		say "some packages are missing; install them with"
		echo "    sudo ${PG_CONFIG:+PG_CONFIG=$PG_CONFIG }$(realpath "$0")${purpose:+ $purpose}" >&2
		exit 1
	fi

	log=$(mktemp)
	trap cleanup EXIT
	trap 'exit 130' INT TERM HUP
	apt_get update >"$log" 2>&1 || say "apt-get update failed; going on with the lists as they are"
	if [[ -z $v ]]; then
		v=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p')
		mapfile -t need < <(missing "$v")
	fi
	mapfile -t need < <(on_offer "${need[@]}")
	((${#need[@]})) || return 0
	# The headers bring libpq-dev: named here so that it is pinned as well.
	if [[ ${need[*]} == *server-dev* ]] && ! dpkg-query -W libpq-dev >/dev/null 2>&1; then
		need+=(libpq-dev)
	fi
	mapfile -t need < <(pinned "$v" "${need[@]}")
	say "apt-get install ${need[*]}"

	if apt-get -s install --no-install-recommends "${need[@]}" 2>/dev/null | grep -q "^Inst postgresql-$v \["; then
		say "this would upgrade, and so restart, the PostgreSQL server of this machine; if that is fine, upgrade it first with"
		echo "    apt-get install postgresql-$v" >&2
		exit 1
	fi
	# Debian's package would make a cluster "main" and start it.
	as_root mkdir -p "${no_cluster%/*}"
	as_root sh -c "echo 'create_main_cluster = false' >$no_cluster"
	# ... and those of PgBouncer, nginx and Redis would start them.
	if [[ ! -e $no_services ]]; then
		made_no_services=yes
		as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$no_services && chmod +x $no_services"
	fi
	apt_get install -y -q --no-install-recommends "${need[@]}" >>"$log" 2>&1
	disable_services "${need[@]}" >>"$log" 2>&1

	mapfile -t need < <(missing "$v")
	if needed "${need[@]}"; then
		say "still missing: ${need[*]}"
		exit 1
	fi
}

packages
npm_packages
