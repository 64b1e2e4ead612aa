#!/usr/bin/env bash
# Speed of the bridge beside other servers and beside the bare ceiling, as in
# docs/benchmarks.md. One core is the servers', another the load generator's; take
# figures on a machine that does nothing else.
#
#   test/bench/speed.sh [SHAPE…]     shapes: 1x50 10x10 1x500, each at both sizes
#   ROUNDS=3 SECONDS_EACH=2          measurements of each server, and their length
#   OUT=DIR                          where the JSON goes (default: a new directory)
#   PEERS="janus galene livekit"     the others (default: those that are installed)
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=${OUT:-$(mktemp -d "${TMPDIR:-/tmp}/confab-speed.XXXXXX")}
mkdir -p "$OUT/bin"
go build -o "$OUT/bin/" ./cmd/confab ./cmd/confab-bench
export CONFAB="$OUT/bin/confab"

measure() { # NAME ARGUMENTS…
	local name=$1
	shift
	echo "== $name" >&2
	(
		. test/bench/servers.sh
		taskset -c "$CLIENT_CPU" "$OUT/bin/confab-bench" media "${SERVERS[@]}" -server-cpu "$SERVER_CPU" -client-cpu "$CLIENT_CPU" \
			-find -ceiling -rounds "${ROUNDS:-3}" -seconds "${SECONDS_EACH:-2}" -timeout 60m -progress -out "$OUT/$name.json" "$@" >"$OUT/$name.txt"
	) 2>"$OUT/$name.log" || { tail -n 5 "$OUT/$name.log" >&2; failed=yes; }
}

failed=no
for shape in "${@:-1x50 10x10 1x500}"; do
	for shape in $shape; do
		for size in 1200 120; do
			case $shape in
			1x50) measure "1x50-$size" -rooms 4 -people 51 -senders 1 -rate 60 -size $size ;;
			10x10) measure "10x10-$size" -rooms 3 -people 10 -senders 10 -rate 45 -size $size ;;
			1x500) measure "1x500-$size" -rooms 1 -people 501 -senders 1 -video=false -audio -audio-interval 60ms -audio-size $size ;;
			*) echo "no shape $shape" >&2 && exit 1 ;;
			esac
		done
	done
done
"$OUT/bin/confab-bench" table "$OUT"/*.json
echo "all of it: $OUT" >&2
[ $failed = no ]
