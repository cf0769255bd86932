#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# scripts/lab --machine intel: kvm-intel with the hardware's own PAUSE-loop windows and
# with APICv off and on, and that a run repeats. Needs the kernels and the harness
# built; skipped if that machine is not set up. DYIELD_KERNEL names the kernel to test
# in place of patched.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/tests/check.sh
. "$here/check.sh"
repo=$here/../..
kernel=${DYIELD_KERNEL:-patched}
bochs=${DYIELD_BUILD:-$repo/build}/bochs/bochs
if [ ! -x "$bochs" ]; then
  echo "skip intel machine: not set up; run make setup-intel"
  exit 4
fi

# run FOLDER APICV: a boot with two seeds of unicast.
run() {
  "$here/../lab" --machine intel --timeout 1200 --out "$tmp/$1" --module-arg "kvm_intel=enable_apicv=$2" "$kernel" -- \
    dyield -q run unicast --vcpus 4 --cpus 2 --seeds 2 --duration 0.1 --warmup 0.05 -o /out/r.json
}

# fact FOLDER EXPRESSION: true of the result r.
fact() {
  python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
intel, lab = r["environment"]["modules"]["kvm_intel"], r["environment"]["lab"]
sys.exit(not eval(sys.argv[2]))' "$tmp/$1/r.json" "$2"
  echo $?
}

for apicv in 0 1; do
  name="intel: APICv $([[ $apicv == 0 ]] && echo off || echo on)"
  letter=$([[ $apicv == 0 ]] && echo N || echo Y)
  expect "$name: a run passes" 0 complete run "apicv-$apicv" "$apicv"
  verdict "$name: it is as asked for" "$(fact "apicv-$apicv" "intel['enable_apicv'] == '$letter'")"
  verdict "$name: PAUSE loops exit" \
    "$(fact "apicv-$apicv" 'all(run["counts"]["pause_exits"]["value"] > 0 for run in r["runs"])')"
done
verdict 'intel: kvm-intel has EPT, VPID, unrestricted guests, flexpriority' \
  "$(fact apicv-1 'all(intel[x] == "Y" for x in ("ept", "vpid", "unrestricted_guest", "flexpriority"))')"
verdict 'intel: PAUSE loops have a window' "$(fact apicv-1 'intel["ple_gap"] == "128" and intel["ple_window"] == "4096"')"
verdict 'intel: a PAUSE loop takes many PAUSEs to exit' \
  "$(fact apicv-1 'all(run["counts"]["pauses"]["value"] > 10 * run["counts"]["pause_exits"]["value"] for run in r["runs"])')"
verdict 'intel: results say that they are emulated, and by what' \
  "$(fact apicv-1 'lab["emulated"] is True and lab["machine"] == "bochs-vmx"')"
# With APICv a receiver that is not running has the IPI's vector in its posted-interrupt
# descriptor only: without the test of those bits next to no yield finds a receiver.
verdict 'intel: APICv on: receivers are found by their posted interrupts' \
  "$(fact apicv-1 'all(2 * run["counts"]["receiver_while_waiting"]["value"] > run["counts"]["pause_exits_waiting"]["value"] for run in r["runs"])')"
expect 'intel: another run' 0 complete run again 1
verdict 'intel: the same seeds give the same bytes' "$(cmp -s "$tmp/apicv-1/r.json" "$tmp/again/r.json"; echo $?)"
expect 'intel: a kernel panic is told from a failed command' 1 panicked \
  "$here/../lab" --machine intel "$kernel" -- sh -c 'echo c > /proc/sysrq-trigger'
# The machine's shell must expand the last argument, not this one.
# shellcheck disable=SC2016
expect 'intel: arguments, status and streams are as on the other machine' 7 'two  words' \
  "$here/../lab" --machine intel "$kernel" -- sh -c 'echo "$1" >&2; exit 7' sh 'two  words'

finish
