// SPDX-License-Identifier: GPL-2.0-only
#include "replay/replay.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <random>
#include <string_view>

namespace dyield {
namespace {

constexpr dyield_u16 kThere = DYIELD_STATE_PRESENT;
constexpr dyield_u16 kPreempted = kThere | DYIELD_STATE_READY | DYIELD_STATE_PREEMPTED;

// vCPU 0 spins in kernel mode, having sent vector 0x40; 1 and 2 are preempted in user mode.
dyield_decision situation() {
  dyield_decision d{};
  d.vcpus = 3;
  d.chosen = 0xffff;
  d.kernel_mode = 1;
  d.vector = 0x40;
  d.state[0] = kThere;
  d.state[1] = d.state[2] = kPreempted;
  return d;
}

class ReplayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (policies().empty()) GTEST_SKIP() << "built without a kernel's source";
  }
  static dyield_choice choose(std::string_view name, const dyield_decision& decision) {
    for (const dyield_policy* policy : policies()) {
      if (policy_name(*policy) != name) continue;
      dyield_choice choice{};
      policy->choose(&decision, &choice);
      return choice;
    }
    ADD_FAILURE() << name;
    return {};
  }
};

TEST_F(ReplayTest, MainlineTurnsDownAVcpuPreemptedInUserMode) {
  dyield_decision d = situation();
  d.state[2] |= DYIELD_STATE_VECTOR;
  EXPECT_EQ(choose("mainline", d).chosen, -1);
  d.state[1] |= DYIELD_STATE_IN_KERNEL;
  EXPECT_EQ(choose("mainline", d).chosen, 1);
}

TEST_F(ReplayTest, MainlineBeginsBehindTheLastBoosted) {
  dyield_decision d = situation();
  d.kernel_mode = 0;
  EXPECT_EQ(choose("mainline", d).chosen, 1);
  d.last_boosted = 1;
  EXPECT_EQ(choose("mainline", d).chosen, 2);
}

TEST_F(ReplayTest, MainlinePassesOverAVcpuThatSpinsUnlessEligible) {
  dyield_decision d = situation();
  d.kernel_mode = 0;
  d.state[1] |= DYIELD_STATE_SPINS;
  EXPECT_EQ(choose("mainline", d).chosen, 2);
  d.state[1] |= DYIELD_STATE_ELIGIBLE;
  EXPECT_EQ(choose("mainline", d).chosen, 1);
}

TEST_F(ReplayTest, SeriesTakesTheReceiverWhereverItStands) {
  dyield_decision d = situation();
  d.state[1] |= DYIELD_STATE_IN_KERNEL;
  d.state[2] |= DYIELD_STATE_VECTOR;
  const dyield_choice choice = choose("series", d);
  EXPECT_EQ(choice.chosen, 2);
  EXPECT_EQ(choice.reason, DYIELD_REASON_RECEIVER);
}

TEST_F(ReplayTest, SeriesKnowsReceiversOfHypercalls) {
  dyield_decision d = situation();
  d.vector = 0;
  d.pv_vector = 0x51;
  d.state[2] |= DYIELD_STATE_PV_VECTOR;
  EXPECT_EQ(choose("series", d).chosen, 2);
}

TEST_F(ReplayTest, SeriesGuessesIfTheReceiverRuns) {
  dyield_decision d = situation();
  d.state[1] |= DYIELD_STATE_IN_KERNEL;
  d.state[2] = kThere | DYIELD_STATE_IN_GUEST | DYIELD_STATE_VECTOR;
  const dyield_choice choice = choose("series", d);
  EXPECT_EQ(choice.chosen, 1);
  EXPECT_EQ(choice.reason, DYIELD_REASON_KERNEL);
}

TEST_F(ReplayTest, SeriesTakesAVectorThatTheApicNeverDeliversForNone) {
  dyield_decision d = situation();
  d.vector = 15;
  d.state[2] |= DYIELD_STATE_VECTOR;
  EXPECT_EQ(choose("series", d).chosen, -1);
  // Nor is the ICR's 0 a vector where there has been a hypercall.
  d.vector = 0;
  d.pv_vector = 0x51;
  EXPECT_EQ(choose("series", d).reason, DYIELD_REASON_RELAXED);
}

