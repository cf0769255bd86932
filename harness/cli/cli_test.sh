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

# check NAME COMMAND...
check() {
  local name=$1
  shift
  "$@" || { echo "FAILED: $name"; failed=1; }
}

# in_json FILE EXPRESSION: of the JSON `document`.
in_json() { python3 -c "import json, sys; document = json.load(open(sys.argv[1])); print($2)" "$1"; }

expect 0 out 'Exit codes:' --help
expect 0 out 'Examples:' run --help
expect 0 out 'dyield 0.1' --version
expect 0 out 'all-to-all' list
expect 0 out '"cpu_model"' env --json
expect 0 out '"overcommit": 4.0' run unicast --vcpus 4 --cpus 1 --dry-run --json
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
results=$(dirname "$0")/../compare/testdata
for command in compare report; do
  check "$command writes a file" "$dyield" -q "$command" -o "$tmp/of-$command" "$results/mainline.json" "$results/patched.json"
  check "$command has written the file" test -s "$tmp/of-$command"
done
expect 0 out '"group": "guard"' list --json
expect 0 out 'cpu_model: ' env
expect 0 out 'topology/cores: ' env
expect 2 err 'bash' completion csh

# Output that is lost is no success: less than a buffer of it, and more.
for words in list 'list --json' env 'env --json' --help 'run --help' man 'completion zsh' 'doctor --json --no-trial' \
  'run unicast --cpus 1 --dry-run'; do
  status=0
  # shellcheck disable=SC2086 # several words
  "$dyield" $words >/dev/full 2>"$tmp/err" || status=$?
  check "dyield $words: a full disk is told ($status, $(cat "$tmp/err"))" \
    test "$status $(cat "$tmp/err")" = \
    '3 dyield: error: Cannot write to standard output: No space left on device; free space, or see where it goes.'
done

# --- run, as far as it goes without KVM ---
expect 0 out '3 run(s), seeds 7 to 9' run unicast --seed 7 --seeds 3 --cpus 1 --dry-run
expect 0 out '"last_seed": 9' run unicast --seed 7 --seeds 3 --cpus 1 --dry-run --json
expect 0 out '"runs": 200' run unicast --until-ci 2% --side a=true --side b=true --cpus 1 --dry-run --json
"$dyield" run unicast --seeds 2 --side a=true --side b=true --cpus 1 --dry-run --json >"$tmp/plan.out"
check 'a dry run with --json is one JSON value' python3 -c 'import json, sys; json.load(sys.stdin)' <"$tmp/plan.out"
expect 0 out '200 run(s), seeds 1 to 100' run unicast --until-ci 2% --side a=true --side b=true --cpus 1 --dry-run
expect 0 out 'seed 2: b a' run unicast --seeds 2 --side a=true --side b=true --cpus 1 --dry-run
expect 0 out 'seed 1: a' run unicast --aa --side a=true --cpus 1 --dry-run
expect 2 err '--order' run unicast --order sorted --dry-run
expect 2 err 'NAME=COMMAND' run unicast --side nonsense --side b=true --cpus 1 --dry-run
expect 2 err '--ci-metric speed' run unicast --ci-metric speed --cpus 1 --dry-run
expect 2 err '--until-ci' run unicast --until-ci much --cpus 1 --dry-run
expect 2 err '--max-seeds 3' run unicast --until-ci 2% --max-seeds 3 --cpus 1 --dry-run
expect 0 out '150 run(s)' run unicast --until-ci 2% --seeds 150 --cpus 1 --dry-run
for option in '--audit --no-probes' --xapic '--hide-pv all' '--guest-memory 64' '--guest-append x' '--guest-kernel x' \
  '--guest-initramfs x' '--guest-modules x'; do
  # shellcheck disable=SC2086 # several words
  expect 2 err "${option%% *} would change nothing" run unicast --cpus 1 --dry-run $option
