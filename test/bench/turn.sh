#!/usr/bin/env bash
# The relay beside coturn: the same packets from the same sockets to both, servers on
# one core, generator on the other, in turn within a round, as in docs/benchmarks.md.
# Take figures on a machine that does nothing else. Needs coturn (apt-get install
# coturn) and root, for a network of local addresses.
#
#   test/bench/turn.sh [LOAD…]       loads: udp (channels, packets of all allocations in
#                                    turn), paced (each allocation's as libwebrtc paces
#                                    them), nic (paced, and as network cards put such runs
#                                    together and cut them), send (indications), tcp, tls
#   ALLOCATIONS="1 50 500"           SIZES="1200 160"   DIRECTIONS="up down both"
#   ROUNDS=3 SECONDS_EACH=1          measurements of each server, and their length
#   RATE=100000                      packets/s; without it the most without loss is looked for
#   NICE=-20                         priority of servers and generator
#   OUT=DIR                          where the JSON goes (default: a new directory)
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=${OUT:-$(mktemp -d "${TMPDIR:-/tmp}/confab-turn.XXXXXX")}
mkdir -p "$OUT/bin"
go build -o "$OUT/bin/" ./cmd/confab ./cmd/confab-bench
export CONFAB="$OUT/bin/confab"
export PEERS=coturn
# By way of an interface the kernel would look the route up for every packet, as it
# does for none that leaves a machine.
export ROUTE_DEVICE=lo
# Of the session, too, which is what the kernel weighs against others (sched(7), autogroup).
if [ -n "${NICE:-}" ]; then echo "$NICE" >/proc/self/autogroup; fi

measure() { # NAME CONFAB_PORT COTURN_PORT ARGUMENTS…
	local name=$1 confab=$2 coturn=$3
	shift 3
	echo "== $name" >&2
	(
		. test/bench/servers.sh
		${NICE:+nice -n "$NICE"} taskset -c "$CLIENT_CPU" "$OUT/bin/confab-bench" turn -secret "$TURN_SECRET" -network "$NETWORK" \
			-turn "127.0.0.1:$confab" -pid "$CONFAB_PID" -coturn "127.0.0.1:$coturn" -coturn-pid "$COTURN_PID" \
			-server-cpu "$SERVER_CPU" -client-cpu "$CLIENT_CPU" \
			"${how[@]}" -rounds "${ROUNDS:-3}" -seconds "${SECONDS_EACH:-1}" -timeout 60m -progress -out "$OUT/$name.json" "$@" >"$OUT/$name.txt"
	) 2>"$OUT/$name.log" || { tail -n 5 "$OUT/$name.log" >&2; failed=yes; }
}

how=(-find -rate 20000)
if [ -n "${RATE:-}" ]; then how=(-rate "$RATE"); fi
failed=no
for load in "${@:-udp}"; do
	for n in ${ALLOCATIONS:-1 50 500}; do
		for size in ${SIZES:-1200 160}; do
			for direction in ${DIRECTIONS:-up down both}; do
				args=(-allocations "$n" -size "$size" -direction "$direction")
				name="$load-$n-$size-$direction"
				case $load in
				udp) measure "$name" 28478 28978 "${args[@]}" ;;
				send) measure "$name" 28478 28978 "${args[@]}" -send ;;
				paced) measure "$name" 28478 28978 "${args[@]}" -slot 5ms ;;
				nic) measure "$name" 28478 28978 "${args[@]}" -slot 5ms -segment ;;
				tcp) measure "$name" 28478 28978 "${args[@]}" -transport tcp ;;
				tls) measure "$name" 28479 28979 "${args[@]}" -transport tls ;;
				*) echo "no load $load" >&2 && exit 1 ;;
				esac
			done
		done
	done
done
"$OUT/bin/confab-bench" table "$OUT"/*.json
echo "all of it: $OUT" >&2
[ $failed = no ]
