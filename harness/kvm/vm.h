// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/mapping.h"
#include "dyield_abi.h"
#include "kvm/payload.h"

namespace dyield {

// struct kvm_cpuid2 with room for the most entries KVM gives. Declared here
// because the one in older <linux/kvm.h> has another size in C++ than in C (an
// empty struct in front of its flexible array), and the ioctls' numbers with it.
struct Cpuid {
  std::uint32_t nent = 256;  // KVM_MAX_CPUID_ENTRIES, arch/x86/include/asm/kvm_host.h
  std::uint32_t padding = 0;
  kvm_cpuid_entry2 entries[256];
};

// ioctl() on a KVM descriptor. The first form returns the result or -errno, the
// second throws Error (kEnvironment) naming the ioctl, its result and errno.
int try_kvm_ioctl(const Fd& fd, unsigned long request, std::uint64_t argument);
int kvm_ioctl(const Fd& fd, unsigned long request, std::uint64_t argument, const char* name);

// /dev/kvm, opened and checked for what dyield needs.
class KvmSystem {
 public:
  // Throws Error: kEnvironment if /dev/kvm is missing or closed to this user,
  // kSkipped naming the capability if this KVM lacks one.
  KvmSystem();
  [[nodiscard]] const Fd& fd() const { return fd_; }
  // Bytes of a vCPU's shared kvm_run area.
  [[nodiscard]] std::size_t run_size() const { return run_size_; }
  // vCPUs that a VM may have (KVM_CAP_MAX_VCPUS).
  [[nodiscard]] std::uint32_t max_vcpus() const { return max_vcpus_; }
  // What KVM can offer a guest, all of it.
  [[nodiscard]] const Cpuid& cpuid() const { return cpuid_; }

 private:
  Fd fd_;
  std::size_t run_size_ = 0;
  std::uint32_t max_vcpus_ = 0;
  Cpuid cpuid_{};
};

// A vCPU in 64-bit mode at the payload's entry point. Owned by its Vm; run() is
// called by one thread, kick() by any.
class Vcpu {
 public:
  Vcpu(const KvmSystem& system, const Fd& vm, std::uint32_t index, std::uint64_t entry);

  // KVM_RUN: 0 or -errno; -EINTR after kick().
  int run() noexcept;
  // Makes the current and any later run() return -EINTR. The thread must also
  // be sent a signal (Runner does) to leave the guest.
  void kick() noexcept;
  [[nodiscard]] const kvm_run& exit() const noexcept;
  // A sentence on why the last run() returned, with registers, for a person.
  [[nodiscard]] std::string describe_exit(int run_result) const;
  // What one second of the guest's TSC counts, in thousands; 0 if KVM cannot say.
  [[nodiscard]] std::uint32_t tsc_khz() const;
  // The registers in parentheses, behind a space; empty while the vCPU runs.
  [[nodiscard]] std::string describe_registers() const;
  // KVM's own statistics by name (Documentation/virt/kvm/api.rst,
  // KVM_GET_STATS_FD); empty on a kernel without them.
  [[nodiscard]] std::map<std::string, std::uint64_t> stats() const;

 private:
  Fd fd_;
  Mapping run_;
  std::uint32_t index_;
};

// A VM with an in-kernel interrupt controller, guest memory from GPA 0, the
// payload loaded, and its shared structure filled in.
class Vm {
 public:
  struct Config {
    std::uint32_t vcpus = 1;
    std::uint64_t seed = 0;
    dyield_workload workload = DYIELD_WORKLOAD_UNICAST;
    dyield_fault fault = DYIELD_FAULT_NONE;
    std::uint32_t think = 0;  // see struct dyield_shared
    std::uint32_t unit = 0;
  };
  Vm(const KvmSystem& system, const Payload& payload, const Config& config);

  [[nodiscard]] dyield_shared& shared() const;
  // All of guest memory, from GPA 0.
  [[nodiscard]] std::span<const std::byte> memory() const {
    return {memory_.data(), memory_.size()};
  }
  [[nodiscard]] std::vector<Vcpu>& vcpus() { return vcpus_; }
  // An eventfd that the guest signals by writing to the I/O port. Owned by the
  // VM.
  [[nodiscard]] const Fd& doorbell(std::uint16_t port);
  // Sends one edge-triggered interrupt to one vCPU.
  void interrupt(std::uint32_t vcpu, std::uint8_t vector);

 private:
  void build_page_tables();

  Fd fd_;
  Mapping memory_;
  std::map<std::uint16_t, Fd> doorbells_;
  std::vector<Vcpu> vcpus_;
};

}  // namespace dyield