done
expect 2 err 'name a folder' run unicast --side a=true --side b=true -o sides.json --cpus 1 --dry-run
expect 2 err 'its folder does not exist' run unicast --cpus 1 -o "$tmp/no/x.json"
expect 2 err 'plan.json is missing' run --resume "$tmp"
expect 2 err 'workload (or --resume)' run
# A dry run of random blocks depends on the seed alone.
"$dyield" run unicast --seeds 8 --order random --side a=true --side b=true --cpus 1 --dry-run >"$tmp/one"
"$dyield" run unicast --seeds 8 --order random --side a=true --side b=true --cpus 1 --dry-run >"$tmp/two"
check 'the same seed gives the same random order' cmp -s "$tmp/one" "$tmp/two"
check 'a random order has both orders in it' eval "grep -q ': a b' '$tmp/one' && grep -q ': b a' '$tmp/one'"

# The workload may come last, and no number is not a number or wrapped round.
expect 0 out 'seed 1: a b' run --cpus 1 --dry-run --side a=true --side b=true unicast
expect 2 err 'linux-nonsense' run --hide-pv all,steal-time linux-nonsense
for option in 'run --duration' 'run --warmup' 'run --limit' 'watch --interval' 'watch --duration' 'races --limit' "record -o $tmp/no.rec --duration" \
  'compare a b --margin'; do
  # shellcheck disable=SC2086 # several words
  expect 2 err 'nan is not a number' $option nan
done
for command in run races; do expect 2 err '-1 is negative' "$command" --seed -1; done
printf '[run]\nvcpus = 6\npin = "each"\n' >"$tmp/good.toml"
expect 0 out '"vcpus": 6' --config "$tmp/good.toml" run unicast --cpus 1 --dry-run --json
expect 0 out '"pin": "each"' run unicast --cpus 1 --dry-run --json --config "$tmp/good.toml"
expect 0 out '"vcpus": 3' --config "$tmp/good.toml" run unicast --vcpus 3 --cpus 1 --dry-run --json
printf '[run]\nduration = 1234.5678\n' >"$tmp/digits.toml"
expect 0 out '"duration_s": 1234.5678' --config "$tmp/digits.toml" run unicast --cpus 1 --dry-run --json
printf '[run]\nvcpu = 6\n' >"$tmp/unknown.toml"
expect 2 err "line 2, column 8: \`dyield run\` has no option 'vcpu'" --config "$tmp/unknown.toml" run unicast --cpus 1 --dry-run
printf '[walk]\nvcpus = 6\n' >"$tmp/unknown.toml"
expect 2 err "\`dyield walk\` has no option 'vcpus'" --config "$tmp/unknown.toml" run unicast --cpus 1 --dry-run
printf '[run\n' >"$tmp/damaged.toml"
expect 2 err 'line 1' --config "$tmp/damaged.toml" run unicast --dry-run
printf 'seeds = 3\n\314\247s = 1\n' >"$tmp/letter.toml"
expect 2 err 'line 2, column 1: only ASCII' --config "$tmp/letter.toml" run unicast --dry-run
# It opens, and no byte at its beginning can be read.
expect 2 err 'cannot be read to its end' --config /proc/self/mem run unicast --cpus 1 --dry-run
expect 2 err '/nonexistent.toml' --config /nonexistent.toml run unicast --dry-run

# A plan from elsewhere is untrusted.
mkdir "$tmp/plan"
echo '{"schema": "dyield.plan/1", "command": [], "arguments": {"workload": "unicast", "vcpus": "1"}}' >"$tmp/plan/plan.json"
expect 2 err 'not usable' run --resume "$tmp/plan"
echo '{"schema": "dyield.plan/9", "command": [], "arguments": {"workload": "unicast"}}' >"$tmp/plan/plan.json"
expect 2 err '/schema' run --resume "$tmp/plan"
echo '{"schema": "dyield.plan/1", "command": [], "arguments": {"workload": "unicast", "cpus": "1", "seeds": "5"}}' >"$tmp/plan/plan.json"
expect 0 out '5 run(s)' run --resume "$tmp/plan" --dry-run
expect 0 out '9 run(s)' run --resume "$tmp/plan" --seeds 9 --dry-run
echo '{"schema": "dyield.plan/1", "command": [], "arguments": {"workload": "unicast", "cpus": "1", "side": ["a=x y", "b=z"]}}' >"$tmp/plan/plan.json"
expect 0 out 'seed 1: a b' run --resume "$tmp/plan" --dry-run
expect 2 err 'not --vcpus' run --resume "$tmp/plan" --vcpus 9 --dry-run

