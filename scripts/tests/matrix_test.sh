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
matrix=$here/../matrix
short=("$matrix" --cell unicast:4:2 --duration 0.02 --out "$tmp/results")

# Hostile guests, and Linux, only by name.
rows=$("$here/../../build/harness/bin/dyield" list | grep -vcE '^(hostile|linux)')
expect 'matrix: every row at each overcommit and placement' 0 "$((rows * 4)) cells, $((rows * 4 * 20)) runs" \
  "$matrix" --dry-run
expect 'matrix: a group is its rows' 0 spin-beside-compute-2x2on2-pin_each "$matrix" --dry-run --rows fair
expect 'matrix: an unknown row is wrong usage' 2 "'nonsense' is no workload" "$matrix" --dry-run --rows nonsense
expect 'matrix: a bad overcommit is wrong usage' 2 'whole numbers' "$matrix" --dry-run --overcommit 0
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

finish
