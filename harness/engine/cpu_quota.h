// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "result/result.h"

namespace dyield {

// A limit of CPU time for each VM of a run: a threaded cgroup (Documentation/admin-guide/
// cgroup-v2.rst) for its vCPU threads, below the process's own, with cpu.max. The groups are
// removed with the object; the threads and the VMs must be gone by then.
class CpuQuota {
 public:
  // `percent` of the time of `cpus` CPUs for each of `vms` VMs. Throws Error (kEnvironment)
  // if this process may not make such groups.
  CpuQuota(std::uint32_t percent, std::uint32_t vms, std::size_t cpus);
  ~CpuQuota();
  CpuQuota(const CpuQuota&) = delete;
  CpuQuota& operator=(const CpuQuota&) = delete;

  // Puts a thread of this process under the limit of the VM; throws Error (kEnvironment).
  void limit(pid_t thread, std::uint32_t vm) const;
  // What cpu.stat says of each VM: usage_usec, nr_throttled, throttled_usec and others; of
  // all threads since they were put there.
  [[nodiscard]] Json stat() const;
  // Is the limit still there? Whoever owns a group above can take the controller away.
  [[nodiscard]] bool holds() const;

 private:
  void remove_groups() const noexcept;

  std::filesystem::path parent_;
  std::vector<std::filesystem::path> groups_;
  bool enabled_ = false;  // the parent's controller, by us
};

}  // namespace dyield
