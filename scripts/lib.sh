# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the scripts share: paths, messages, the kernel tree and its lock.
# Sourced, never run.

prog=$(basename "$0")
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath -m "${DYIELD_BUILD:-$repo/build}")
series_dir=$(realpath -m "${DYIELD_PATCHES:-$repo/patches/7.3}")
lab_dir=$repo/patches/lab
# The kernel branch: that of the series' base.
kernel_branch=$(sed -nE 's/^# base: *([0-9]+\.[0-9]+).*/\1/p' "$series_dir/series" 2>/dev/null || :)
: "${kernel_branch:=7.3}"

# Exit codes, the same in every tool of the repository.
# shellcheck disable=SC2034
readonly ex_failed=1 ex_usage=2 ex_env=3 ex_skip=4 ex_timeout=124

log() { printf '%s: %s\n' "$prog" "$*" >&2; }

die() {
  local code=$1
  shift
  log "error: $*"
  exit "$code"
}

# Of a file, or of what comes in.
sha256() { sha256sum "${1:--}" | cut -d' ' -f1; }

need() {
  local tool
  for tool; do
    command -v "$tool" >/dev/null ||
      die "$ex_env" "$tool is not installed; run scripts/setup first"
  done
}

# --- patches -----------------------------------------------------------------

# The series, a full path a line, in order.
series_patches() {
  local name
  [[ -r $series_dir/series ]] || return 0
  while read -r name _; do
    [[ -z $name || $name == \#* ]] && continue
    [[ -r $series_dir/$name ]] ||
      die "$ex_failed" "$series_dir/series lists $name, which is not there; remove the line or add the patch"
    printf '%s\n' "$series_dir/$name"
  done <"$series_dir/series"
}

# Every path that the given patches name.
patch_paths() {
  sed -nE 's,^diff --git a/(.*) b/.*,\1,p; s,^diff --git a/.* b/(.*),\1,p' "$@" /dev/null | sort -u
}

patch_subject() {
  git mailinfo /dev/null /dev/null <"$1" | sed -n 's/^Subject: //p'
}

# Print the commit that "git am PATCH..." makes on BASE, without a look at the
# work tree: switching to it then changes the time stamps of those files only
# that differ, so make rebuilds no more than it has to. Dates are those of the
# patches, so the same input gives the same commit.
commit_patches() {
  local tree=$1 commit=$2 tmp patch id
  shift 2
  tmp=$(mktemp -d)
  if ! (
    # No "set -e" here: bash ignores it in a condition.
    # shellcheck disable=SC2030
    export GIT_INDEX_FILE=$tmp/index
    cd "$tree" && git read-tree "$commit" || exit
    for patch; do
      git apply --cached "$patch" 2>"$tmp/err" || {
        printf '%s does not apply: %s\n' "$(basename "$patch")" "$(sed -n '1s/^error: //p' "$tmp/err")" >"$tmp/why"
        exit 1
      }
      git mailinfo "$tmp/body" /dev/null <"$patch" >"$tmp/info" || exit
      field() { sed -n "s/^$1: //p" "$tmp/info"; }
      GIT_AUTHOR_NAME=$(field Author) GIT_AUTHOR_EMAIL=$(field Email) GIT_AUTHOR_DATE=$(field Date)
      : "${GIT_AUTHOR_NAME:=dyield}" "${GIT_AUTHOR_EMAIL:=dyield@localhost}" "${GIT_AUTHOR_DATE:=$fixed_date}"
      export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE
      export GIT_COMMITTER_NAME=dyield GIT_COMMITTER_EMAIL=dyield@localhost GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
      id=$(git write-tree) || exit
      commit=$( { field Subject; echo; cat "$tmp/body"; } | git commit-tree -p "$commit" "$id") || exit
    done
    printf '%s\n' "$commit" >"$tmp/commit"
  ); then
    log "$(cat "$tmp/why" 2>/dev/null || echo "git could not build the branch in $tree")"
    rm -rf "$tmp"
    return 1
  fi
  cat "$tmp/commit"
  rm -rf "$tmp"
}

# --- the kernel tree ---------------------------------------------------------

fixed_date='2020-01-01T00:00:00Z'

# One build at a time: there is one source tree and one object directory.
lock_tree() {
  mkdir -p "$build/linux"
  exec 9>"$build/linux/lock"
  flock -n 9 || {
    log "another build has the lock; waiting"
    flock 9
  }
}

# Name the tree: src, obj, source (a version or a commit, for the manifest).
locate_tree() {
  local id
  if [[ -n ${KERNEL_TREE:-} ]]; then
    [[ -f $KERNEL_TREE/Kbuild && -f $KERNEL_TREE/virt/kvm/kvm_main.c ]] ||
      die "$ex_env" "KERNEL_TREE=$KERNEL_TREE is not a Linux source tree; name the top directory of one"
    id=$(realpath "$KERNEL_TREE" | sha256 - | cut -c1-12)
    src=$build/linux/src-$id
    obj=$build/linux/obj-$id
  else
    # Without links: the compiler's options hold the path, and objects depend on them.
    src=$(realpath -m "$build/linux/src")
    obj=$(realpath -m "$build/linux/obj")
    [[ -s $build/linux/version ]] ||
      die "$ex_env" "there is no kernel source in $build/linux/src; run scripts/setup first"
  fi
}

# Make $src a git repository with a ref "base" to put the patches on. The
# user's own tree is cloned or copied, never changed. A copy that is no git
# tree gets a small repository: to add all of the kernel takes a minute, and only
# the part that patches touch has to be switched.
prepare_tree() {
  locate_tree
  if [[ -n ${KERNEL_TREE:-} ]] && git -C "$KERNEL_TREE" rev-parse --show-prefix 2>/dev/null | grep -qx ''; then
    source=$(git -C "$KERNEL_TREE" rev-parse HEAD)
    [[ -z $(git -C "$KERNEL_TREE" status --porcelain --untracked-files=no) ]] ||
      log "note: what is not committed in $KERNEL_TREE is left out"
    if [[ ! -d $src/.git ]]; then
      log "cloning $KERNEL_TREE"
      rm -rf "$src"
      git clone -q --shared --no-checkout "$KERNEL_TREE" "$src" ||
        die "$ex_env" "git could not clone $KERNEL_TREE to $src; see its message above"
    fi
    git -C "$src" cat-file -e "$source" 2>/dev/null || git -C "$src" fetch -q "$KERNEL_TREE" "$source"
    git -C "$src" update-ref refs/dyield/base "$source"
    git -C "$src" ls-files --error-unmatch Kbuild >/dev/null 2>&1 || git -C "$src" checkout -q -f --detach "$source"
    return
  fi
  if [[ -n ${KERNEL_TREE:-} ]]; then
    if [[ ! -d $src ]]; then
      log "copying $KERNEL_TREE"
      rm -rf "$src.tmp"
      cp -a --reflink=auto "$KERNEL_TREE" "$src.tmp"
      make -s -C "$src.tmp" mrproper >&2
      mv "$src.tmp" "$src"
    else
      log "note: $KERNEL_TREE was copied before, to $src; remove that to copy it anew"
    fi
    source="copy of $(make -s -C "$src" kernelversion)"
  else
    source=$(cat "$build/linux/version")
  fi
  track_base
}

track_base() {
  local -a untracked
  local tmp id
  if ! git -C "$src" rev-parse -q --verify refs/dyield/base >/dev/null 2>&1; then
    rm -rf "$src/.git"
    git -C "$src" init -q
    git -C "$src" config status.showUntrackedFiles no
    git -C "$src" config gc.auto 0
    # -f: the kernel's .gitignore is about build products; we name sources.
    git -C "$src" add -f arch/x86/kvm virt arch/x86/include/asm include/linux/kvm* include/uapi/linux/kvm* \
      include/trace/events/kvm.h kernel/sched
    commit_base "$(git -C "$src" write-tree)"
    git -C "$src" checkout -q -f --detach refs/dyield/base
  fi
  # A file that a patch changes and nobody tracks yet is still as shipped. A file
  # that a patch creates is tracked by the branch that is checked out, or absent.
  mapfile -t untracked < <(
    patch_paths "$series_dir"/*.patch "$lab_dir"/*.patch 2>/dev/null | while read -r path; do
      [[ -f $src/$path ]] && ! git -C "$src" ls-files --error-unmatch "$path" >/dev/null 2>&1 && echo "$path"
    done
  )
  ((${#untracked[@]})) || return 0
  tmp=$(mktemp)
  id=$(
    # shellcheck disable=SC2031
    export GIT_INDEX_FILE=$tmp
    cd "$src" || exit
    git read-tree refs/dyield/base
    git add -f -- "${untracked[@]}"
    git write-tree
  )
  rm -f "$tmp"
  commit_base "$id"
}

commit_base() {
  git -C "$src" update-ref refs/dyield/base "$(
    GIT_AUTHOR_NAME=dyield GIT_AUTHOR_EMAIL=dyield@localhost GIT_AUTHOR_DATE=$fixed_date \
      GIT_COMMITTER_NAME=dyield GIT_COMMITTER_EMAIL=dyield@localhost GIT_COMMITTER_DATE=$fixed_date \
      git -C "$src" commit-tree -m "Base: $source" "$1"
  )"
}

# The DEBUG of a kernel NAME-DEBUG, i.e. which of kernel-config/debug-*.config it is
# configured with; empty for any other kernel.
debug_of() {
  [[ $1 != *-* || ! -r $repo/kernel-config/debug-${1##*-}.config ]] || echo "${1##*-}"
}

# The patches of a named kernel, a path a line.
kernel_patches() {
  local name=$1 n count
  if [[ -n $(debug_of "$name") ]]; then
    name=${name%-*}
    [[ $name != guest ]] || die "$ex_usage" "there is no kernel $1: a guest's has no debug options; see scripts/kernel list"
  fi
  case $name in
    # The guest kernel stands on no KVM, so no patch concerns it.
    mainline | guest) ;;
    patched) series_patches ;;
    series-*)
      n=${name#series-}
      count=$(series_patches | wc -l)
      [[ $n =~ ^[1-9][0-9]*$ && $n -le $count ]] ||
        die "$ex_usage" "there is no kernel $name: the series has $count patches; see scripts/kernel list"
      series_patches | sed -n "1,${n}p"
      ;;
    *)
      [[ $name =~ ^[a-z0-9][a-z0-9._-]*$ && -r $lab_dir/$name.patch ]] ||
        die "$ex_usage" "there is no kernel named $name; see scripts/kernel list"
      series_patches
      printf '%s\n' "$lab_dir/$name.patch"
      ;;
  esac
}

# Make the branch of a named kernel, without touching the work tree.
branch_kernel() {
  local name=$1 list commit
  local -a patches=()
  list=$(kernel_patches "$name") || exit
  [[ -z $list ]] || mapfile -t patches <<<"$list"
  commit=$(commit_patches "$src" "$(git -C "$src" rev-parse refs/dyield/base)" "${patches[@]}") ||
    die "$ex_failed" "kernel $name cannot be made from $source; fix the patch named above"
  git -C "$src" update-ref "refs/heads/$name" "$commit"
}

# A checkout would lose what was edited on the branch that scripts/series branch makes.
edit_branch=dyield-series
keep_edits() {
  [[ $(git -C "$src" symbolic-ref -q --short HEAD || :) != "$edit_branch" ||
    -z $(git -C "$src" status --porcelain --untracked-files=no) ]] ||
    die "$ex_env" "$src has changes that are not committed; commit or drop them first"
}

# Put the work tree at a named kernel.
checkout_kernel() {
  [[ ! -e $src/.git/rebase-merge && ! -e $src/.git/rebase-apply ]] ||
    die "$ex_env" "a rebase or git am is under way in $src, and a build would move its HEAD; end it first"
  keep_edits
  branch_kernel "$1"
  git -C "$src" checkout -q -f --detach "$1"
}

# make, with all that must be the same for the same input to give the same image.
# Two things for speed: BTF is made of types and needs nothing about lines and
# variables' places (a fifth of gcc's time), and ccache takes the compiler's own
# list of headers instead of a second run of the preprocessor (a tenth).
debug_flags="-fno-var-tracking -gno-statement-frontiers -gno-variable-location-views -gno-column-info"
kernel_make() {
  CCACHE_DIR=$build/ccache CCACHE_DEPEND=1 make -C "$src" O="$obj" -j"$(($(nproc) + 1))" \
    CC='ccache gcc' HOSTCC='ccache gcc' LOCALVERSION= \
    KBUILD_BUILD_TIMESTAMP="$fixed_date" KBUILD_BUILD_USER=dyield \
    KBUILD_BUILD_HOST=lab KBUILD_BUILD_VERSION=1 \
    KCFLAGS="-fdebug-prefix-map=$src/= -fdebug-prefix-map=$obj/= $debug_flags" "$@" 9>&-
}

wanted_config() { cat "${config_fragments[@]}"; }

# The configuration of a named kernel, and where its objects are. A branch may have a
# fragment of its own, for options that it lacks.
select_config() {
  local debug
  debug=$(debug_of "$1")
  locate_tree
  config_fragments=("$repo/Kconfig.fragment" "$repo/kernel-config/lab.config")
  [[ $1 != guest ]] || config_fragments=("$repo/kernel-config/guest.config") obj=$obj-guest
  [[ ! -r $repo/kernel-config/$kernel_branch.config ]] ||
    config_fragments+=("$repo/kernel-config/$kernel_branch.config")
  [[ -z $debug ]] || config_fragments+=("$repo/kernel-config/debug-$debug.config") obj=$obj-$debug
}

# Write $obj/.config: what the fragments name, on top of allnoconfig, and
# nothing else. Untouched if it comes out the same, so that make does not look at
# every file again. Of two lines on an option, the last counts. merge_config.sh only
# warns of an option that got lost.
configure_kernel() {
  local line lost=()
  mkdir -p "$obj/merge"
  (cd "$src" && MAKEFLAGS='' CC='ccache gcc' CCACHE_DIR=$build/ccache \
    scripts/kconfig/merge_config.sh -n -O "$obj/merge" "${config_fragments[@]}") >"$obj/config.log" 2>&1 ||
    die "$ex_failed" "merge_config.sh failed: $(tail -n 1 "$obj/config.log"); the log is $obj/config.log"
  while read -r line; do
    case $line in
      CONFIG_*=n) ! grep -q "^${line%=n}=" "$obj/merge/.config" || lost+=("$line") ;;
      CONFIG_*) grep -qxF -- "$line" "$obj/merge/.config" || lost+=("$line") ;;
    esac
  done < <(wanted_config | awk -F= '/^CONFIG_/ { last[$1] = $0 } END { for (option in last) print last[option] }')
  ((${#lost[@]} == 0)) ||
    die "$ex_failed" "the kernel's configuration lost ${lost[*]}: a dependency is missing or another option selects it; fix ${config_fragments[*]#"$repo/"}"
  cmp -s "$obj/merge/.config" "$obj/.config" || cp "$obj/merge/.config" "$obj/.config"
}

# The lines of a build log that say what went wrong.
log_errors() {
  grep -m5 -E '(error|fatal|undefined reference|No rule|No space|FAILED)[: ]|Killed' "$1" || tail -n 5 "$1"
}

# build_selftests [TARGET...]: KVM selftests of the patched tree, all of x86's unless
# named, static, in $build/selftests. A subshell: the lock goes with it. What is built
# stays, the next time is faster.
build_selftests() (
  local work=$build/selftests
  lock_tree
  prepare_tree
  checkout_kernel patched
  mkdir -p "$work"
  make -s -C "$src" O="$work/headers" ARCH=x86 headers_install 9>&- &&
    make -s -j"$(nproc)" -C "$src/tools/testing/selftests/kvm" ARCH=x86_64 OUTPUT="$work" LDFLAGS=-static \
      KHDR_INCLUDES="-isystem $work/headers/usr/include" "$@" 9>&-
)

# --- the harness -------------------------------------------------------------

# build_harness DIRECTORY [CMAKE OPTION...] [-- TARGET...]: the harness's own tree, in
# a directory of objects; the log is in it.
build_harness() {
  local out=$1 kernel_source options=()
  shift
  while (($#)) && [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift || :
  # libperf comes out of the kernel source; of a tree of one's own, from the tree itself.
  locate_tree
  kernel_source=${KERNEL_TREE:-$src}
  mkdir -p "$out"
  # Relative paths: another checkout of the same files finds the same objects.
  export CCACHE_DIR=$build/ccache CCACHE_BASEDIR=$repo CCACHE_NOHASHDIR=1
  if ! { cmake -S "$repo/harness" -B "$out" -G Ninja -DCMAKE_CXX_COMPILER_LAUNCHER=ccache \
    -DDYIELD_KERNEL_SOURCE="$(realpath "$kernel_source")" ${options[@]+"${options[@]}"} &&
    ninja -C "$out" "$@"; } >"$out/build.log" 2>&1; then
    grep -m20 -E 'error|FAILED' "$out/build.log" >&2 || tail -n 20 "$out/build.log" >&2
    die "$ex_failed" "the harness does not build; the whole log is $out/build.log"
  fi
}