# --- watch, as far as it goes without KVM ---
expect 0 out 'dyield watch --json --count 10' watch --help
expect 2 err '--pid 2147483647: there is no such process' watch --pid 2147483647
expect 2 err 'has no VM of KVM' watch --pid "$$"
expect 2 err '--interval' watch --interval 0
expect 2 err '--pid' watch --pid everyone
expect 2 err '--count' watch --count 0
[ -e /sys/module/kvm ] || expect 3 err 'kvm_vcpu_on_spin' watch --count 1

# --- races, as far as it goes without KVM ---
expect 0 out 'dyield races --rounds 1000' races --help
expect 2 err '--rounds' races --rounds 0
expect 2 err '--vcpus' races --vcpus 1
expect 2 err '--act' races --act explode
expect 2 err '--workload' races --workload compute
expect 2 err '/nonexistent.elf' races --payload /nonexistent.elf

# --- record and replay ---
expect 2 err '--output' record
expect 2 err 'there is no such process' record -o "$tmp/y.rec" --pid 2147483647
check 'no recording is begun of a process that is not there' test ! -e "$tmp/y.rec"
expect 2 err '/nonexistent' record -o /nonexistent/y.rec
echo earlier >"$tmp/y.rec"
[ -e /sys/module/kvm ] || expect 3 err 'kvm_vcpu_on_spin' record -o "$tmp/y.rec"
check 'a recording that does not begin leaves the earlier one' test "$(cat "$tmp/y.rec")" = earlier
expect 0 out 'dyield replay yields.rec' replay --help
expect 2 err '/nonexistent' replay /nonexistent
expect 2 err 'dyield record has not written it' replay "$dyield"
expect 2 err '--policy' replay --policy best "$dyield"

# --- doctor: what this machine is, it says; without privileges it lacks more ---
status=0
"$dyield" doctor --json --no-trial >"$tmp/doctor.json" || status=$?
check 'doctor is ready exactly if its exit code is 0' test "$(in_json "$tmp/doctor.json" "document['ready']")" = "$([ "$status" = 0 ] && echo True || echo False)"
check 'doctor names a fix for everything that is not met' test "$(in_json "$tmp/doctor.json" \
  "all(r['fix'] for r in document['requirements'] if r['state'] == 'not met')")" = True
if [ ! -e /sys/module/kvm_amd ] && [ ! -e /sys/module/kvm_intel ]; then
  others=$(cd /sys/module && echo kvm_*)
  [ "$others" = 'kvm_*' ] || [ ! -e /dev/kvm ] || expect 3 out "${others%% *}" doctor
  expect 3 out 'neither kvm-amd nor kvm-intel' doctor
fi
if [ "$(id -u)" = 0 ]; then
  cp "$dyield" "$tmp/dyield" && chmod 755 "$tmp" "$tmp/dyield"
  status=0
  setpriv --reuid 65534 --clear-groups --inh-caps=-all --bounding-set=-all \
    "$tmp/dyield" doctor >"$tmp/out" 2>&1 || status=$?
  check 'doctor misses the privileges of a user' test "$status" = 3
  check 'doctor says which' grep -q 'not met .*neither CAP_SYS_ADMIN nor CAP_BPF' "$tmp/out"
  if unshare --pid --fork true 2>/dev/null; then
    unshare --pid --fork "$dyield" doctor --no-trial >"$tmp/out" && status=0 || status=$?
    check "doctor sees a container's PID namespace" grep -q '^not met  *PID namespace .*pid:\[' "$tmp/out"
    check 'doctor calls for the host' test "$status" = 3
    if [ -e /sys/kernel/btf/vmlinux ] && [ -e /sys/module/kvm ]; then
      unshare --pid --fork "$dyield" watch --count 1 >/dev/null 2>"$tmp/err" && status=0 || status=$?
      check "watch refuses to see nothing ($status, $(cat "$tmp/err"))" grep -q -- '--pid=host' "$tmp/err"
    fi
  fi
  (ulimit -n 64 && "$dyield" doctor >"$tmp/out") || true
  check 'doctor sees a low limit of open files' grep -q 'not met .*hard limit 64' "$tmp/out"