// With APICv's hint mainline lets it pass, too.
TEST_F(ReplayTest, SeriesPassesAVcpuWithAnInterruptInItsLocalApic) {
  dyield_decision d = situation();
  d.state[2] |= DYIELD_STATE_IRR;
  EXPECT_EQ(choose("mainline", d).chosen, -1);
  const dyield_choice choice = choose("series", d);
  EXPECT_EQ(choice.chosen, 2);
  EXPECT_EQ(choice.reason, DYIELD_REASON_PENDING);
  d.state[2] = static_cast<dyield_u16>(kPreempted | DYIELD_STATE_POSTED);
  EXPECT_EQ(choose("mainline", d).chosen, 2);
}

TEST_F(ReplayTest, SeriesTakesTheFirstThatItHasRefusedAsALastResortIfAnIpiWasSent) {
  dyield_decision d = situation();
  EXPECT_EQ(choose("mainline", d).chosen, -1);
  const dyield_choice choice = choose("series", d);
  EXPECT_EQ(choice.chosen, 1);
  EXPECT_EQ(choice.reason, DYIELD_REASON_RELAXED);
  d.state[2] |= DYIELD_STATE_IN_KERNEL;
  EXPECT_EQ(choose("series", d).chosen, 2);
  // One that spins and is not eligible is refused, too.
  d.state[1] = d.state[2] = kPreempted | DYIELD_STATE_IN_KERNEL | DYIELD_STATE_SPINS;
  EXPECT_EQ(choose("mainline", d).chosen, -1);
  EXPECT_EQ(choose("series", d).chosen, 1);
  EXPECT_EQ(choose("series", d).reason, DYIELD_REASON_RELAXED);
  d.vector = 0;
  EXPECT_EQ(choose("series", d).chosen, -1);
}

TEST_F(ReplayTest, WithoutAnInterruptPendingBothChooseTheSameButForTheLastResort) {
  std::mt19937 random(1);
  int last_resorts = 0;
  for (int i = 0; i < 2000; i++) {
    dyield_decision d{};
    d.vcpus = static_cast<dyield_u16>(1 + random() % 16);
    d.me = static_cast<dyield_u16>(random() % d.vcpus);
    d.last_boosted = static_cast<dyield_u16>(random() % d.vcpus);
    d.kernel_mode = random() % 2;
    constexpr unsigned kPending = DYIELD_STATE_VECTOR | DYIELD_STATE_PV_VECTOR | DYIELD_STATE_IRR;
    for (unsigned v = 0; v < d.vcpus; v++) {
      d.state[v] = static_cast<dyield_u16>(random() & 0xfff & ~kPending);
    }
    const int chosen = choose("mainline", d).chosen;
    EXPECT_EQ(choose("series", d).chosen, chosen);
    d.vector = 0x40;
    const dyield_choice choice = choose("series", d);
    if (chosen >= 0 || choice.reason != DYIELD_REASON_RELAXED) {
      EXPECT_EQ(choice.chosen, chosen);
    } else {
      const unsigned state = d.state[choice.chosen];
      const bool user = d.kernel_mode && (state & DYIELD_STATE_PREEMPTED) != 0 &&
                        (state & DYIELD_STATE_IN_KERNEL) == 0;
      const bool spins = (state & DYIELD_STATE_SPINS) != 0 && (state & DYIELD_STATE_ELIGIBLE) == 0;
      EXPECT_TRUE((state & DYIELD_STATE_READY) != 0 && (user || spins)) << state;
      last_resorts++;
    }
  }
  EXPECT_GT(last_resorts, 0);
}

TEST_F(ReplayTest, NobodyYieldsToItselfOrToWhoDoesNotWait) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; i++) {
    dyield_decision d{};
    d.vcpus = static_cast<dyield_u16>(1 + random() % DYIELD_RECORDING_VCPUS);
    d.me = static_cast<dyield_u16>(random() % d.vcpus);
    d.last_boosted = static_cast<dyield_u16>(random() % DYIELD_RECORDING_VCPUS);
    d.vector = static_cast<dyield_u8>(random());
    d.pv_vector = static_cast<dyield_u8>(random());
    for (auto& state : d.state) state = static_cast<dyield_u16>(random());
    for (const dyield_policy* policy : policies()) {
      const int chosen = choose(policy_name(*policy), d).chosen;
      if (chosen < 0) continue;
      ASSERT_LT(chosen, d.vcpus);
      EXPECT_NE(chosen, d.me);
      EXPECT_TRUE(d.state[chosen] & DYIELD_STATE_READY);
    }
  }
}

