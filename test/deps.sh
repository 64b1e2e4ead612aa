#!/bin/sh
# test/deps.sh PACKAGE...
#
# Installs Debian packages that are missing, by apt-get; says so and changes
# nothing when all are there.
set -eu

missing=""
for package in "$@"; do
	# Node comes from Debian or from its own makers, with or without npm apart:
	# what counts is that the program is there.
	case $package in
	nodejs) command -v node >/dev/null && continue ;;
	npm) command -v npm >/dev/null && continue ;;
	esac
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "test/deps.sh: install these first:$missing" >&2
	exit 1
fi
sudo=""
if [ "$(id -u)" != 0 ]; then
	sudo=$(command -v sudo) || {
		echo "test/deps.sh: as root: apt-get install$missing" >&2
		exit 1
	}
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of names
$sudo apt-get install -y -qq --no-install-recommends $missing
