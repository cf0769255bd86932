// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dyield_abi.h"

namespace dyield {

// What a vCPU has told of itself, at two moments.
struct VcpuState {
  std::uint32_t vm = 0, vcpu = 0;
  bool up = false, done = false;
  std::uint64_t progress_before = 0, progress = 0;
  std::uint64_t waiting_for[DYIELD_SET_WORDS] = {};
};

// Of all vCPUs of a VM; `before` are their progress counters a while ago, or empty.
std::vector<VcpuState> read_states(std::uint32_t vm, const dyield_shared& shared,
                                   std::uint32_t vcpus, std::span<const std::uint64_t> before);

// Names the vCPUs that did not stop, as a part of a sentence: first those that
// somebody waits for and that wait for nobody, for they are the cause; at most
// `most`, with the number of the others. `registers` gives those of a vCPU.
std::string describe_stuck(std::vector<VcpuState> states, std::size_t most,
                           const std::function<std::string(const VcpuState&)>& registers);

}  // namespace dyield
