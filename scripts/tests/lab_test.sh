#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# scripts/lab: what goes in, what comes out, and how each kind of end is told.
# Needs the kernel mainline and the harness built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/tests/check.sh
. "$here/check.sh"
lab=$here/../lab

# expect NAME STATUS FILE TEXT LAB-ARGUMENTS...: FILE (out or err) holds TEXT.
expect() {
  local name=$1 want=$2 file=$3 text=$4 got=0
  shift 4
  "$lab" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || got=$?
  if [[ $got == "$want" ]] && { [[ -z $text ]] || grep -qF -- "$text" "$tmp/$file"; }; then
    verdict "lab: $name" 0
  else
    verdict "lab: $name" 1
    echo "  exit $got, wanted $want with \"$text\" on std$file; it wrote:" >&2
    tail -n 20 "$tmp/out" "$tmp/err" >&2
  fi
}

expect "a command's output arrives on stdout" 0 out 7.3 mainline -- uname -r
expect "a command's errors arrive on stderr, its status is the script's" 7 err complaint \
  mainline -- sh -c 'echo complaint >&2; exit 7'
# The machine's shell must expand the last argument, not this one.
# shellcheck disable=SC2016
odd='two  words "and" $quotes'
# shellcheck disable=SC2016
expect "arguments arrive as they were given" 0 out "[$odd]" mainline -- sh -c 'echo "[$1]"' sh "$odd"
echo "from outside" >"$tmp/input"
expect "files go in, and files come out" 0 out "" --file "$tmp/input" --out "$tmp/result" \
  mainline -- sh -c 'mkdir /out/sub; cp /in/input /out/sub/copy; echo x > /out/plain'
same "lab: what came out is what went in" "$(cat "$tmp/result/sub/copy" 2>&1)" "from outside"
expect "as many CPUs as asked for" 0 out "4" --cpus 4 mainline -- nproc
expect "a command past its time is killed" 124 err "did not end within 4 s" \
  --timeout 4 mainline -- sh -c 'while :; do :; done'
expect "a kernel panic is told from a failed command" 1 err "panicked" \
  mainline -- sh -c 'echo c > /proc/sysrq-trigger'
expect "a machine that goes away without a result is an error of the lab" 3 err "without a result" \
  mainline -- reboot -f
expect "an unknown kernel is named, with what to do" 3 err "scripts/kernel build nonsense" \
  nonsense -- true
expect "no command is wrong usage" 2 err "No command" mainline
expect "an unknown option is wrong usage" 2 err "--sideways" --sideways mainline -- true
expect "a missing file is wrong usage" 2 err "/nonexistent" --file /nonexistent mainline -- true
expect "nothing is run with --dry-run" 0 out "-icount" --dry-run mainline -- true

# At a terminal, which script(1) gives it, when the prompt is there.
typed() {
  local script i
  mkfifo "$tmp/keys"
  script -qefc "$(printf '%q ' timeout --foreground 280 "$lab" mainline --shell)" "$tmp/typescript" <"$tmp/keys" >/dev/null &
  script=$!
  exec 9>"$tmp/keys"
  for ((i = 0; i < 1000; i++)); do
    ! grep -q '/ # ' "$tmp/typescript" 2>/dev/null || break
    sleep 0.25
  done
  # The machine's shell is to compute it. Once more if that was lost: with its first prompt it
  # asks the terminal for the cursor's place, and takes what comes then for the answer.
  for ((i = 0; i < 10; i++)); do
    # shellcheck disable=SC2016
    printf 'echo typed $((6 * 7))\r' >&9
    sleep 1
    ! grep -q 'typed 42' "$tmp/typescript" || break
  done
  printf 'exit\r' >&9
  wait "$script" && grep -q 'typed 42' "$tmp/typescript"
}
verdict "lab: a shell does what is typed, and its end is the machine's" "$(typed >&2; echo $?)"

# Where the machine of a kernel's copy is kept, as the copy is now.
kept() { "$lab" --dry-run "$tmp/kernel" -- true | sed -n 's/.*-incoming file:\([^ ]*\)\/state.*/\1/p'; }
cp -r "$here/../../build/kernels/mainline" "$tmp/kernel"
find "$tmp/kernel" -type f -exec touch -d 2020-01-01 {} +
first=$(kept)
sleep 2.1
same "lab: a kernel that is only touched has the machine it had" "$(kept; touch "$tmp/kernel/bzImage"; kept)" "$first
$first"
printf x | dd of="$tmp/kernel/bzImage" bs=1 seek=4096 conv=notrunc status=none
touch -d 2020-01-01 "$tmp/kernel/bzImage"
changed=$(kept)
verdict "lab: a kernel with one byte changed has another machine, whatever its time says" \
  "$([[ -n $changed && $changed != "$first" ]]; echo $?)"
rm -rf "${first:?}" "${changed:?}"

# The kernel's configuration with one line more, in a folder of the test's own.
configured_with() (
  # shellcheck source=/dev/null
  . "$here/../lib.sh"
  echo "$1" >"$tmp/fragment"
  select_config mainline
  config_fragments+=("$tmp/fragment")
  # shellcheck disable=SC2034 # configure_kernel reads it
  obj=$tmp/obj
  configure_kernel
)
said=$(configured_with CONFIG_MADE_UP=y 2>&1) && status=0 || status=$?
verdict "lab: an option that the kernel's configuration loses is named" \
  "$([[ $status == 1 && $said == *'lost CONFIG_MADE_UP=y:'* ]]; echo $?)"

"$lab" mainline -- sh -c 'cat /proc/stat /proc/interrupts; dmesg' >"$tmp/first"
"$lab" mainline -- sh -c 'cat /proc/stat /proc/interrupts; dmesg' >"$tmp/second"
same "lab: two runs are the same run, to the last interrupt" \
  "$(cmp "$tmp/first" "$tmp/second" && wc -l <"$tmp/first" | grep -cv '^0$')" "1"

# A machine of the test's own, as its snapshot is removed. It was made by this test, or by an
# earlier one: that must not matter either. The boot for the new one has less of the host.
anew() {
  "$lab" --append dyield.anew "$@" mainline -- sh -c 'cat /proc/stat /proc/interrupts; dmesg'
}
anew >"$tmp/first"
rm "$(anew --dry-run | sed -n 's/.*-incoming file:\([^ ]*\).*/\1/p')"
busy=()
for _ in $(nproc) more; do
  while :; do :; done &
  busy+=($!)
done
anew >"$tmp/second" || :
kill "${busy[@]}"
same "lab: a machine booted anew on a busy host gives the same run" \
  "$(cmp "$tmp/first" "$tmp/second" && wc -l <"$tmp/first" | grep -cv '^0$')" "1"

finish
