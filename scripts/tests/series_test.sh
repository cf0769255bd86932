#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# scripts/series on a scratch tree: nothing is built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/tests/check.sh
. "$here/check.sh"
series=$here/../series

# No configuration of the user's or the machine's changes what is tested.
export GIT_CONFIG_GLOBAL=$tmp/gitconfig GIT_CONFIG_NOSYSTEM=1
src=${DYIELD_BUILD:-$here/../../build}/linux/src
export DYIELD_BUILD=$tmp/build DYIELD_PATCHES=$tmp/patches KERNEL_TREE=$tmp/linux
git config --global user.name Tester
git config --global user.email tester@localhost
git config --global init.defaultBranch main

tree() { git -C "$KERNEL_TREE" "$@"; }

# All that apply may not change: commits, objects, index, files, state.
fingerprint() {
  (
    cd "$KERNEL_TREE"
    git rev-parse HEAD
    git status --porcelain
    find . -type f ! -path ./.git/index -print0 | sort -z | xargs -0 sha256sum
  ) | sha256sum
}

# unchanged NAME: the tree is as $before says.
unchanged() {
  if [[ $(fingerprint) == "$before" ]]; then verdict "$1" 0; else verdict "$1" 1; fi
}

mkdir -p "$KERNEL_TREE/virt/kvm" "$DYIELD_PATCHES"
tree init -q
touch "$KERNEL_TREE/Kbuild"
mkdir "$KERNEL_TREE/scripts"
cp "$src/MAINTAINERS" "$KERNEL_TREE"
cp "$src/scripts/get_maintainer.pl" "$KERNEL_TREE/scripts"
printf '%s\n' one two three >"$KERNEL_TREE/virt/kvm/kvm_main.c"
tree add .
tree commit -qm base
base=$(tree rev-parse HEAD)
sed -i s/two/TWO/ "$KERNEL_TREE/virt/kvm/kvm_main.c"
tree commit -qam 'Change two'
sed -i s/TWO/2/ "$KERNEL_TREE/virt/kvm/kvm_main.c"
echo new >"$KERNEL_TREE/virt/kvm/new.c"
tree add .
tree commit -qm 'Change it again'
tree format-patch -q -o "$DYIELD_PATCHES" "$base"
tree reset -q --hard "$base"
printf '%s\n' '# base: scratch' 0001-Change-two.patch '# a comment' 0002-Change-it-again.patch >"$DYIELD_PATCHES/series"
before=$(fingerprint)

expect 'help' 0 'KERNEL_TREE=~/linux' "$series" --help
expect 'no verb' 2 'usage:' "$series"
expect 'an unknown verb' 2 'push is not a verb' "$series" push
expect 'too many arguments' 2 'apply takes no argument' "$series" apply now
expect 'no tree' 2 'set KERNEL_TREE' env -u KERNEL_TREE "$series" apply
mkdir "$tmp/empty"
expect 'not a Linux tree' 3 'is not a Linux source tree' env KERNEL_TREE="$tmp/empty" "$series" apply
cp -r "$KERNEL_TREE" "$tmp/plain"
rm -rf "$tmp/plain/.git"
expect 'not a git tree' 3 'not the top of a git tree' env KERNEL_TREE="$tmp/plain" "$series" apply
expect 'no series' 3 'names no patch' env DYIELD_PATCHES="$tmp/empty" "$series" apply

echo dirt >>"$KERNEL_TREE/Kbuild"
expect 'a dirty tree is refused' 3 'not committed' "$series" apply
tree checkout -q Kbuild
mkdir "$KERNEL_TREE/.git/rebase-apply"
expect 'an unfinished git am is refused' 3 'is unfinished' "$series" apply
rmdir "$KERNEL_TREE/.git/rebase-apply"
unchanged 'a refused tree is unchanged'

# The second patch does not apply: the first one must not stay.
sed -i s/TWO/XXX/ "$DYIELD_PATCHES/0002-Change-it-again.patch"
expect 'the failing patch is named' 1 'error: 0002-Change-it-again.patch does not apply' "$series" apply
expect 'those before it are stated' 1 'applies    0001-Change-two.patch' "$series" apply
unchanged 'a failing patch leaves the tree unchanged'
sed -i s/XXX/TWO/ "$DYIELD_PATCHES/0002-Change-it-again.patch"

# git apply --cached cannot see this one.
echo mine >"$KERNEL_TREE/virt/kvm/new.c"
expect 'a file in the way stops git am' 1 'back where it was' "$series" apply
verdict 'the file in the way is kept' "$([[ $(cat "$KERNEL_TREE/virt/kvm/new.c") == mine && $(tree rev-parse HEAD) == "$base" &&
  $(sed -n 2p "$KERNEL_TREE/virt/kvm/kvm_main.c") == two && ! -e $KERNEL_TREE/.git/rebase-apply ]]; echo $?)"
rm "$KERNEL_TREE/virt/kvm/new.c"

# branch and export, on copies: what follows needs the patches as they are.
cp -r "$DYIELD_PATCHES" "$tmp/edited"
edit() { env DYIELD_PATCHES="$tmp/edited" "$series" "$@"; }
same_files() { diff -r "$tmp/exported" "$tmp/edited" >"$tmp/out"; }
printf '%s\n' 'Subject: [PATCH 0/2] A series' '' 'Text that stays.' '' 'Tester (2):' '  counted before' '' \
  >"$tmp/edited/0000-cover-letter.patch"
