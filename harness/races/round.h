// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <cstdint>
#include <map>

#include "kvm/payload.h"
#include "kvm/vm.h"
#include "races/plan.h"

namespace dyield {

// What came of one act, over any number of rounds.
struct ActCount {
  std::uint64_t tried = 0;
  // The guest had got somewhere since the step before, i.e. the storm was on.
  std::uint64_t in_storm = 0;
  std::map<int, std::uint64_t> refused;  // system calls, by errno
};

struct RaceCounts {
  std::uint64_t rounds = 0, vcpus = 0;
  std::map<Act, ActCount> acts;
  std::map<int, std::uint64_t> run_errors;       // of KVM_RUN, by errno; EINTR is none
  std::map<std::uint32_t, std::uint64_t> exits;  // of KVM_RUN to user space, by reason
};

// Carries the plan out on a fresh VM and adds to `counts`. On return no thread,
// descriptor or mapping of it is left. Throws Error (kEnvironment) if KVM gives no VM. If
// the round has not ended within `limit`, the process exits with kTimeout and a sentence: a
// thread that hangs in the kernel cannot be joined.
void race(const KvmSystem& system, const Payload& payload, const RoundPlan& plan,
          std::chrono::nanoseconds limit, RaceCounts& counts);

}  // namespace dyield
