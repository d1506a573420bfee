#!/bin/sh
# Puts the iPXE boot programs that Ironhatch embeds into a directory, out of one pinned Debian package.
#
#   ipxe/fetch.sh DIRECTORY           download what is missing or wrong, then check
#   ipxe/fetch.sh --check DIRECTORY   only check, never touch the network
#
# Nothing on this machine changes except DIRECTORY: apt runs with lists, cache and sources of its own, from the mirror
# that this machine's apt already uses. Works as root and as an ordinary user.
set -eu

suite=trixie
version='1.21.1+git20250501.dad20602+dfsg-1'
package_sha256=eeaca79dbde0fb86c102bf1d362c6f6a67ed0ddab38b3dd12e1b332339f5dd99
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
	printf 'ipxe/fetch.sh: %s\n' "$*" >&2
	exit 1
}

usage='usage: ipxe/fetch.sh [--check] DIRECTORY'
check_only=no
if [ "${1-}" = --check ]; then
	check_only=yes
	shift
fi
[ $# -eq 1 ] || fail "$usage"

here=$(cd -- "$(dirname -- "$0")" && pwd)
sums=$here/SHA256SUMS

files_are_right() {
	(cd -- "$1" 2>/dev/null && sha256sum --check --strict --status -- "$sums" 2>/dev/null)
}

if files_are_right "$1"; then
	exit 0
fi
if [ "$check_only" = yes ]; then
	fail "$1 does not hold the files of ipxe/SHA256SUMS; run 'ipxe/fetch.sh $1' where a Debian mirror can be reached"
fi

for tool in apt-get dpkg-deb sha256sum; do
	command -v "$tool" >/dev/null 2>&1 ||
		fail "'$tool' is missing; on a machine that is not Debian, unpack package ipxe $version elsewhere and set IRONHATCH_IPXE_DIR to the folder with its files"
done

mkdir -p -- "$1"
target=$(cd -- "$1" && pwd)
# Of two builds at once one fetches: a file that is put in place again would make the other build everything anew.
if command -v flock >/dev/null 2>&1; then
	exec 9>"$target/.lock"
	flock 9
	if files_are_right "$target"; then
		exit 0
	fi
fi
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The mirror: first the source that calls itself Debian; before the machine's first 'apt-get update' that is not known
# yet, so then the one whose suite is a release of Debian.
mirror=$(
	# shellcheck disable=SC2016 # the dollar words are apt's own format language
	apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
		awk -F'|' '
			$5 != "main" { next }
			$2 == "Debian" && $3 == "Debian" && !named { named = $1 }
			$4 ~ /^(bookworm|trixie|forky|duke|stable|testing|unstable|sid)$/ && !guessed { guessed = $1 }
			END { print named ? named : guessed }'
)
[ -n "$mirror" ] ||
	fail "this machine's apt knows no Debian mirror; unpack package ipxe $version elsewhere and set IRONHATCH_IPXE_DIR to the folder with its files"

options=
if [ -r "$keyring" ]; then
	options="[signed-by=$keyring] "
fi
printf 'deb %s%s %s main\n' "$options" "$mirror" "$suite" >"$work/sources.list"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: >"$work/status"
# Hooks of the machine's own configuration clean its own caches; here they have nothing to do.
cat >"$work/apt.conf" <<'END'
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END

private_apt() {
	apt-get -qq -c "$work/apt.conf" \
		-o Dir::Etc::SourceList="$work/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$work/lists" \
		-o Dir::State::Status="$work/status" \
		-o Dir::Cache="$work/cache" \
		-o APT::Sandbox::User=root \
		-o Acquire::Languages=none \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
		-o Acquire::IndexTargets::deb::CNF::DefaultEnabled=false \
		-o Acquire::Retries=3 \
		"$@"
}

printf 'ipxe/fetch.sh: fetching package ipxe %s\n' "$version" >&2
private_apt update || fail "the package lists of Debian $suite could not be fetched; is the mirror reachable?"
(cd "$work" && private_apt download "ipxe=$version") ||
	fail "package ipxe $version is not on the mirror; unpack it from elsewhere and set IRONHATCH_IPXE_DIR to the folder with its files"

set -- "$work"/ipxe_*.deb
[ -f "$1" ] || fail 'apt reported success but left no package'
printf '%s  %s\n' "$package_sha256" "$1" | sha256sum --check --strict --status ||
	fail "the downloaded package is not the pinned one (SHA-256 differs); nothing was installed"
dpkg-deb -x "$1" "$work/unpacked"

# Into place by rename, so that two builds at once never see half a file, and with the package's times: what is newer than a build
# that used it makes cargo build everything again.
while read -r _ name; do
	cp -L --preserve=timestamps -- "$work/unpacked/usr/lib/ipxe/$name" "$target/.$name.$$"
	mv -f -- "$target/.$name.$$" "$target/$name"
done <"$sums"

files_are_right "$target" || fail "the files of the package do not have the hashes of ipxe/SHA256SUMS"
