// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "kvm/vm.h"
#include "linux/bzimage.h"
#include "linux/uart.h"

namespace dyield {

// The logger that takes a guest's console where the default one does not (spdlog::get()).
inline constexpr const char* kGuestLogger = "guest";

// What the Linux VMs of a run are made of.
struct LinuxGuest {
  BzImage image;
  std::vector<std::byte> initramfs;
  std::size_t memory = 0;       // bytes
  bool xapic = false;           // the guest is not shown x2APIC
  std::uint32_t hidden_pv = 0;  // see pv_bits()
  std::string append;           // more words for the kernel's command line
};

// A VM that boots Linux without firmware: the devices are a serial port, a
// clock's registers and what KVM has in the kernel (local APICs, I/O APIC, PIC,
// PIT). Its initramfs (guest-workloads/linux) runs the workload.
class LinuxVm : public Vm {
 public:
  // Throws Error: kUsage if memory does not suffice, kSkipped if this KVM lacks
  // something. The guest is copied from.
  LinuxVm(const KvmSystem& system, const LinuxGuest& guest, const Config& config);
  ~LinuxVm() override;

  bool serve(Vcpu& vcpu) override;
  std::string last_words() override;

 private:
  void access_port(std::uint16_t port, bool write, std::span<std::byte> data);

  Mapping shared_memory_;
  Uart uart_;
  std::mutex mutex_;
  std::uint8_t clock_register_ = 0;  // of the CMOS clock, chosen by port 0x70
};

}  // namespace dyield
