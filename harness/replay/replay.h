// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "replay/policy.h"
#include "replay/recording.h"

namespace dyield {

// The policies in this program: kernels' own code (policy.c). None, if it was built without a
// kernel's source.
std::span<const dyield_policy* const> policies();

// As in the lab's switch: with - for _.
std::string policy_name(const dyield_policy& policy);

// What came, or would have come, of the decisions of a recording.
struct Outcome {
  std::string name;
  std::uint64_t decisions = 0;
  std::uint64_t yields = 0;
  std::uint64_t same = 0;  // as recorded: the same vCPU, or nobody
  // Of the yields: with a vCPU that had yet to take the spinning one's IPI, as their target, or
  // elsewhere only (as in `dyield watch`).
  std::uint64_t hits = 0, misses = 0;
  // Where the guest has published whom it awaits: yields while the spinning vCPU awaited
  // somebody, and those to one of them; decisions with an awaited vCPU that waited for a CPU, and
  // those that yielded to an awaited one.
  std::uint64_t while_waiting = 0, to_awaited = 0, starved = 0, starved_to_awaited = 0;

  // As in `dyield run`; absent if nothing is known.
  [[nodiscard]] std::optional<double> precision() const;
  [[nodiscard]] std::optional<double> recall() const;
};

// What was recorded.
Outcome recorded(const ReadRecording& recording);
// What the policy would have chosen in each situation, each by itself: a choice has no effect on
// the situations behind it.
Outcome replay(const ReadRecording& recording, const dyield_policy& policy);

}  // namespace dyield
