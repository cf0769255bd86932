#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The KVM selftest of the series, built from the patched tree and run in the lab: it
# fails on mainline and passes with the series, on AMD and, if that machine is set up,
# on Intel. Needs both kernels built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/lib.sh
. "$here/../lib.sh"
# shellcheck source=scripts/tests/check.sh
. "$here/check.sh"
program=directed_yield_test
work=$build/selftests

expect 'selftest: builds' 0 '' build_selftests "$work/x86/$program"
run=("$here/../lab" --file "$work/x86/$program")
# Where the scheduler stands when it begins is a matter of the boot: in most of three.
in_most_boots() {
  local want=$1 boot status met=0
  shift
  for boot in 1 2 3; do
    status=0
    "${run[@]}" --append "dyield.boot=$boot" "$@" || status=$?
    ((status != want)) || met=$((met + 1))
  done
  ((met < 2)) || return "$want"
  return 1
}
expect 'selftest: mainline fails it' 254 'KVM let bystanders run in' in_most_boots 254 mainline -- "/in/$program"
expect 'selftest: the series passes it' 0 'waits ended before a bystander ran' in_most_boots 0 patched -- "/in/$program"
expect 'selftest: it is a skip where PAUSE loops do not exit' 4 'pause_loops_exit' "${run[@]}" patched -- \
  sh -c "rmmod kvm-amd; insmod /modules/kvm-amd.ko pause_filter_count=0; /in/$program"

# The hardware's own windows, and interrupts that are posted.
if [ -x "$build/bochs/bochs" ]; then
  intel=("${run[@]}" --machine intel)
  expect 'selftest: on Intel, mainline fails it' 254 'KVM let bystanders run in' "${intel[@]}" mainline -- "/in/$program"
  for apicv in 0 1; do
    expect "selftest: on Intel, the series passes it, enable_apicv=$apicv" 0 'waits ended before a bystander ran' \
      "${intel[@]}" --module-arg "kvm_intel=enable_apicv=$apicv" patched -- "/in/$program"
  done
else
  echo 'skip selftest: on Intel: not set up; run make setup-intel'
fi

finish
