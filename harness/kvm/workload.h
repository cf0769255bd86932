// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "dyield_abi.h"

namespace dyield {

class KvmSystem;

// A row of DYIELD_WAYS: how a guest sends its IPIs.
struct WayInfo {
  std::uint32_t max_vcpus;
  std::string_view text;
};
const WayInfo& way_info(dyield_way way);

// A row of DYIELD_WORKLOADS, with names as on the command line.
struct WorkloadInfo {
  dyield_workload id;
  std::string name, group;
  dyield_way way;
  unsigned does;           // bits of enum dyield_does
  dyield_workload beside;  // what VMs 1, 3, ... run
  std::string_view text;

  // What a VM of the run does, by its index.
  [[nodiscard]] dyield_workload of_vm(std::size_t vm) const { return vm % 2 == 0 ? id : beside; }
  // Do VMs of a run differ?
  [[nodiscard]] bool has_neighbours() const { return beside != id; }
  // Does Linux run it, and not the payload?
  [[nodiscard]] bool linux_guest() const { return way == DYIELD_WAY_LINUX; }
  // Is it a module of the guest's Linux that does it?
  [[nodiscard]] bool has_module() const { return (does & DYIELD_DOES_MODULE) != 0; }
  // Does the guest say whom a vCPU awaits? Linux itself does not.
  [[nodiscard]] bool publishes() const { return !linux_guest() || has_module(); }
};
// All of them, by identifier.
std::span<const WorkloadInfo> workloads();
const WorkloadInfo& workload_info(dyield_workload workload);
// By name on the command line; throws Error (kUsage) if there is none.
const WorkloadInfo& find_workload(std::string_view name);

// A row of DYIELD_FAULTS: a deliberate bug.
struct FaultInfo {
  dyield_fault id;
  std::string name;
  unsigned needs;  // one of these bits of enum dyield_does, or none at all
  std::string_view text;
};
std::span<const FaultInfo> faults();
const FaultInfo& find_fault(std::string_view name);

// Throws Error (kUsage) if the workload cannot run on so many vCPUs and VMs, or
// has no place for the bug, which then could not be found.
void check_workload(const WorkloadInfo& workload, std::uint32_t vcpus, std::uint32_t vms,
                    const FaultInfo& fault);

// Throws Error (kSkipped) if this KVM does not offer what the way of sending needs.
void require_way(const KvmSystem& system, const WorkloadInfo& workload);

}  // namespace dyield
