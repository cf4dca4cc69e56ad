#!/usr/bin/env bash
# Installs what the tests need beside Go: a JDK and Maven for the real Kafka,
# PostgreSQL, Redis, a C compiler for the race detector, make. It installs only what is missing, on
# Debian and Ubuntu, as root or by sudo; on another system it lists what to
# install and exits 1.
set -euo pipefail

missing=()   # what lacks, for a person
packages=()  # the same as Debian names it

need() { # need "what" package...
	missing+=("$1")
	shift
	packages+=("$@")
}

java_works() {
	local java=java
	[[ -n ${JAVA_HOME:-} ]] && java=$JAVA_HOME/bin/java
	local printed major
	printed=$("$java" -version 2>&1) || return 1
	major=$(sed -nE 's/.*version "([0-9]+).*/\1/p' <<<"$printed" | head -n 1)
	[[ -n $major && $major -ge 17 ]]
}

cc_works() {
	local dir status=0
	dir=$(mktemp -d)
	printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' >"$dir/a.c"
	"${CC:-cc}" -o "$dir/a" "$dir/a.c" 2>"$dir/log" || status=1
	rm -rf "$dir"
	return $status
}

go_works() {
	local printed
	printed=$(go env GOVERSION 2>/dev/null) || return 1
	[[ $printed =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 26))
}

if ! go_works; then
	echo "setup: Go 1.26 or later is needed and not on the PATH: see https://go.dev/doc/install" >&2
	exit 1
fi
java_works || need "a JDK, 17 or later" jdk
command -v mvn >/dev/null || need "Apache Maven" maven
cc_works || need "a C compiler with its headers" gcc libc6-dev
command -v make >/dev/null || need "make" make
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || need "PostgreSQL" postgresql
command -v redis-server >/dev/null || need "Redis" redis-server

if ((${#missing[@]} == 0)); then
	exit 0
fi

apt=(apt-get)
if [[ $(id -u) != 0 ]]; then
	apt=(sudo apt-get)
	command -v sudo >/dev/null || apt=()
fi
if ! command -v apt-get >/dev/null || ((${#apt[@]} == 0)); then
	{
		echo "setup: the tests need what this machine lacks, and this script installs it on Debian and Ubuntu only, as root or by sudo. Install:"
		printf '  - %s\n' "${missing[@]}"
	} >&2
	exit 1
fi

echo "setup: installing what is missing:"
printf '  - %s\n' "${missing[@]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! "${apt[@]}" update >"$log" 2>&1; then
	echo "setup: apt-get update failed; going on with the lists that are there:" >&2
	tail -n 5 "$log" >&2
fi
for i in "${!packages[@]}"; do
	if [[ ${packages[i]} == jdk ]]; then
		packages[i]=default-jdk-headless
		if apt-cache show openjdk-17-jdk-headless >/dev/null 2>&1; then
			packages[i]=openjdk-17-jdk-headless
		fi
	fi
done
if ! "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >"$log" 2>&1; then
	echo "setup: apt-get install ${packages[*]} failed:" >&2
	tail -n 20 "$log" >&2
	exit 1
fi
if ! java_works; then
	echo "setup: java is still older than 17: JAVA_HOME (${JAVA_HOME:-not set}) or the PATH leads to another one" >&2
	exit 1
fi
