// SPDX-License-Identifier: GPL-2.0-only
#include "races/plan.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

namespace dyield {
namespace {

constexpr std::uint32_t kMost = 6;
constexpr std::uint64_t kRounds = 500;

std::vector<Act> all_acts() {
  std::vector<Act> all;
  for (const ActInfo& act : acts()) all.push_back(act.id);
  return all;
}

RoundPlan plan(std::uint64_t seed) {
  return plan_round(seed, kMost, all_acts(), storms());
}

std::vector<std::uint64_t> flat(const RoundPlan& plan) {
  std::vector<std::uint64_t> all = {plan.workload, plan.vcpus,
                                    static_cast<std::uint64_t>(plan.closed_for.count())};
  for (const RaceStep& step : plan.steps) {
    all.insert(all.end(), {static_cast<std::uint64_t>(step.after.count()),
                           static_cast<std::uint64_t>(step.act), step.vcpu, step.value});
  }
  return all;
}

TEST(Plan, IsTheSameForTheSameSeedAndAnotherForAnother) {
  std::set<std::vector<std::uint64_t>> seen;
  for (std::uint64_t seed = 0; seed < kRounds; seed++) {
    EXPECT_EQ(flat(plan(seed)), flat(plan(seed)));
    seen.insert(flat(plan(seed)));
  }
  EXPECT_EQ(seen.size(), kRounds);
}

TEST(Plan, StaysWithinWhatWasAskedFor) {
  for (std::uint64_t seed = 0; seed < kRounds; seed++) {
    const RoundPlan round = plan(seed);
    EXPECT_GE(round.vcpus, 2U);
    EXPECT_LE(round.vcpus, kMost);
    for (std::size_t i = 0; i < round.steps.size(); i++) {
      EXPECT_LT(round.steps[i].vcpu, round.vcpus);
      // Nothing can be done to a VM that is closed.
      EXPECT_TRUE(round.steps[i].act != Act::kClose || i + 1 == round.steps.size()) << seed;
    }
  }
  EXPECT_EQ(plan_round(1, 2, all_acts(), storms()).vcpus, 2U);
}

TEST(Plan, HasEveryActAndEveryStormInSomeRound) {
  std::map<Act, std::uint64_t> seen;
  std::set<dyield_workload> workloads;
  for (std::uint64_t seed = 0; seed < kRounds; seed++) {
    const RoundPlan round = plan(seed);
    workloads.insert(round.workload);
    for (const RaceStep& step : round.steps) seen[step.act]++;
  }
  for (const ActInfo& act : acts()) EXPECT_GT(seen[act.id], kRounds / 20) << act.name;
  EXPECT_EQ(workloads.size(), storms().size());
}

TEST(Plan, IsOfTheAllowedActsAlone) {
  const std::vector<Act> only = {Act::kPause, Act::kMsi}, close = {Act::kClose};
  for (std::uint64_t seed = 0; seed < kRounds; seed++) {
    const RoundPlan round = plan_round(seed, kMost, only, storms());
    EXPECT_FALSE(round.steps.empty());
    for (const RaceStep& step : round.steps)
      EXPECT_TRUE(step.act == Act::kPause || step.act == Act::kMsi);
    EXPECT_EQ(plan_round(seed, kMost, close, storms()).steps.size(), 1U);
  }
}

}  // namespace
}  // namespace dyield
