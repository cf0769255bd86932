// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "bpf/probes.h"

struct probes_bpf;

namespace dyield {

// The BPF programs of probes.bpf.c, loaded and attached. They count only in
// registered threads, so whatever else runs on the host is left alone.
class Probes {
 public:
  struct Config {
    std::uint32_t vms = 1;
    std::uint32_t vcpus = 1;  // of each VM
    bool audit = false;       // the second sources, too
  };
  // Throws Error (kEnvironment) with what the kernel or libbpf said last.
  explicit Probes(const Config& config);
  ~Probes();
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  // Puts the VM's shared structure into memory that the BPF programs read with plain loads: the
  // pages at `shared` are replaced by those of a map, with the same contents, for as long as the
  // caller keeps them mapped. To be called before the VM's vCPUs enter the guest.
  void adopt(std::uint32_t vm, dyield_shared& shared);

  // To be called before the thread enters the guest.
  void add_thread(pid_t tid, const dyield_thread& thread);

  // Live views of the maps; owned by this object. Of each thread, by slot.
  [[nodiscard]] std::vector<std::reference_wrapper<const dyield_counts>> counts() const;
  // Yields made while measuring, [slot * vcpus + index of the target].
  [[nodiscard]] std::span<const std::uint64_t> targets() const;
  // By VM.
  [[nodiscard]] std::vector<std::reference_wrapper<const dyield_vm>> vms() const;
  // Whether the kernel says why it tried a vCPU (the series' tracepoint, found by BTF).
  [[nodiscard]] bool has_reasons() const { return has_reasons_; }
  // Events that a program missed, because one of its own was under way on that CPU, and
  // those whose data could not be read.
  [[nodiscard]] std::uint64_t lost() const;

 private:
  struct Deleter {
    void operator()(probes_bpf* skeleton) const;
  };
  std::unique_ptr<probes_bpf, Deleter> skeleton_;
  Config config_;
  bool has_reasons_ = false;
  std::uint32_t places_ = 0;             // in the map of counts
  std::vector<std::uint32_t> place_of_;  // by slot
  Mapping counts_, targets_, guests_;
};

// What BTF, which anyone may read, says about the running kernel and its KVM.
struct KvmTypes {
  bool kernel = false;               // there is BTF of the kernel
  bool module = false;               // and of KVM as a module
  std::vector<std::string> missing;  // functions and tracepoints that the probes attach to
  bool has_reasons = false;          // see Probes::has_reasons()
};
KvmTypes kvm_types_in_btf();

}  // namespace dyield
