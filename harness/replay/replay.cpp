// SPDX-License-Identifier: GPL-2.0-only
#include "replay/replay.h"

#include <algorithm>

// policies.inc is made by CMake: a row X(name) for each policy that was compiled.
#define X(name) extern "C" const dyield_policy dyield_policy_##name;
#include "policies.inc"
#undef X

namespace dyield {
namespace {

constexpr int kNobody = -1;

int chosen_in(const dyield_decision& decision) {
  return decision.yielded > 0 ? decision.chosen : kNobody;
}

void count(Outcome& outcome, const dyield_decision& decision, int chosen) {
  const auto any = [&](unsigned states) {
    for (unsigned i = 0; i < decision.vcpus; i++) {
      if (i != decision.me && (decision.state[i] & states) == states) return true;
    }
    return false;
  };
  const unsigned target = chosen == kNobody ? 0 : decision.state[chosen];
  constexpr unsigned kPending = DYIELD_STATE_VECTOR | DYIELD_STATE_PV_VECTOR;
  const bool awaited = (target & DYIELD_STATE_AWAITED) != 0;
  outcome.decisions++;
  outcome.same += chosen == chosen_in(decision);
  if (chosen != kNobody) {
    outcome.yields++;
    if ((target & kPending) != 0) {
      outcome.hits++;
    } else if (any(DYIELD_STATE_VECTOR) || any(DYIELD_STATE_PV_VECTOR)) {
      outcome.misses++;
    }
  }
  if (decision.known == 0) return;
  if (chosen != kNobody && any(DYIELD_STATE_AWAITED)) {
    outcome.while_waiting++;
    outcome.to_awaited += awaited;
  }
  if (any(DYIELD_STATE_AWAITED | DYIELD_STATE_READY)) {
    outcome.starved++;
    outcome.starved_to_awaited += awaited;
  }
}

std::optional<double> ratio(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return std::nullopt;
  return static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::span<const dyield_policy* const> policies() {
  static const std::vector<const dyield_policy*> kAll = {
#define X(name) &dyield_policy_##name,
#include "policies.inc"
#undef X
  };
  return kAll;
}

std::optional<double> Outcome::precision() const {
  return ratio(to_awaited, while_waiting);
}

std::optional<double> Outcome::recall() const {
  return ratio(starved_to_awaited, starved);
}

Outcome recorded(const ReadRecording& recording) {
  Outcome outcome{.name = "recorded"};
  for (std::size_t i = 0; i < recording.size(); i++) {
    const dyield_decision decision = recording[i];
    count(outcome, decision, chosen_in(decision));
  }
  return outcome;
}

std::string policy_name(const dyield_policy& policy) {
  std::string name = policy.name;
  std::ranges::replace(name, '_', '-');
  return name;
}

Outcome replay(const ReadRecording& recording, const dyield_policy& policy) {
  Outcome outcome{.name = policy_name(policy)};
  for (std::size_t i = 0; i < recording.size(); i++) {
    const dyield_decision decision = recording[i];
    dyield_choice choice{};
    policy.choose(&decision, &choice);
    count(outcome, decision, choice.chosen);
  }
  return outcome;
}

}  // namespace dyield
