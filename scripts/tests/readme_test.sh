#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Every command in README.md is run here: each line that begins with "$ " in it
# must have a row below, which runs it as it stands or says how it is made to fit
# (less time, a scratch tree, the lab as the host). A new line without a row fails.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh
# shellcheck source=scripts/tests/check.sh
. "$here/check.sh"

# A Linux tree as a user has it, with the files that the series touches.
scratch_tree() {
  mkdir -p "$tmp/linux"
  git -C "$build/linux/src" archive refs/dyield/base | tar -x -C "$tmp/linux"
  cp "$build"/linux/src/Kbuild "$tmp/linux/"
  git -C "$tmp/linux" init -q -b main
  git -C "$tmp/linux" config user.name Tester
  git -C "$tmp/linux" config user.email tester@localhost
  git -C "$tmp/linux" add -A -f
  git -C "$tmp/linux" commit -qm base
}

# A host's commands, on a host that the lab stands for.
in_lab() { scripts/lab --out "$tmp/out" patched -- sh -c "cd /out && $1"; }

run_command() {
  case $1 in
    'make demo') make demo SEEDS=1 DEMO_OPTIONS="--out $tmp/demo --duration 0.1 --cell unicast:4:2" ;;
    'make matrix') make matrix SEEDS=1 MATRIX_OPTIONS="--out $tmp/matrix --duration 0.02 --rows fair --overcommit 2" ;;
    'make setup-intel' | 'make demo-intel')
      # Not set up unless asked for; what is set up stays as it is.
      [ -x "$build/bochs/bochs" ] || { echo 'the intel machine is not set up; run make setup-intel'; return 4; }
      if [[ $1 == *setup* ]]; then make setup-intel; else scripts/demo-intel --seeds 1 --duration 0.05 --out "$tmp/intel"; fi ;;
    'make setup-amd-ple' | 'make demo-linux' | 'scripts/demo --machine amd-ple')
      [ -x "$build/qemu/qemu-system-x86_64" ] || { echo 'the machine amd-ple is not set up; run make setup-amd-ple'; return 4; }
      case $1 in
        *setup*) make setup-amd-ple ;;
        *linux)
          make demo-linux SEEDS=1 LINUX_ROWS=linux-munmap LINUX_PROGRAMS=linux-hackbench LINUX_OUT="$tmp/demo-linux" \
            DEMO_OPTIONS='--duration 0.05' 2>&1 | tee "$tmp/demo-linux.out" &&
            # Both halves: the system calls' and the programs'.
            grep -q '^linux-munmap, ' "$tmp/demo-linux.out" && grep -q '^linux-hackbench, ' "$tmp/demo-linux.out" ;;
        *) scripts/demo --machine amd-ple --seeds 1 --duration 0.05 --out "$tmp/ple" --cell unicast:4:2 ;;
      esac ;;
    'sudo build/harness/bin/dyield doctor') in_lab 'dyield doctor' ;;
    'sudo build/harness/bin/dyield watch') in_lab 'dyield watch --count 2' ;;
    'sudo build/harness/bin/dyield races '*) in_lab 'dyield races --rounds 5' ;;
    'sudo build/harness/bin/dyield record '*) in_lab 'dyield record --duration 0.1 -o yields.rec' ;;
    'build/harness/bin/dyield replay yields.rec') "$build/harness/bin/dyield" replay "$tmp/out/yields.rec" ;;
    'make ablation') make ablation SEEDS=1 ABLATION_OPTIONS="--only peers --cell unicast:4:2 --duration 0.05 --out $tmp/ablation" ;;
    'make test') echo 'is what runs this' ;;
    'make help') make help ;;
    'make series-check') echo 'is a test of its own' ;;
    # Builds of another kernel are for whoever asks for them: the form only.
    'make series-check SERIES=6.12') make -n series-check SERIES=6.12 ;;
    'make series-post')
      GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=Tester GIT_CONFIG_KEY_1=user.email \
        GIT_CONFIG_VALUE_1=tester@localhost make series-post ;;
    'make series-apply KERNEL_TREE=~/linux') scratch_tree && make series-apply KERNEL_TREE="$tmp/linux" ;;
    'scripts/kconfig/merge_config.sh -m .config ~/dyield/Kconfig.fragment')
      mkdir -p "$tmp/config" && : >"$tmp/config/.config" &&
        (cd "$build/linux/src" && scripts/kconfig/merge_config.sh -m -O "$tmp/config" "$tmp/config/.config" "$repo/Kconfig.fragment") ;;
    'sudo build/harness/bin/dyield run '*)
      in_lab "dyield $(sed 's/.*bin.dyield //; s/--seeds 30/--seeds 2 --duration 0.1/; s/--vcpus 32 --cpus 16/--vcpus 4 --cpus 2/' <<<"$1")" ;;
    'build/harness/bin/dyield compare mainline.json patched.json')
      (cd "$tmp/out" && "$build/harness/bin/dyield" compare mainline.json patched.json) ;;
    'scripts/lab '*) eval "$1" ;;
    'scripts/demo --seeds 30 --cell unicast:8:4')
      scripts/demo --seeds 1 --duration 0.05 --out "$tmp/demo2" --cell unicast:8:4 ;;
    *) echo 'has no row in readme_test.sh'; return 1 ;;
  esac
}

mapfile -t commands < <(sed -n 's/^\$ //p' README.md | sed 's/ *#.*//')
for command in "${commands[@]}"; do
  status=0 begin=$SECONDS
  run_command "$command" >"$tmp/log" 2>&1 </dev/null || status=$?
  if ((status == 4)); then
    echo "skip README: $command: $(tail -n 1 "$tmp/log")"
    continue
  fi
  verdict "README: $command" "$status"
  log "$command took $((SECONDS - begin)) s"
  ((status == 0)) || tail -n 20 "$tmp/log" >&2
done
finish
