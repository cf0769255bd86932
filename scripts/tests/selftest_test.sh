#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The KVM selftest of the series, built from the patched tree and run in the lab: it
# fails on mainline and passes with the series, on AMD and, if that machine is set up,
# on Intel. Needs the kernels mainline, patched and peers built.
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
choice='KVM yielded 0 times to the receiver'
# shellcheck disable=SC2016 # the machine's shell is to expand it
policy='echo $1 >/sys/module/kvm/parameters/yield_policy; /in/'$program
expect 'selftest: mainline fails it' 254 "find stat 'spin_yield_receiver'" "${run[@]}" mainline -- "/in/$program"
expect "selftest: mainline's choice fails it in a kernel that counts" 254 "$choice" \
  "${run[@]}" peers -- sh -c "$policy" sh mainline
expect 'selftest: the series passes it' 0 'HVCALL_SEND_IPI: the sender yielded' "${run[@]}" patched -- "/in/$program"
expect 'selftest: it is a skip where PAUSE loops do not exit' 4 'pause_loops_exit' "${run[@]}" patched -- \
  sh -c "rmmod kvm-amd; insmod /modules/kvm-amd.ko pause_filter_count=0; /in/$program"

# The hardware's own windows, and interrupts that are posted.
if [ -x "$build/bochs/bochs" ]; then
  intel=("${run[@]}" --machine intel)
  expect "selftest: on Intel, mainline's choice fails it" 254 "$choice" \
    "${intel[@]}" --module-arg kvm_intel=enable_apicv=0 peers -- sh -c "$policy" sh mainline
  for apicv in 0 1; do
    expect "selftest: on Intel, the series passes it, enable_apicv=$apicv" 0 'HVCALL_SEND_IPI: the sender yielded' \
      "${intel[@]}" --module-arg "kvm_intel=enable_apicv=$apicv" patched -- "/in/$program"
  done
else
  echo 'skip selftest: on Intel: not set up; run make setup-intel'
fi

finish
