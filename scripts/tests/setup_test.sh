#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# scripts/setup when something is wrong: the sentence, the exit code, and that the
# system's apt stays as it was. Installs nothing and downloads package lists only.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/tests/check.sh
. "$here/check.sh"
setup=$here/../setup
# The tests that change their user have to get at the files; the checkout may be
# root's alone, as one in /root is.
chmod 755 "$tmp"
cp -r "$here/.." "$tmp/scripts"
chmod -R a+rX "$tmp/scripts"
as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups "$tmp/scripts/setup")
full=$tmp/full
trap 'umount "$full" 2>/dev/null || true; rm -rf "$tmp"' EXIT
((EUID == 0)) || {
  echo "setup_test.sh: skipped: only root can install packages and become somebody else; run it as root" >&2
  exit 4
}

# Packages are not the subject, but of two tests: a list of one that is there.
echo bash >"$tmp/packages"
export DYIELD_BUILD=$tmp/build DYIELD_PACKAGES=$tmp/packages DYIELD_FREE_MB=1
unset KERNEL_TREE DYIELD_MIRROR DYIELD_SUITE
apt_state=$(find /etc/apt /var/lib/apt/lists -type f -exec sha256sum {} + | sort | sha256sum)

expect 'help' 0 'KERNEL_TREE=~/linux' "$setup" --help
expect 'an argument' 2 'takes no argument but intel' "$setup" now
expect 'too little space' 3 'MB are needed; free some' DYIELD_FREE_MB=999999999 "$setup"
expect 'a tree that is none' 3 'is not a Linux source tree' KERNEL_TREE="$tmp/none" "$setup"

mkdir -p "$tmp/done/linux/src"
echo 1 >"$tmp/done/linux/version"
touch "$tmp/done/linux/src/Makefile"
expect 'nothing to do' 0 'nothing to do' DYIELD_BUILD="$tmp/done" "$setup"

echo dyield-no-such-package >"$tmp/missing"
mkdir -m 777 "$tmp/open"
expect 'not root: the command' 3 'apt-get install --no-install-recommends dyield-no-such-package' \
  DYIELD_BUILD="$tmp/open/build" DYIELD_PACKAGES="$tmp/missing" \
  "${as_nobody[@]}"

printf 'bash\n[intel]\ndyield-no-such-package\n' >"$tmp/sections"
expect "a section's packages are for those who ask" 0 'nothing to do' \
  DYIELD_BUILD="$tmp/done" DYIELD_PACKAGES="$tmp/sections" "$setup"
expect "a section's packages, asked for" 3 'apt-get install --no-install-recommends dyield-no-such-package' \
  DYIELD_BUILD="$tmp/open/build" DYIELD_PACKAGES="$tmp/sections" \
  "${as_nobody[@]}" intel

# From here on the mirror is needed: one directory, so the lists come once.
expect 'a mirror out of reach' 3 'the Debian mirror cannot be reached; check the network' \
  DYIELD_MIRROR=http://127.0.0.1:1 "$setup"
expect 'no such suite' 3 'does not have a Release file; name an archive' DYIELD_SUITE=dyield-no-such-suite "$setup"
# The suite is there and the package is not.
expect 'no kernel source in the suite' 3 'name another with DYIELD_SUITE' \
  DYIELD_SUITE="$(. /etc/os-release && echo "$VERSION_CODENAME")" "$setup"
expect 'no such package' 3 'dyield-no-such-package' DYIELD_PACKAGES="$tmp/missing" "$setup"

# A download that was cut off, or worse. Which version comes is apt's to say.
version=$(APT_CONFIG=$DYIELD_BUILD/setup/apt/apt.conf apt-cache madison linux-source-7.3 |
  awk -F' *[|] *' '{print $2}' | sort -V | tail -n 1)
mkdir -p "$DYIELD_BUILD/setup/deb"
echo rubbish >"$DYIELD_BUILD/setup/deb/linux-source-7.3_${version//:/%3a}_all.deb"
expect 'a damaged download' 3 'does not have the SHA256 that apt states for it; delete it' "$setup"
verdict 'is not unpacked' "$([[ -n $version && ! -e $DYIELD_BUILD/linux/src ]]; echo $?)"

if mkdir "$full" && mount -t tmpfs -o size=4m none "$full" 2>/dev/null; then
  expect 'a full disk' 3 'the disk is full; free some space' \
    DYIELD_BUILD="$full/build" DYIELD_APT_SECONDS=5 "$setup"
fi

verdict "the system's apt is as it was" "$([[ $apt_state == \
  "$(find /etc/apt /var/lib/apt/lists -type f -exec sha256sum {} + | sort | sha256sum)" ]]; echo $?)"

finish
