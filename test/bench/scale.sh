#!/usr/bin/env bash
# Large and many meetings on one machine, as in docs/benchmarks.md. The server may use
# all cores, as in service, unless SERVER_CPU and CLIENT_CPU say otherwise.
#
#   test/bench/scale.sh [meeting] [screen] [small]
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=${OUT:-$(mktemp -d "${TMPDIR:-/tmp}/confab-scale.XXXXXX")}
mkdir -p "$OUT/bin"
go build -o "$OUT/bin/" ./cmd/confab ./cmd/confab-bench
export CONFAB="$OUT/bin/confab" PEERS=""
SERVER_CPU=${SERVER_CPU:-0-$(($(nproc) - 1))}
CLIENT_CPU=${CLIENT_CPU:-0-$(($(nproc) - 1))}
for scene in "${@:-meeting screen small}"; do
	for scene in $scene; do
		echo "== $scene"
		(
			. test/bench/servers.sh
			taskset -c "$CLIENT_CPU" "$OUT/bin/confab-bench" scale "${SERVERS[@]}" -scene "$scene" -seconds "${SECONDS_EACH:-10}" -progress -out "$OUT/$scene.json"
		)
	done
done
echo "all of it: $OUT" >&2