fi

# --- what only reads and prints gives up everything first, as /proc says of it while it waits ---
case $(ldd "$dyield" 2>&1) in
  *'not a dynamic'*) seccomp=2 ;;
  *) seccomp=0 ;; # sanitizers have system calls of their own
esac
# confined ARGUMENTS...: with its output going into a pipe that is full.
confined() {
  local waits=0 pid said
  "$dyield" "$@" >&7 2>"$tmp/err" &
  pid=$!
  while said=$(grep -E '^(CapPrm|CapEff|NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr -d '\t\n') &&
    [ "$said" != "CapPrm:0000000000000000CapEff:0000000000000000NoNewPrivs:1Seccomp:$seccomp" ] && [ $((waits += 1)) -lt 100 ]; do
    sleep 0.1
  done
  check "dyield $* gives up what it does not need ($said $(cat "$tmp/err"))" test "$waits" -lt 100 -a -d "/proc/$pid"
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}
mkfifo "$tmp/full" "$tmp/given"
exec 7<>"$tmp/full"
head -c 65536 /dev/zero >&7
confined list
confined man
confined completion bash
confined compare "$tmp/given" "$tmp/given"
confined report "$tmp/given" "$tmp/given"
confined replay "$tmp/given"
exec 7>&-

# --- completion and man page, from the same source as --help ---
"$dyield" completion bash >"$tmp/completion.bash"
complete_bash() {
  bash --norc -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dyield; echo "${COMPREPLY[*]}"' \
    bash "$tmp/completion.bash" "$@"
}
# completes WANTED WORD...: exactly those.
completes() {
  local want=$1 got
  shift
  got=$(complete_bash "$@")
  check "completes '$*' to '$want' (got '$got')" test "$got" = "$want"
}
completes 'run report record replay races' dyield r
completes 'none each' dyield run --pin ''
completes 'each' dyield run --pin = e
completes 'ktap kcidb' dyield report --format k
completes 'bash zsh fish' dyield completion ''
completes 'unicast unicast-fixed unicast-ring unicast-ticks unicast-kicks' dyield -q --config run run uni
completes '--unit --until-ci' dyield run unicast --un
completes '' dyield run --vcpus ''
completes "$tmp/completion.bash" dyield run -o "$tmp/comp"
help_options=$("$dyield" run --help | grep -oE '^ +(-[a-z],)?--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u)
missing=$(comm -23 <(echo "$help_options") <(complete_bash dyield run -- | tr ' ' '\n' | sort -u))
check "bash offers every option of run --help (not: $missing)" test -z "$missing"
if command -v zsh >/dev/null; then
  "$dyield" completion zsh >"$tmp/_dyield"
  check 'zsh reads its completion' zsh -n "$tmp/_dyield"
else
  echo 'skipped: zsh is not installed'
fi
if command -v fish >/dev/null; then
  "$dyield" completion fish >"$tmp/dyield.fish"
  check 'fish completes the values of an option' test "$(HOME=$tmp fish -c "source '$tmp/dyield.fish'; complete -C'dyield run --pin ' | cut -f1" | xargs)" = 'each none'
else
  echo 'skipped: fish is not installed'
fi
"$dyield" man >"$tmp/dyield.1"
check 'mandoc has nothing to say of the man page' test -z "$(mandoc -Tlint -Wstyle "$tmp/dyield.1" 2>&1)"
# A letter struck twice is bold, on a terminal of paper.
mandoc -Tascii "$tmp/dyield.1" | sed 's/.\x08//g' >"$tmp/page"
completes '--interval' dyield watch --in
check 'the man page has the commands' test "$(grep -cE '^ +dyield (run|watch)$' "$tmp/page")" -ge 2
missing=$(for option in $help_options; do grep -qF -- "$option" "$tmp/page" || echo "$option"; done)
check "the man page has every option of run --help (not: $missing)" test -z "$missing"
exit "$failed"
