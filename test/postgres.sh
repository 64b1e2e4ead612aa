#!/bin/sh
# test/postgres.sh COMMAND [ARG...]
#
# Runs COMMAND beside a throw-away PostgreSQL that listens on a Unix socket in a
# temporary directory only. CONFAB_TEST_POSTGRES is its address. If that variable
# is set already, that database is used and none is started.
set -eu

if [ -n "${CONFAB_TEST_POSTGRES:-}" ]; then
	exec "$@"
fi

# Debian keeps the server's programs outside of PATH, one directory per version.
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb || echo /missing/initdb)")
if [ ! -x "$bin/initdb" ]; then
	echo "test/postgres.sh: PostgreSQL is not installed (apt-get install postgresql)" >&2
	exit 1
fi

# The server refuses to run as root. A socket's path may be no longer than 107
# bytes, so the directory is made in /tmp, whatever TMPDIR says.
dir=$(mktemp -d /tmp/confab-postgres.XXXXXX)
if [ "$(id -u)" = 0 ]; then
	chown postgres "$dir"
	as_owner() { (cd "$dir" && setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"); }
else
	as_owner() { (cd "$dir" && "$@"); }
fi
chmod 755 "$dir" # the tests reach the socket, the data directory has 0700

stop() {
	[ ! -f "$dir/data/postmaster.pid" ] || as_owner "$bin/pg_ctl" -D "$dir/data" -m immediate -s stop || true
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

as_owner "$bin/initdb" -D "$dir/data" -U confab -A trust -E UTF8 --locale=C.UTF-8 >"$dir/log" 2>&1 &&
	as_owner "$bin/pg_ctl" -D "$dir/data" -l "$dir/server.log" -w -t 30 -s \
		-o "-c listen_addresses='' -c unix_socket_directories='$dir' -c unix_socket_permissions=0777" start >>"$dir/log" 2>&1 || {
	cat "$dir/log" "$dir/server.log" >&2 2>/dev/null
	exit 1
}

status=0
CONFAB_TEST_POSTGRES="postgres://confab@/postgres?host=$dir" "$@" || status=$?
exit "$status"
