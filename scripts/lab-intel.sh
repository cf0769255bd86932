# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The lab machine with Intel VMX, under Bochs. Sourced by scripts/lab.

# Instructions, and TSC ticks, that each CPU has in a second: two of them have as
# many as both together have in QEMU.
bochs_ips=250000000
# A reboot is a triple fault, which ends the emulator. MWAIT is not waited by: Bochs' MONITOR drops
# the other CPUs' translations of the line by its physical address, where they are by linear ones, so
# that a store by one of them may wake nobody (bx_pc_system_c::invlpg()). kvm-intel needs it to exist.
# shellcheck disable=SC2034
intel_words="tsc_early_khz=$((bochs_ips / 1000)) reboot=t idle=nomwait"
# Bochs has the CPUID of real hardware: this is how dyield knows it.
# shellcheck disable=SC2034
lab_json="{\"emulated\": true, \"machine\": \"bochs-vmx\", \"time\":
  \"virtual: $((bochs_ips / 1000000)) million instructions a second on each CPU\"}"

# Bochs has no way to hand the job to a booted machine, so it travels on the boot
# medium, as a second initramfs, and every command boots anew. Sets emulator_pid.
# shellcheck disable=SC2154 # scripts/lab sets them
run_intel() {
  local job=$tmp/job.d iso=$tmp/iso
  flock -u 8
  touch "$machine"
  # Names in bochsrc have no quotes, so they are relative.
  cat >"$tmp/bochsrc" <<EOF
megs: $memory
# Bochs passes the time of a halted CPU in steps of the quantum.
cpu: model=corei7_skylake_x, count=$cpus, ips=$bochs_ips, quantum=8, reset_on_triple_fault=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
boot: cdrom
ata0-master: type=cdrom, path=boot.iso, status=inserted
com1: enabled=1, mode=file, dev=console
com2: enabled=1, mode=file, dev=stdout
com3: enabled=1, mode=file, dev=stderr
com4: enabled=1, mode=file, dev=files
# A fixed date, which seeds RDRAND, too: 2020-01-01.
clock: sync=none, time0=1577836800
display_library: nogui
speaker: enabled=0
log: bochs.log
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
EOF
  command=("$emulator" -q -f bochsrc)
  ((!dry)) || { cat "$tmp/bochsrc"; printf '# %s\n' "$words" "${command[*]}"; exit 0; }

  mkdir "$job" "$iso"
  mv "$tmp/in" "$job/in"
  make_cpio "$job" "$iso/job"
  ln -s "$(realpath "$kernel_dir/bzImage")" "$iso/bzImage"
  ln -s "$machine/initramfs" "$iso/initramfs"
  printf 'linux (cd)/bzImage %s\ninitrd (cd)/initramfs (cd)/job\nboot\n' "$words" >"$tmp/grub.cfg"
  {
    grub-mkimage -O i386-pc-eltorito -p / -c "$tmp/grub.cfg" -o "$iso/boot.img" iso9660 biosdisk linux &&
      xorriso -as mkisofs -quiet -f -b boot.img -no-emul-boot -boot-load-size 4 -boot-info-table \
        -o "$tmp/boot.iso" "$iso"
  } >"$tmp/emulator.log" 2>&1 ||
    die 3 "The boot medium could not be made: $(tail -n 1 "$tmp/emulator.log"); run make setup-intel, or free some space in ${TMPDIR:-/tmp}."
  (cd "$tmp" && exec "${command[@]}" >emulator.log 2>&1 </dev/null 8>&-) &
  # shellcheck disable=SC2034
  emulator_pid=$!
}
