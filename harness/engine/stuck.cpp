// SPDX-License-Identifier: GPL-2.0-only
#include "engine/stuck.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/guest_memory.h"

namespace dyield {
namespace {

std::string members(const VcpuState& state) {
  std::string text;
  for (std::uint32_t i = 0; i < 64 * DYIELD_SET_WORDS; i++) {
    if ((state.waiting_for[i / 64] >> i % 64 & 1) == 0) continue;
    text += fmt::format("{}{}", text.empty() ? "" : " ", i);
  }
  return text;
}

}  // namespace

std::vector<VcpuState> read_states(std::uint32_t vm, const dyield_shared& shared,
                                   std::uint32_t vcpus, std::span<const std::uint64_t> before) {
  std::vector<VcpuState> states;
  for (std::uint32_t i = 0; i < vcpus; i++) {
    const dyield_vcpu& vcpu = shared.vcpu[i];
    VcpuState& state = states.emplace_back();
    state.vm = vm;
    state.vcpu = i;
    state.up = load(vcpu.up) != 0;
    state.done = load(vcpu.done) != 0;
    state.progress = load(vcpu.progress);
    state.progress_before = i < before.size() ? before[i] : 0;
    for (int w = 0; w < DYIELD_SET_WORDS; w++) state.waiting_for[w] = load(vcpu.waiting_for[w]);
  }
  return states;
}

std::string describe_stuck(std::vector<VcpuState> states, std::size_t most,
                           const std::function<std::string(const VcpuState&)>& registers) {
  const std::vector<VcpuState> all = states;
  const auto awaited = [&all](const VcpuState& state) {
    return std::ranges::any_of(all, [&](const VcpuState& other) {
      return other.vm == state.vm &&
             (other.waiting_for[state.vcpu / 64] >> state.vcpu % 64 & 1) != 0;
    });
  };
  const auto rank = [&](const VcpuState& state) {
    const int causes = awaited(state) ? 0 : 2;
    return causes + (members(state).empty() ? 0 : 1);
  };
  std::erase_if(states, [](const VcpuState& state) { return state.done; });
  std::ranges::stable_sort(states, {}, rank);

  std::string text;
  for (const VcpuState& state : std::span(states).first(std::min(most, states.size()))) {
    const std::string set = members(state);
    text += fmt::format("; VM {} vCPU {}: {}, progress {}{}{}{}{}", state.vm, state.vcpu,
                        state.up ? "running" : "not up", state.progress,
                        state.progress == state.progress_before ? " (none of late)" : "",
                        set.empty() ? "" : ", waits for vCPU " + set,
                        awaited(state) ? ", is waited for" : "", registers(state));
  }
  if (states.size() > most) text += fmt::format("; and {} more vCPUs", states.size() - most);
  return text;
}

}  // namespace dyield
