#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# scripts/matrix: its choice of cells, that it goes on where it stopped, and that a
# result is never mixed with one of another kernel or length. Needs the kernels and
# the harness built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/tests/check.sh
. "$here/check.sh"
build=$(cd "$here/../.." && realpath -m "${DYIELD_BUILD:-build}")
matrix=$here/../matrix
short=("$matrix" --cell unicast:4:2 --duration 0.02 --out "$tmp/results")

# Hostile guests, and Linux, only by name.
rows=$("$build/harness/bin/dyield" list | grep -vcE '^(hostile|gauge|linux)')
expect 'matrix: every row at each overcommit and placement' 0 "$((rows * 4)) cells, $((rows * 4 * 20)) runs" \
  "$matrix" --dry-run
expect 'matrix: a group is its rows' 0 spin-beside-compute-2x2on2-pin_each "$matrix" --dry-run --rows fair
expect 'matrix: an unknown row is wrong usage' 2 "'nonsense' is no workload" "$matrix" --dry-run --rows nonsense
flat=("$matrix" --dry-run --rows "broadcast-flat,unicast" --pin none)
expect 'matrix: what a way of sending does not reach is left out, and said' 0 \
  'broadcast-flat-16on2 is left out: its way of sending reaches 8 vCPUs, not 16' "${flat[@]}" --overcommit 4,8
same 'matrix: the rest stays' "$(grep '^[^:]*on2$' "$tmp/out" | xargs)" 'unicast-8on2 unicast-16on2 broadcast-flat-8on2'
expect 'matrix: neighbours that are too small are left out, and said' 0 \
  'spin-beside-compute-1x2on2 is left out: for 1:1' \
  "$matrix" --dry-run --rows fair,unicast --overcommit 1 --pin none
same 'matrix: a 1:1 is none of 2:1' "$(grep '^[^:]*on2$' "$tmp/out" | xargs)" 'unicast-2on2'
expect 'matrix: on more CPUs they are there' 0 'spin-beside-compute-2x2on4' \
  "$matrix" --dry-run --rows fair --overcommit 1 --cpus 4 --pin none
expect 'matrix: a bad overcommit is wrong usage' 2 'whole numbers' "$matrix" --dry-run --overcommit 0
cells() { "$matrix" --dry-run "$@" | sed '$d' | tr '\n' ' '; }
same 'matrix: VMs at once share the vCPUs, with PV features and without' \
  "$(cells --rows linux-pigz --vms 2 --overcommit 2,4 --pin none --hide-pv none --hide-pv tlb-flush,ipi)" \
  'linux-pigz-2x2on2 linux-pigz-2x2on2-without_ipi_tlb-flush linux-pigz-4x2on2 linux-pigz-4x2on2-without_ipi_tlb-flush '
same 'matrix: a cell has the VMs that are asked for, too' "$(cells --cell unicast:4:2 --vms 1,3)" 'unicast-4on2 unicast-4x3on2 '
expect 'matrix: VMs without two vCPUs are left out' 0 '1x2on2' "$matrix" --dry-run --rows unicast --vms 2 --overcommit 1,2
expect 'matrix: or are wrong usage' 2 'raise --overcommit' "$matrix" --dry-run --rows unicast --vms 2 --overcommit 1
expect 'matrix: a kernel that was not built is named' 3 kernels/none "${short[@]}" --candidate none

expect 'matrix: runs both sides' 0 '2 runs made, 0 kept, 0 failed' "${short[@]}" --seeds 1
cp "$tmp/results/patched/unicast-4on2-001.json" "$tmp/first"
rm "$tmp/results/patched/unicast-4on2-001.json"
expect 'matrix: goes on where it stopped' 0 '1 runs made, 1 kept, 0 failed' "${short[@]}" --seeds 1
verdict 'matrix: a run made again is the same run' "$(cmp -s "$tmp/first" "$tmp/results/patched/unicast-4on2-001.json"; echo $?)"
verdict 'matrix: the report is there, with its samples' \
  "$(grep -q unicast "$tmp/results/report.html" && (($(wc -l <"$tmp/results/reproduce.sh") == 4)); echo $?)"
expect 'matrix: other options keep the old results aside' 0 '2 runs made, 0 kept, 0 failed' \
  "${short[@]}" --seeds 1 --duration 0.03
verdict 'matrix: aside they are whole' "$(cmp -s "$tmp/first" "$tmp/results.previous/patched/unicast-4on2-001.json"; echo $?)"

