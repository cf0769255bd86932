#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The command line from outside: exit codes, which stream says what.
# usage: cli_test.sh DYIELD
set -euo pipefail
dyield=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0

# expect STATUS STREAM TEXT ARGUMENTS...: STREAM (out or err) must hold TEXT.
expect() {
  local want=$1 stream=$2 text=$3 status=0
  shift 3
  "$dyield" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
  if [ "$status" != "$want" ] || ! grep -qF -- "$text" "$tmp/$stream"; then
    echo "FAILED: dyield $* -> $status, wanted $want and '$text' on std$stream"
    sed 's/^/  /' "$tmp/out" "$tmp/err"
    failed=1
  fi
}

expect 0 out 'Exit codes:' --help
expect 0 out 'Examples:' run --help
expect 0 out 'dyield 0.1' --version
expect 0 out 'all-to-all' list
expect 0 out '"cpu_model"' env
expect 0 out '"overcommit": 4.0' run unicast --vcpus 4 --cpus 1 --dry-run
expect 2 err 'subcommand' ''
expect 2 err 'no workload' run nonsense
expect 2 err 'at most 8' run broadcast-flat --vcpus 9 --dry-run
expect 2 err '--vms 2' run spin-beside-compute --dry-run
expect 2 err 'nothing would come of it' run compute --fault lost-ipi --dry-run
expect 2 err '--vcpus' run unicast --vcpus 1
expect 2 err '--pin' run unicast --pin sideways
expect 4 err '--cpus 4096' run unicast --cpus 4096
expect 2 err '/nonexistent.elf' run unicast --payload /nonexistent.elf
expect 2 err '/nonexistent' compare /nonexistent /nonexistent
expect 2 err '/nonexistent' report /nonexistent /nonexistent
expect 2 err '--format' report --format pdf a b
expect 0 out 'kcidb' report --help
exit "$failed"
