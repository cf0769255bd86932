// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dyield_abi.h"
#include "kvm/payload.h"
#include "kvm/vm.h"
#include "linux/linux_vm.h"
#include "result/result.h"

namespace dyield {

// How vCPU threads are placed on the CPUs of a run.
enum class Pin {
  kNone,  // anywhere on the CPUs; the scheduler moves them
  kEach,  // vCPU i on CPU i modulo their number, counted over all VMs
};

// One run: VMs, what they do, for how long.
struct RunConfig {
  dyield_workload workload = DYIELD_WORKLOAD_UNICAST;
  std::uint32_t vcpus = 4;  // a VM
  std::uint32_t vms = 1;
  std::vector<int> cpus;  // the CPUs that the vCPU threads may use
  Pin pin = Pin::kNone;
  std::uint32_t quota = 0;  // percent of the CPUs' time that each VM may have; 0: no limit
  std::uint64_t seed = 1;
  std::chrono::nanoseconds warmup{};
  std::chrono::nanoseconds duration{};
  std::chrono::nanoseconds limit{};  // for everything else: boot, drain
  std::uint32_t think = 0;           // see struct dyield_shared
  std::uint32_t unit = 0;
  dyield_fault fault = DYIELD_FAULT_NONE;
  bool probes = true;
  bool audit = false;
  std::function<void()> when_set_up;  // called before the first guest runs; may be empty
};

// What the VMs run; one is enough, the workload says which.
struct Guests {
  std::optional<Payload> payload;
  std::optional<LinuxGuest> linux_guest;
};

// Runs it on fresh VMs; on return no VM, thread or mapping of it is left. What
// happens to the guest is in the Run (its status and reason); Error is thrown
// for what keeps the run from starting.
Run run_once(const KvmSystem& system, const Guests& guests, const RunConfig& config);

// What to say of a measurement that took longer than asked for; empty if it is near enough. The
// metrics count what happened in it, and are compared as they are.
std::string duration_note(std::chrono::nanoseconds asked, std::chrono::nanoseconds measured);

}  // namespace dyield
