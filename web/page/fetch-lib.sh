#!/bin/sh
# Puts the client library of our own meeting page into page/lib, from where
# go:embed takes it. The package is unpacked, not installed: one of its
# dependencies can't be had from the registry, and none is needed.
set -eu
cd "$(dirname "$0")"
ljm=@lyno/lib-jitsi-meet@2.6726.2
ljm_sha=7219c05db541cb1aa2064d1ba86837bf01d533f527aeaa7ae91f52265e72afcd
jq=jquery@3.7.1
jq_sha=68a9f787516da47c680e09c187bcbac4536b6f85d90eb882844e12919e583f53

stamp="lib/.stamp"
want="$ljm $jq"
if [ -f lib/lib-jitsi-meet.min.js ] && [ -f lib/jquery.min.js ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
    exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# unpack PACKAGE SHA256 DIR
unpack() {
    tgz=$(cd "$tmp" && npm pack --silent "$1" | tail -n 1)
    echo "$2  $tmp/$tgz" | sha256sum --check --quiet
    mkdir "$tmp/$3"
    tar xzf "$tmp/$tgz" -C "$tmp/$3" --strip-components=1
}
unpack "$ljm" "$ljm_sha" ljm
unpack "$jq" "$jq_sha" jq
cp "$tmp/ljm/lib-jitsi-meet.min.js" "$tmp/ljm/lib-jitsi-meet.e2ee-worker.js" lib/
cp "$tmp/ljm/lib-jitsi-meet.min.js.LICENSE.txt" "$tmp/jq/dist/jquery.min.js" lib/
cp "$tmp/ljm/LICENSE" lib/lib-jitsi-meet.LICENSE.txt
cp "$tmp/jq/LICENSE.txt" lib/jquery.LICENSE.txt
chmod 644 lib/*
echo "$want" > "$stamp"
