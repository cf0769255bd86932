// SPDX-License-Identifier: GPL-2.0-only
#include "races/plan.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

namespace dyield {
namespace {

constexpr std::array kActs = {
#define X(id, name, weight, text) ActInfo{Act::id, name, weight, text},
    DYIELD_ACTS(X)
#undef X
};

constexpr std::array kStorms = {
    DYIELD_WORKLOAD_UNICAST,      DYIELD_WORKLOAD_ALL_TO_ALL,      DYIELD_WORKLOAD_MULTICAST,
    DYIELD_WORKLOAD_BROADCAST_PV, DYIELD_WORKLOAD_HOSTILE_ICR,     DYIELD_WORKLOAD_HOSTILE_XAPIC,
    DYIELD_WORKLOAD_LOCK_AND_IPI, DYIELD_WORKLOAD_BROADCAST_XAPIC,
};

constexpr std::uint64_t kMostSteps = 12, kMostMicroseconds = 1500;

}  // namespace

std::span<const ActInfo> acts() {
  return kActs;
}

std::span<const dyield_workload> storms() {
  return kStorms;
}

RoundPlan plan_round(std::uint64_t seed, std::uint32_t most_vcpus, std::span<const Act> allowed,
                     std::span<const dyield_workload> workloads) {
  std::mt19937_64 random(seed);
  // Not the library's distributions: those may differ from one to the other.
  const auto below = [&random](std::uint64_t bound) { return random() % bound; };
  const auto moment = [&] { return std::chrono::microseconds(below(kMostMicroseconds)); };

  std::vector<Act> lots;
  bool close = false;
  for (const Act act : allowed) {
    lots.insert(lots.end(), kActs[static_cast<std::size_t>(act)].weight, act);
    close = close || act == Act::kClose;
  }
  RoundPlan plan;
  plan.seed = seed;
  plan.workload = workloads[below(workloads.size())];
  plan.vcpus = 2 + static_cast<std::uint32_t>(below(most_vcpus - 1));
  for (std::uint64_t left = lots.empty() ? 0 : 1 + below(kMostSteps); left > 0; left--) {
    const auto after = moment();
    const Act act = lots[below(lots.size())];
    const auto vcpu = static_cast<std::uint32_t>(below(plan.vcpus));
    plan.steps.push_back({after, act, vcpu, random()});
  }
  if (close && (lots.empty() || below(2) == 0)) {
    plan.steps.push_back({moment(), Act::kClose, 0, random()});
    plan.closed_for = moment();
  }
  return plan;
}

}  // namespace dyield
