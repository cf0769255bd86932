// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "dyield_abi.h"

namespace dyield {

// What is done to a VM while its vCPUs send each other IPIs: identifier, name, how often
// among others, what it is.
#define DYIELD_ACTS(X)                                                                       \
  X(kSetLapic, "set-lapic", 4, "KVM_SET_LAPIC with what KVM_GET_LAPIC gave")                 \
  X(kAlterLapic, "alter-lapic", 4, "the same, with another ICR and one vector more pending") \
  X(kApicId, "apic-id", 2, "the same, with another APIC ID")                                 \
  X(kApicMode, "apic-mode", 2, "KVM_SET_MSRS: the APIC off, in xAPIC or in x2APIC mode")     \
  X(kCpuid, "cpuid", 2, "KVM_SET_CPUID2, as it was, or without x2APIC")                      \
  X(kSlots, "slots", 4, "a memory slot made, moved, deleted; the dirty log on, off")         \
  X(kNoMemory, "no-memory", 1, "the guest's memory slot deleted and put back")               \
  X(kInit, "init", 2, "KVM_SET_MP_STATE: waiting for INIT or SIPI, halted, running")         \
  X(kSipi, "sipi", 2, "KVM_SET_VCPU_EVENTS and KVM_SET_MP_STATE: INIT, then SIPI")           \
  X(kMsi, "msi", 3, "KVM_SIGNAL_MSI: any destination, delivery mode and vector")             \
  X(kSignal, "signal", 4, "signals to a vCPU's thread")                                      \
  X(kPause, "pause", 4, "a vCPU kept out of the guest for a while")                          \
  X(kAdd, "add", 2, "KVM_CREATE_VCPU, and KVM_RUN in its thread")                            \
  X(kClose, "close", 0, "all descriptors closed while the threads are in KVM_RUN")

enum class Act : std::uint8_t {
#define X(id, name, weight, text) id,
  DYIELD_ACTS(X)
#undef X
};

struct ActInfo {
  Act id;
  std::string_view name;
  std::uint32_t weight;
  std::string_view text;
};
std::span<const ActInfo> acts();

// `after` the step before, or the storm's begin, `act` is done to `vcpu` (not every act
// has one). What else is random about it comes from `value`.
struct RaceStep {
  std::chrono::microseconds after{};
  Act act{};
  std::uint32_t vcpu = 0;
  std::uint64_t value = 0;
};

// One VM from its creation to its end.
struct RoundPlan {
  std::uint64_t seed = 0;
  dyield_workload workload = DYIELD_WORKLOAD_ALL_TO_ALL;
  std::uint32_t vcpus = 0;
  std::vector<RaceStep> steps;
  // How long the vCPU threads go on in a VM whose descriptors the last step has closed.
  std::chrono::microseconds closed_for{};
};

// The workloads whose guests survive with no help of the harness, and send a lot.
std::span<const dyield_workload> storms();

// The same arguments give the same plan, on any machine. `most_vcpus` is at least 2; a
// VM has 2 to that many, some more in the course of it. `allowed` and `workloads` are
// not empty; the act close, if allowed, ends half of the rounds.
RoundPlan plan_round(std::uint64_t seed, std::uint32_t most_vcpus, std::span<const Act> allowed,
                     std::span<const dyield_workload> workloads);

}  // namespace dyield
