// SPDX-License-Identifier: GPL-2.0-only
#include "linux/linux_vm.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/error.h"
#include "base/printable.h"
#include "linux/boot.h"
#include "linux/cpuid.h"

namespace dyield {
namespace {

constexpr std::uint32_t kSerialLine = 4;
constexpr std::uint16_t kClockIndex = 0x70, kClockData = 0x71;
constexpr std::size_t kLastLines = 12;

// Memory is write-back but where the guest says otherwise: what firmware leaves
// in IA32_MTRR_DEF_TYPE (Intel SDM volume 3, 12.11.2.1).
constexpr std::uint32_t kMtrrDefType = 0x2ff;
constexpr std::uint64_t kMtrrEnabledWriteBack = 0x806;

// 1 January 2020, midnight, in BCD; by register of an MC146818.
std::uint8_t clock_value(std::uint8_t index) {
  switch (index & 0x7f) {
    case 6:  // day of the week
      return 0x04;
    case 7:
    case 8:
      return 0x01;
    case 9:
      return 0x20;
    case 0xa:
      return 0x26;  // not being updated
    case 0xb:
      return 0x02;  // 24 hours
    case 0xd:
      return 0x80;  // valid
    default:
      return 0;
  }
}

// Nothing in it waits for a device, a calibration or a person. The early console is for what
// fails before the real one is there, in the decompressor say; "quiet", it has nothing else.
std::string command_line(const LinuxGuest& guest, std::uint32_t tsc_khz) {
  std::string text =
      "console=ttyS0 earlyprintk=ttyS0,115200 quiet panic=-1 reboot=t nokaslr norandmaps "
      "io_delay=none "
      "no_timer_check tsc=reliable 8250.nr_uarts=1";
  if (tsc_khz != 0) text += fmt::format(" tsc_early_khz={}", tsc_khz);
  if (guest.xapic) text += " nox2apic";
  if (!guest.append.empty()) text += " " + guest.append;
  return text;
}

}  // namespace

LinuxVm::LinuxVm(const KvmSystem& system, const LinuxGuest& guest, const Config& config)
    : Vm(system, guest.memory),
      shared_memory_(sizeof(dyield_shared), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, "a Linux guest's counts"),
      uart_([this](bool level) {
        kvm_irq_level line{};
        line.irq = kSerialLine;
        line.level = level ? 1 : 0;
        // Cannot fail behind KVM_CREATE_IRQCHIP.
        try_kvm_ioctl(fd(), KVM_IRQ_LINE, argument(&line));
      }) {
  kvm_pit_config pit{};
  pit.flags = KVM_PIT_SPEAKER_DUMMY;
  kvm_ioctl(fd(), KVM_CREATE_PIT2, argument(&pit), "KVM_CREATE_PIT2");
  add_memory(1, DYIELD_LINUX_SHARED_GPA, {shared_memory_.data(), shared_memory_.size()});
  fill_shared(reinterpret_cast<dyield_shared*>(shared_memory_.data()), config);

  const bool tsc_deadline =
      try_kvm_ioctl(system.fd(), KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  const auto cpuid_of = [&](std::uint32_t index) {
    return guest_cpuid(system.cpuid(), index, config.vcpus, tsc_deadline, guest.xapic,
                       guest.hidden_pv);
  };
  MpCpu cpu;
  if (const kvm_cpuid_entry2* leaf = find_leaf(system.cpuid(), 1)) cpu = {leaf->eax, leaf->edx};
  for (std::uint32_t i = 0; i < config.vcpus; i++) {
    add_vcpu(system, cpuid_of(i)).set_msr(kMtrrDefType, kMtrrEnabledWriteBack);
  }
  // It wakes the others, as on a real machine.
  vcpus().front().enter_at(load_linux(memory(), guest.image, guest.initramfs,
                                      command_line(guest, vcpus().front().tsc_khz()), config.vcpus,
                                      cpu));
}

LinuxVm::~LinuxVm() {
  auto log = spdlog::default_logger();
  if (!log->should_log(spdlog::level::debug)) log = spdlog::get(kGuestLogger);
  if (log) {
    const auto level = log->name() == kGuestLogger ? spdlog::level::info : spdlog::level::debug;
    log->log(level, "the Linux guest's console:\n{}", printable_lines(uart_.text()));
  }
}

bool LinuxVm::serve(Vcpu& vcpu) {
  const kvm_run& exit = vcpu.exit();
  if (exit.exit_reason == KVM_EXIT_IO) {
    auto data = vcpu.io_data();
    for (std::uint32_t i = 0; i < exit.io.count; i++) {
      access_port(exit.io.port, exit.io.direction == KVM_EXIT_IO_OUT,
                  data.subspan(std::size_t{i} * exit.io.size, exit.io.size));
    }
    return true;
  }
  if (exit.exit_reason == KVM_EXIT_MMIO) {
    // There is nothing there: as on a bus that nobody drives.
    if (exit.mmio.is_write == 0) std::ranges::fill(vcpu.mmio_data(), std::byte{0xff});
    return true;
  }
  return false;
}

void LinuxVm::access_port(std::uint16_t port, bool write, std::span<std::byte> data) {
  if (!write) std::ranges::fill(data, std::byte{0xff});
  if (port >= Uart::kFirstPort && port < Uart::kFirstPort + Uart::kPorts) {
    if (write) {
      uart_.write(port, std::to_integer<std::uint8_t>(data[0]));
    } else {
      data[0] = std::byte{uart_.read(port)};
    }
  } else if (port == kClockIndex && write) {
    const std::lock_guard lock(mutex_);
    clock_register_ = std::to_integer<std::uint8_t>(data[0]);
  } else if (port == kClockData && !write) {
    const std::lock_guard lock(mutex_);
    data[0] = std::byte{clock_value(clock_register_)};
  }
}

std::string LinuxVm::last_words() {
  const std::string lines = uart_.last_lines(kLastLines);
  return lines.empty() ? "; its console is empty" : "; its console's last lines: " + lines;
}

}  // namespace dyield
