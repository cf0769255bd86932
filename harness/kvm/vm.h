// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <linux/kvm.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
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

// An ioctl() that KVM refused, with its errno.
class KvmError : public Error {
 public:
  KvmError(int error, const std::string& sentence)
      : Error(ExitCode::kEnvironment, sentence), error_(error) {}
  [[nodiscard]] int error() const noexcept { return error_; }

 private:
  int error_;
};

// ioctl() on a KVM descriptor. The first form returns the result or -errno, the
// second throws KvmError naming the ioctl, its result and errno.
int try_kvm_ioctl(const Fd& fd, unsigned long request, std::uint64_t argument);
int kvm_ioctl(const Fd& fd, unsigned long request, std::uint64_t argument, const char* name);
// A structure, as an ioctl takes it.
inline std::uint64_t argument(const void* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

// Blocking, closed on exec. Throws Error (kEnvironment).
Fd make_eventfd();

// Sent to a vCPU's thread, makes KVM_RUN return; its handler, for the whole process, does nothing.
inline constexpr int kKickSignal = SIGUSR1;
void handle_kicks();

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

// Where and how a vCPU that is running from the start begins, in 64-bit mode at
// CPL 0 with interrupts off and flat segments.
struct VcpuEntry {
  std::uint64_t rip = 0, rsp = 0, rdi = 0, rsi = 0;
  std::uint64_t cr3 = 0;  // of page tables that map all it needs
  std::uint16_t code_selector = 0, data_selector = 0;
  std::uint64_t gdt = 0;  // GPA
  std::uint16_t gdt_limit = 0;
};

// Owned by its Vm; run() is called by one thread, kick() by any.
class Vcpu {
 public:
  // In the state after a reset: vCPU 0 as the boot processor, the others waiting
  // for INIT and SIPI.
  Vcpu(const KvmSystem& system, const Fd& vm, std::uint32_t index, const Cpuid& cpuid);
  // Begins there instead.
  void enter_at(const VcpuEntry& entry);

  // KVM_RUN: 0 or -errno; -EINTR after kick().
  int run() noexcept;
  // Makes the current and any later run() return -EINTR. The thread must also
  // be sent a signal (Runner does) to leave the guest.
  void kick() noexcept;
  // Takes that back.
  void let_go() noexcept;
  // For ioctls that have no function here. They wait until no thread is in run().
  [[nodiscard]] const Fd& fd() const { return fd_; }
  // Closes the vCPU, also under a thread in run(), whose next run() fails with ENOTTY: the
  // descriptor's number is `placeholder`'s file from now on. Only run() may follow.
  // Throws Error (kEnvironment) if there is no such file.
  void abandon(const Fd& placeholder);
  [[nodiscard]] const kvm_run& exit() const noexcept;
  // After KVM_EXIT_IO: what the guest writes, or where what it reads goes; all
  // repetitions of a string instruction in turn.
  [[nodiscard]] std::span<std::byte> io_data() noexcept;
  // After KVM_EXIT_MMIO: the same.
  [[nodiscard]] std::span<std::byte> mmio_data() noexcept;
  // A sentence on why the last run() returned, with registers, for a person.
  [[nodiscard]] std::string describe_exit(int run_result) const;
  // What one second of the guest's TSC counts, in thousands; 0 if KVM cannot say.
  [[nodiscard]] std::uint32_t tsc_khz() const;
  // Throws Error (kEnvironment) if KVM does not take the value.
  void set_msr(std::uint32_t index, std::uint64_t value);
  // The ioctl's result or -errno; 0 is a value that KVM does not take.
  int try_set_msr(std::uint32_t index, std::uint64_t value);
  // 0 or -errno.
  int try_set_cpuid(const Cpuid& cpuid);
  // The registers in parentheses, behind a space; empty while the vCPU runs.
  [[nodiscard]] std::string describe_registers() const;
  // KVM's own statistics by name (Documentation/virt/kvm/api.rst,
  // KVM_GET_STATS_FD); absent if not all of them can be read, as on a kernel without them.
  [[nodiscard]] std::optional<std::map<std::string, std::uint64_t>> stats() const;

 private:
  Fd fd_;
  Mapping run_;
  std::uint32_t index_;
};

// A VM with an in-kernel interrupt controller, guest memory from GPA 0, and the
// structure that it shares with the harness. What runs in it is the derived
// class's matter.
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
  virtual ~Vm() = default;
  Vm(const Vm&) = delete;
  Vm& operator=(const Vm&) = delete;

  [[nodiscard]] dyield_shared& shared() const { return *shared_; }
  // All of guest memory, from GPA 0.
  [[nodiscard]] std::span<std::byte> memory() const { return {memory_.data(), memory_.size()}; }
  [[nodiscard]] std::vector<Vcpu>& vcpus() { return vcpus_; }
  // An eventfd that the guest signals by writing to the I/O port. Owned by the
  // VM.
  [[nodiscard]] const Fd& doorbell(std::uint16_t port);

  // Every vCPU is up: lets them go. The phase has been set before.
  virtual void fire_start_gun() {}
  // The vCPU has left the guest for user space: true if its devices served it
  // and it can go on. Called by the vCPU's thread.
  virtual bool serve(Vcpu& /*vcpu*/) { return false; }
  // What the guest said at last, as the end of a sentence on its failure. Safe
  // while its vCPUs run.
  [[nodiscard]] virtual std::string last_words() { return ""; }

 protected:
  Vm(const KvmSystem& system, std::size_t memory_size);
  // Guest memory from `gpa` on is the caller's mapping, which stays while vCPUs run.
  void add_memory(std::uint32_t slot, std::uint64_t gpa, std::span<std::byte> memory);
  // `shared` lies in guest memory.
  void fill_shared(dyield_shared* shared, const Config& config);
  // The next one, whose APIC ID is its index.
  Vcpu& add_vcpu(const KvmSystem& system, const Cpuid& cpuid);
  [[nodiscard]] const Fd& fd() const { return fd_; }

 private:
  Fd fd_;
  Mapping memory_;
  dyield_shared* shared_ = nullptr;
  std::map<std::uint16_t, Fd> doorbells_;
  std::vector<Vcpu> vcpus_;
};

// The payload in a VM, all of its vCPUs at its entry point.
class PayloadVm : public Vm {
 public:
  PayloadVm(const KvmSystem& system, const Payload& payload, const Config& config);
  // One interrupt to each vCPU: they halt until then.
  void fire_start_gun() override;

 private:
  void build_page_tables();
};

}  // namespace dyield
