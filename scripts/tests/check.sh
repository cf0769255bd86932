# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the tests in bash share; sourced, never run. Each check prints "ok NAME" or
# "not ok NAME"; the test ends with finish. $tmp is a folder of the test's own.

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# verdict NAME STATUS: 0 is ok.
verdict() {
  if (($2 == 0)); then
    passed=$((passed + 1))
    echo "ok $1"
  else
    failed=$((failed + 1))
    echo "not ok $1"
  fi
}

# same NAME GOT WANTED
same() {
  verdict "$1" "$([[ $2 == "$3" ]]; echo $?)"
  [[ $2 == "$3" ]] || echo "  got '$2', wanted '$3'" >&2
}

# expect NAME STATUS SENTENCE [VARIABLE=VALUE...] COMMAND...: what it wrote, on both
# streams, holds the sentence, if one is given, and is left in $tmp/out.
expect() {
  local name=$1 want=$2 sentence=$3 got=0
  shift 3
  if [[ $(type -t -- "$1") == function ]]; then
    "$@" >"$tmp/out" 2>&1 </dev/null || got=$?
  else
    env "$@" >"$tmp/out" 2>&1 </dev/null || got=$?
  fi
  if [[ $got == "$want" ]] && { [[ ! $sentence ]] || grep -qF -- "$sentence" "$tmp/out"; }; then
    verdict "$name" 0
  else
    verdict "$name" 1
    echo "  exit $got, wanted $want with \"$sentence\"; it wrote:" >&2
    sed 's/^/  /' "$tmp/out" >&2
  fi
}

finish() {
  echo "$passed passed, $failed failed"
  ((failed == 0 && passed > 0))
}