// The backport has none.
class PeersTest : public ReplayTest {
 protected:
  void SetUp() override {
    if (std::ranges::none_of(policies(), [](auto* p) { return policy_name(*p) == "oracle"; }))
      GTEST_SKIP() << "built without the peers' policies";
  }
};

TEST_F(PeersTest, VectorPendingPassesAReceiverAndPutsItNotFirst) {
  dyield_decision d = situation();
  d.state[2] |= DYIELD_STATE_VECTOR;
  EXPECT_EQ(choose("vector-pending", d).chosen, 2);
  d.state[1] |= DYIELD_STATE_IN_KERNEL;
  EXPECT_EQ(choose("vector-pending", d).chosen, 1);
}

TEST_F(PeersTest, AnyInterruptWillDoForPendingInOrderAndForIrrAnyFirst) {
  dyield_decision d = situation();
  d.state[2] |= DYIELD_STATE_IRR;
  EXPECT_EQ(choose("pending", d).chosen, 2);
  EXPECT_EQ(choose("vector-pending", d).chosen, -1);
  d.state[1] |= DYIELD_STATE_IN_KERNEL;
  EXPECT_EQ(choose("pending", d).chosen, 1);
  EXPECT_EQ(choose("irr-any", d).chosen, 2);
}

TEST_F(PeersTest, HoldStaysIfTheReceiverRuns) {
  dyield_decision d = situation();
  d.state[1] |= DYIELD_STATE_IN_KERNEL;
  d.state[2] = kThere | DYIELD_STATE_IN_GUEST | DYIELD_STATE_VECTOR;
  const dyield_choice choice = choose("hold", d);
  EXPECT_EQ(choice.chosen, -1);
  EXPECT_EQ(choice.reason, DYIELD_REASON_HOLD);
}

TEST_F(PeersTest, StrictHasNoLastResort) {
  EXPECT_EQ(choose("strict", situation()).chosen, -1);
}

TEST_F(PeersTest, TheOracleGoesByWhatTheGuestSaysAlone) {
  dyield_decision d = situation();
  d.known = 1;
  d.state[1] |= DYIELD_STATE_VECTOR | DYIELD_STATE_IN_KERNEL;
  d.state[2] |= DYIELD_STATE_AWAITED;
  EXPECT_EQ(choose("oracle", d).chosen, 2);
  d.state[2] &= ~DYIELD_STATE_AWAITED;
  EXPECT_EQ(choose("oracle", d).reason, DYIELD_REASON_KERNEL)
      << "it waits for nobody, so it guesses";
}

void add(ReadRecording& recording, const dyield_decision& decision) {
  recording.add({reinterpret_cast<const char*>(&decision), sizeof decision});
}

TEST(Outcome, JudgesByWhomTheGuestAwaits) {
  ReadRecording recording;
  dyield_decision d = situation();
  d.known = 1;
  d.state[2] |= DYIELD_STATE_AWAITED;
  d.chosen = 2;
  d.yielded = 1;
  std::array<dyield_decision, 4> decisions{d, d, d, d};
  decisions[1].chosen = 1;   // somebody else
  decisions[2].yielded = 0;  // in vain
  decisions[3].known = 0;    // not known
  for (const dyield_decision& one : decisions) add(recording, one);
  const Outcome outcome = recorded(recording);
  EXPECT_EQ(outcome.yields, 3U);
  EXPECT_EQ(outcome.same, 4U);
  EXPECT_EQ(outcome.precision(), 0.5);
  EXPECT_EQ(outcome.recall(), 1.0 / 3);
}

TEST(Outcome, IsAbsentWhereNothingIsKnown) {
  ReadRecording recording;
  add(recording, situation());
  EXPECT_EQ(recorded(recording).precision(), std::nullopt);
  EXPECT_EQ(recorded(recording).recall(), std::nullopt);
}

}  // namespace
}  // namespace dyield
