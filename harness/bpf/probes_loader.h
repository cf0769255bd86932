// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>

#include "bpf/probes.h"

struct probes_bpf;

namespace dyield {

// The BPF programs of probes.bpf.c, loaded and attached. They count only in
// registered threads, so whatever else runs on the host is left alone.
class Probes {
 public:
  struct Config {
    std::uint32_t slots = 1;  // vCPU threads of all VMs together
    std::uint32_t vcpus = 1;  // of each VM
    bool audit = false;       // the tracepoints, too
  };
  // Throws Error (kEnvironment) with what the kernel or libbpf said last.
  explicit Probes(const Config& config);
  ~Probes();
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  // To be called before the thread enters the guest.
  void add_thread(pid_t tid, const dyield_thread& thread);

  // Live views of the maps, by slot; owned by this object.
  [[nodiscard]] std::span<const dyield_counts> counts() const;
  // Yields made while measuring, [slot * vcpus + index of the target].
  [[nodiscard]] std::span<const std::uint64_t> targets() const;

 private:
  struct Deleter {
    void operator()(probes_bpf* skeleton) const;
  };
  std::unique_ptr<probes_bpf, Deleter> skeleton_;
  Config config_;
  class View;
  std::unique_ptr<View> counts_, targets_;
};

}  // namespace dyield