exec 9>"$tmp/results.lock"
flock 9
expect 'matrix: two of one directory are one too many' 3 'another scripts/matrix fills' "${short[@]}" --seeds 1
exec 9>&-
mkdir "$tmp/failed"
cp -r "$tmp"/results/. "$tmp/failed"
sed -i '/"status"/s/complete/partial/; /"reason"/s/""/"cut"/' "$tmp/failed/patched/unicast-4on2-001.json"
expect 'matrix: a run that failed has not succeeded by that it is kept' 1 '0 runs made, 2 kept, 1 failed' \
  "$matrix" --cell unicast:4:2 --duration 0.03 --out "$tmp/failed" --seeds 1

# Interrupted at the first result of two seeds on two kernels.
cut=("$matrix" --cell unicast:4:2 --duration 0.02 --seeds 2 --jobs 1 --out "$tmp/cut")
"${cut[@]}" >"$tmp/out" 2>&1 </dev/null &
for ((i = 0; i < 2400; i++)); do
  ! compgen -G "$tmp/cut/*/unicast-4on2-*.json" >/dev/null || break
  sleep 0.05
done
kill -INT $!
status=0
wait $! || status=$?
same 'matrix: an interrupt ends it and says how to go on' \
  "$status $(grep -c 'interrupted; the same command goes on' "$tmp/out")" '130 1'
made=$(compgen -G "$tmp/cut/*/unicast-4on2-*.json" | wc -l)
verdict 'matrix: an interrupt leaves what was done, and no more' "$((made < 1 || made > 3))"
expect 'matrix: after an interrupt, it goes on' 0 "$((4 - made)) runs made, $made kept, 0 failed" "${cut[@]}"

sed -i 's/\(on amd .*\)"[0-9a-f]*"/\1"0"/' "$tmp/results/plan.json"
expect 'matrix: a lab of other parts keeps the old results aside' 0 '2 runs made, 0 kept, 0 failed' \
  "${short[@]}" --seeds 1 --duration 0.03

# What the plan names: the lab's machine changes with each of the guests' parts.
parts=$tmp/build
mkdir -p "$parts"/{kernels/guest,harness/lib}
ln -s "$build"/kernels/mainline "$parts/kernels/"
ln -s "$build"/qemu "$parts/"
ln -s "$build"/harness/bin "$parts/harness/"
ln -s "$build"/harness/lib/{lab-turns.so,payload.elf} "$parts/harness/lib/"
machine() { DYIELD_BUILD=$parts "$here/../lab" --machine "$1" --dry-run mainline -- true | grep -o 'incoming [^ ]*'; }
if [[ -x $build/qemu/qemu-system-x86_64 ]]; then
  seen=$(machine amd-ple)
  for part in kernels/guest/bzImage kernels/guest/guest-modules harness/lib/linux-{initramfs,programs}; do
    echo "$part" >"$parts/$part"
    now=$(machine amd-ple)
    verdict "matrix: the lab's machine changes with $part" "$([[ -n $now && $seen != *"$now"* ]]; echo $?)"
    seen+=$now
  done
else
  echo "skip matrix: the lab's machine changes with the guests' parts: the machine amd-ple is not set up; run make setup-amd-ple"
fi

# With recorded runs, for only what is missing is run. Six are the fewest with an interval.
mkdir "$tmp/until"
python3 - "$here/../../harness/compare/testdata" "$tmp/until" "$tmp/results/plan.json" <<'EOF'
import json, pathlib, sys
data, out, plan = map(pathlib.Path, sys.argv[1:])
(out / "plan.json").write_text(json.dumps({"schema": json.loads(plan.read_text())["schema"]}))
for kernel in "mainline", "patched":
    (out / kernel).mkdir()
    result = json.loads((data / f"{kernel}.json").read_text())
    for run in result["runs"][:7]:
        (out / kernel / f"unicast-4on2-{run['seed']:03}.json").write_text(json.dumps({**result, "runs": [run]}))
EOF
until=("$matrix" --cell unicast:4:2 --duration 0.2 --seeds 6 --out "$tmp/until")
expect 'matrix: --until-ci ends by the width' 0 '1 of 1 cells are as narrow as asked for (99.0%)' \
  "${until[@]}" --until-ci 99%
expect 'matrix: --until-ci ends by the cap' 0 \
  '0 of 1 cells are as narrow as asked for (0.1%); the cap of 7 seeds is reached, wider still: unicast-4on2' \
  "${until[@]}" --until-ci 0.1% --max-seeds 7
verdict 'matrix: it has come to the seed of the cap' "$(grep -q '0 runs made, 14 kept, 0 failed' "$tmp/out"; echo $?)"

finish
