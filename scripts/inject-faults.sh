#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Lets each system call of a command fail once, and says what came of it. Runs in
# the lab (busybox) and elsewhere; scripts/faults judges the lines.
# usage: inject-faults.sh FIRST STEP CALLS COMMAND...
#
# CALLS are words NAME=ERRNO. The NAMEd call fails for the FIRST time that a thread
# makes it, then in another run for the FIRST + STEPth, and so on; with a STEP of 0 each
# is half as far again. COMMAND runs in a
# fresh copy of the folder $EARLIER. Shell commands that run there behind it: $WHOLE,
# if it said that it succeeded; $KEPT; $AFTER. STRACE names strace. A line a run:
#   fault NAME ERRNO NTH exit STATUS whole STATUS kept STATUS after STATUS left COUNT: LAST LINE
first=$1 step=$2 calls=$3
shift 3
: "${STRACE:=strace}" "${WORK:=/tmp/inject}"
rm -rf "$WORK"
mkdir -p "$WORK"
trap 'rm -rf "$WORK"' EXIT

# Threads of guests, and VMs, that outlive the command.
left() {
  { grep -ls '^vm[0-9]*/vcpu' /proc/[0-9]*/task/[0-9]*/comm; ls -d /sys/kernel/debug/kvm/[0-9]* 2>/dev/null; } | wc -l
}

# In the folder of the run; its status.
judge() {
  status_of_judge=0
  (cd "$WORK/now" && sh -c "$1") >>"$WORK/judged" 2>&1 || status_of_judge=$?
  echo "$status_of_judge"
}

for call in $calls; do
  name=${call%=*} errno=${call#*=} nth=$first
  while :; do
    rm -rf "$WORK/now"
    cp -r "$EARLIER" "$WORK/now"
    status=0 whole=0 others=$(left)
    # shellcheck disable=SC2086 # several words
    (cd "$WORK/now" && timeout 60 $STRACE -f -qq -o "$WORK/trace" -e trace="$name" \
      -e inject="$name:error=$errno:when=$nth" "$@") >"$WORK/out" 2>"$WORK/err" || status=$?
    grep -q INJECTED "$WORK/trace" || break
    lost=$(($(left) - others))
    [ "$lost" -ge 0 ] || lost=0 # another's VM has ended
    [ "$status" != 0 ] || whole=$(judge "${WHOLE:-:}")
    kept=$(judge "${KEPT:-:}")
    [ -z "$(find "$WORK/now" -name '*.tmp')" ] || kept=tmp
    echo "fault $name $errno $nth exit $status whole $whole kept $kept after $(judge "${AFTER:-:}") left $lost: $(grep -v '^$' "$WORK/err" | tail -n 1)"
    nth=$((nth + (step > 0 ? step : nth / 2 + 1)))
  done
done
