#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Lets each system call of a command fail once, and says what came of it. Runs in
# the lab (busybox) and elsewhere; scripts/faults judges the lines.
# usage: inject-faults.sh FIRST STEP CALLS COMMAND...
#
# CALLS are words NAME=ERRNO. The NAMEd call fails for the FIRST time that it is
# made, then in another run for the FIRST + STEPth, and so on. COMMAND runs in a
# fresh copy of the folder $EARLIER, if there is one; $AFTER, a shell command, runs
# there behind it. STRACE names strace. One line for each run:
#   fault NAME ERRNO NTH exit STATUS after STATUS kept YES|NO left COUNT: LAST LINE
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

for call in $calls; do
  name=${call%=*} errno=${call#*=} nth=$first
  while :; do
    rm -rf "$WORK/now"
    if [ -n "$EARLIER" ]; then cp -r "$EARLIER" "$WORK/now"; else mkdir "$WORK/now"; fi
    status=0
    # shellcheck disable=SC2086 # several words
    (cd "$WORK/now" && timeout 60 $STRACE -f -qq -o "$WORK/trace" -e trace="$name" \
      -e inject="$name:error=$errno:when=$nth" "$@") >"$WORK/out" 2>"$WORK/err" || status=$?
    grep -q INJECTED "$WORK/trace" || break
    lost=$(left)
    kept=yes
    # What was whole before is still there, byte for byte.
    if [ -n "$EARLIER" ]; then
      size=$(wc -c <"$EARLIER/samples.ndjson")
      head -c "$size" "$WORK/now/samples.ndjson" 2>/dev/null | cmp -s - "$EARLIER/samples.ndjson" || kept=no
    fi
    after=0
    [ -z "$AFTER" ] || (cd "$WORK/now" && sh -c "$AFTER") >"$WORK/after" 2>&1 || after=$?
    [ -z "$(find "$WORK/now" -name '*.tmp')" ] || kept=no
    echo "fault $name $errno $nth exit $status after $after kept $kept left $lost: $(grep 'dyield: ' "$WORK/err" | tail -n 1)"
    nth=$((nth + step))
  done
done