expect 'export needs the branch' 3 'scripts/series branch makes it' edit export
expect 'branch' 0 "$tmp/build/linux/src-" edit branch
edited=$(edit branch 2>/dev/null)
expect 'export' 0 'holds the 2 patches' edit export
cp -r "$tmp/edited" "$tmp/exported"
expect 'branch of what was exported' 0 "$edited" edit branch
expect 'export again' 0 'holds the 2 patches' edit export
verdict 'an export without an edit changes no byte' "$(same_files; echo $?)"
git -C "$edited" config user.name Tester
git -C "$edited" config user.email tester@localhost
echo 3 >>"$edited/virt/kvm/new.c"
expect 'branch does not drop what is not committed' 3 'not committed' edit branch
git -C "$edited" commit -qam 'Add three'
expect 'export of an edit' 0 'holds the 3 patches' edit export
verdict 'the list has the new patch' "$([[ $(tail -n 1 "$tmp/edited/series") == 0003-Add-three.patch &&
  $(head -n 1 "$tmp/edited/series") == '# base: scratch' ]]; echo $?)"
cover=$(cat "$tmp/edited/0000-cover-letter.patch")
verdict 'the cover letter keeps its text and counts anew' "$([[ $cover == *'[PATCH 0/3] A series'*'Text that stays.'*'Tester (3):'* &&
  $cover != *'counted before'* ]]; echo $?)"
rm -rf "$tmp/exported"
cp -r "$tmp/edited" "$tmp/exported"
git -C "$edited" checkout -q -B dyield-series refs/dyield/base
expect 'a branch without a commit is refused' 1 'holds no commit' edit export
verdict 'and no patch is lost' "$(same_files; echo $?)"

# A posting, of what was exported.
mkdir "$tmp/edited/results"
expect 'a posting needs results' 1 'not fit to be posted' edit post
echo 'Text {demo:unicast:4:shootdowns}' >"$tmp/edited/results/rows"
cat >"$tmp/edited/results/demo.json" <<'END'
{"cells": [{"dimensions": {"workload": "unicast", "vcpus": 4}, "metrics": {"shootdowns": {
  "ratio": {"value": 1.5, "interval": {"low": 1.25, "high": 1.75}}}}}]}
END
expect 'numbers that were typed are refused' 1 'other numbers' edit post
DYIELD_PATCHES=$tmp/edited "$here/../cover-letter" fill
expect 'post' 0 "git send-email --no-chain-reply-to --to='Paolo Bonzini <pbonzini@redhat.com>'" edit post
posted=$tmp/build/post
verdict 'a posting has results and its poster' "$([[ $(grep -c '^Text x1.500 \[1.250, 1.750\]$' "$posted/0000-cover-letter.patch") == 1 &&
  $(cat "$posted"/*.patch | grep -c '^From: Tester <tester@localhost>$') == 3 &&
  $(cat "$posted"/*.patch | grep -c '^Signed-off-by: Tester <tester@localhost>$') == 3 ]]; echo $?)"
verdict 'it names the commit it is based on' "$(grep -qx "base-commit: $base" "$posted/0000-cover-letter.patch"; echo $?)"
tree worktree add -q -b posted "$tmp/posted" "$base"
verdict 'it applies' "$(git -C "$tmp/posted" am -q "$posted"/000[1-3]-*.patch; echo $?)"
tree worktree remove --force "$tmp/posted"
tree branch -q -D posted
git config --global --unset user.email
expect 'a poster without a name is refused' 2 'git does not know who' edit post
git config --global user.email tester@localhost

expect 'the series applies' 0 'now has the 2 patches' "$series" apply
verdict 'as two commits' "$([[ $(tree log --format=%s "$base.." | paste -sd,) == 'Change it again,Change two' &&
  -z $(tree status --porcelain) ]]; echo $?)"

# check, as far as it goes without a kernel.
touch "$DYIELD_PATCHES/0003-stray.patch" "$DYIELD_PATCHES/0000-cover-letter.patch"
expect 'a patch that is not listed' 1 'does not list 0003-stray.patch;' "$series" check
rm "$DYIELD_PATCHES/0003-stray.patch"
echo 0004-gone.patch >>"$DYIELD_PATCHES/series"
expect 'a listed patch that is missing' 1 'lists 0004-gone.patch' "$series" check
sed -i '/gone/d; /base/d' "$DYIELD_PATCHES/series"
expect 'no base' 1 'does not state what it is based on' "$series" check
expect 'the backport to 6.12 is whole, and asks for a source of its own' 3 "ok series file: $(grep -c '^[0-9]' "$here/../../patches/6.12/series") patches, base 6.12" \
  -u KERNEL_TREE DYIELD_PATCHES="$here/../../patches/6.12" "$series" check

expect 'check-more of what there is not' 2 'there is no check-more everything' "$series" check-more everything
# A function that has moved, and one that calls it, are the same.
functions() { gcc -O1 -x c -c -o "$tmp/$1.o" - <<<"int kept(int); int changed(int i) { return $2; } __attribute__((noinline)) int kept(int i) { return i * 5; } int caller(int i) { return kept(i) + kept(2); } $3"; }
functions before 'i + 1' '' && functions after 'kept(i * 7) - i' 'int added(void) { return 1; }'
expect 'changed functions are named, moved ones are not' 0 '1 of 3 functions changed, 0 in numbers only, 1 new, 0 gone' \
  "$here/../changed-functions" "$tmp/before.o" "$tmp/after.o"
functions numbers 'i + 9' ''
expect 'a function with another offset or constant has changed in numbers only' 0 '1 of 3 functions changed, 1 in numbers only, 0 new' \
  "$here/../changed-functions" "$tmp/before.o" "$tmp/numbers.o"
expect 'changed functions of no object' 3 'give two objects' "$here/../changed-functions" "$tmp/before.o" "$tmp/none.o"

finish
