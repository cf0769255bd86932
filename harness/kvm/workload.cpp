// SPDX-License-Identifier: GPL-2.0-only
#include "kvm/workload.h"

#include <asm/kvm_para.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "kvm/vm.h"

namespace dyield {
namespace {

std::string command_line_name(std::string name) {
  std::ranges::replace(name, '_', '-');
  return name;
}

template <typename Rows>
const auto& find_row(const Rows& rows, std::string_view name, std::string_view what,
                     std::string_view where) {
  const auto found = std::ranges::find_if(rows, [&](const auto& row) { return row.name == name; });
  if (found == rows.end()) {
    throw Error(ExitCode::kUsage, fmt::format("There is no {} '{}'; {}", what, name, where));
  }
  return *found;
}

// The bugs that are in a Linux guest's programs, or in its module.
bool linux_has(dyield_fault fault, const WorkloadInfo& workload) {
  switch (fault) {
    case DYIELD_FAULT_NONE:
    case DYIELD_FAULT_EARLY_FREE:
    case DYIELD_FAULT_NO_LOCK:
    case DYIELD_FAULT_LOST_TURN:
      return true;
    case DYIELD_FAULT_LOST_CALL:
      return workload.has_module() || workload.id == DYIELD_WORKLOAD_LINUX_MEMBARRIER;
    case DYIELD_FAULT_DOUBLE_CALL:
      return workload.has_module();
    default:
      return false;
  }
}

}  // namespace

const WayInfo& way_info(dyield_way way) {
  static constexpr std::array kWays = {
#define X(id, name, xapic, max_vcpus, text) WayInfo{max_vcpus, text},
      DYIELD_WAYS(X)
#undef X
  };
  return kWays.at(way);
}

std::span<const WorkloadInfo> workloads() {
  static const std::array kWorkloads = {
#define X(id, name, group, program, way, does, beside, text) \
  WorkloadInfo{DYIELD_WORKLOAD_##id,                         \
               command_line_name(#name),                     \
               command_line_name(#group),                    \
               DYIELD_WAY_##way,                             \
               does,                                         \
               DYIELD_WORKLOAD_##beside,                     \
               text},
      DYIELD_WORKLOADS(X) DYIELD_LINUX_WORKLOADS(X)
#undef X
  };
  return kWorkloads;
}

const WorkloadInfo& workload_info(dyield_workload workload) {
  return workloads()[workload];
}

const WorkloadInfo& find_workload(std::string_view name) {
  return find_row(workloads(), name, "workload", "`dyield list` names them.");
}

std::span<const FaultInfo> faults() {
  static const std::array kFaults = {
#define X(id, name, needs, text) \
  FaultInfo{DYIELD_FAULT_##id, command_line_name(#name), needs, text},
      DYIELD_FAULTS(X)
#undef X
  };
  return kFaults;
}

const FaultInfo& find_fault(std::string_view name) {
  return find_row(faults(), name, "fault", "`dyield run --help` names them.");
}

void check_workload(const WorkloadInfo& workload, std::uint32_t vcpus, std::uint32_t vms,
                    const FaultInfo& fault) {
  const WayInfo& way = way_info(workload.way);
  if (vcpus > way.max_vcpus) {
    throw Error(ExitCode::kUsage,
                fmt::format("{} cannot have {} vCPUs: its way of sending ({}) addresses at most "
                            "{}; ask for fewer, or take another way (`dyield list`).",
                            workload.name, vcpus, way.text, way.max_vcpus));
  }
  if (workload.linux_guest() && !linux_has(fault.id, workload)) {
    throw Error(ExitCode::kUsage,
                fmt::format("--fault {} has no place in {}: nothing would come of it, for Linux "
                            "guests have early-free, no-lock and lost-turn only, linux-membarrier "
                            "and the linux-smp-call ones lost-call, and the latter double-call.",
                            fault.name, workload.name));
  }
  if (workload.has_neighbours() && vms < 2) {
    throw Error(
        ExitCode::kUsage,
        fmt::format("{} is about neighbours: it needs 2 VMs or more; add --vms 2.", workload.name));
  }
  if (fault.needs != 0 && (fault.needs & workload.does) == 0) {
    throw Error(ExitCode::kUsage,
                fmt::format("--fault {} has no place in {} ({}): nothing would come of it; take "
                            "another fault or workload.",
                            fault.name, workload.name, fault.text));
  }
}

void require_way(const KvmSystem& system, const WorkloadInfo& workload) {
  if (workload.way != DYIELD_WAY_PV) return;
  const Cpuid& cpuid = system.cpuid();
  const std::span entries(cpuid.entries, cpuid.nent);
  if (std::ranges::none_of(entries, [](const kvm_cpuid_entry2& entry) {
        return entry.function == KVM_CPUID_FEATURES &&
               (entry.eax & 1u << KVM_FEATURE_PV_SEND_IPI) != 0;
      })) {
    throw Error(ExitCode::kSkipped,
                fmt::format("This KVM does not offer KVM_FEATURE_PV_SEND_IPI, which {} needs; take "
                            "another way of sending (`dyield list`).",
                            workload.name));
  }
}

}  // namespace dyield
