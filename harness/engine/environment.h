// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>
#include <string>

#include "result/result.h"

namespace dyield {

// What a reader needs to judge and repeat a result: kernel and its configuration,
// CPU, microcode, topology, mitigations, parameters of every kvm module,
// scheduler, cgroup, memory, the PV features that guests see, and `lab` if the
// machine is emulated. What this machine does not tell is left out. Nothing here
// depends on the time of day or on what else runs.
Json collect_environment();

// What does: date, load, free memory.
Json collect_volatile_facts();

// Which boot it is, and the load, for a run's own detail.
Json collect_run_facts();

// Of the patches in the running kernel: a hash over the hashes of the patches
// that scripts/kernel built in, and what they were applied to. Both are empty
// on a kernel that it did not build.
struct Series {
  std::string hash;
  std::string base;
};
Series find_series(const Json& environment);

// Which of kvm_amd and kvm_intel drives the CPUs of the machine under `root`; empty if neither
// is there. A kernel that has both built in shows the parameters of the idle one as well.
std::string vendor_module(const std::filesystem::path& root = "/");

// Why that machine's KVM cannot take PAUSE exits, as a sentence; empty if it can.
std::string pause_exits_obstacle(const std::filesystem::path& root = "/");

// Throws Error (kSkipped) with it, of this machine.
void require_pause_exits();

}  // namespace dyield
