// SPDX-License-Identifier: GPL-2.0-only
#include "engine/guest_counts.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <span>

#include "kvm/workload.h"

namespace dyield {
namespace {

using testing::HasSubstr;

struct Memory {
  std::unique_ptr<dyield_shared> first = std::make_unique<dyield_shared>();
  std::unique_ptr<dyield_shared> second = std::make_unique<dyield_shared>();

  Run collect(const RunConfig& config) const {
    const std::array<const dyield_shared*, 2> guests = {first.get(), second.get()};
    Run run;
    collect_guests(run, std::span(guests).first(config.vms), 1000, config);
    return run;
  }
};

RunConfig config_of(dyield_workload workload, std::uint32_t vcpus = 2, std::uint32_t vms = 1) {
  RunConfig config;
  config.workload = workload;
  config.vcpus = vcpus;
  config.vms = vms;
  return config;
}

TEST(GuestCounts, AGuestIsNotAskedHowManyVcpusItHasOrWhatItRuns) {
  Memory guests;
  guests.first->nr_vcpus = ~0U;
  guests.first->workload = ~0U;
  guests.first->vcpu[1].work[DYIELD_PHASE_MEASURE] = 7;
  guests.first->vcpu[2].work[DYIELD_PHASE_MEASURE] = 5;  // no vCPU of the run
  const dyield::Run run = guests.collect(config_of(DYIELD_WORKLOAD_UNICAST));
  EXPECT_EQ(run.counts.at("work"), 7U);
  EXPECT_EQ(run.detail["vms"][0]["vcpus"].size(), 2U);
  EXPECT_EQ(run.detail["vms"][0]["workload"], "unicast");
}

TEST(GuestCounts, IpisThatNobodyAcknowledgedFailTheRun) {
  Memory guests;
  guests.first->vcpu[0].ipis_sent[DYIELD_PHASE_WARMUP] = 3;
  guests.first->vcpu[1].flushes[DYIELD_PHASE_MEASURE] = 2;
  const dyield::Run run = guests.collect(config_of(DYIELD_WORKLOAD_UNICAST));
  EXPECT_EQ(run.status, RunStatus::kFailed);
  EXPECT_EQ(run.reason, "3 IPIs were sent and 2 flushes acknowledged");
}

TEST(GuestCounts, DelaysAreTheMiddlesOfTheirBucketsInNanoseconds) {
  Memory guests;
  auto& handler = guests.first->vcpu[1].latency[DYIELD_LATENCY_HANDLER];
  handler[0] = 1;                                                  // 0 ticks
  handler[4] = 2;                                                  // 8 to 15 ticks
  guests.second->vcpu[0].latency[DYIELD_LATENCY_HANDLER][10] = 1;  // 512 to 1023
  const RunConfig config = config_of(DYIELD_WORKLOAD_UNICAST, 2, 2);
  const dyield::Run run = guests.collect(config);  // a tick is 1000 ns
  EXPECT_EQ(run.counts.at("handler_delays"), 4U);
  EXPECT_EQ(run.counts.at("handler_delay_ns"), (12 * 2 + 768) * 1000U);
  EXPECT_EQ(run.counts.at("release_delays"), 0U);
  EXPECT_TRUE(run.notes.empty());
  handler[5] = ~0U;
  EXPECT_EQ(guests.collect(config).notes.size(), 1U);
  // A locks' waits are for no IPI.
  EXPECT_FALSE(
      guests.collect(config_of(DYIELD_WORKLOAD_LOCK_TICKET)).counts.contains("handler_delays"));
}

TEST(GuestCounts, CallsOfALinuxGuestsModuleThatDidNotRunFailTheRun) {
  Memory guests;
  guests.first->vcpu[0].calls[DYIELD_PHASE_MEASURE] = 3;
  guests.first->vcpu[1].calls_run[DYIELD_PHASE_MEASURE] = 2;
  dyield::Run run = guests.collect(config_of(DYIELD_WORKLOAD_LINUX_SMP_CALL));
  EXPECT_EQ(run.status, RunStatus::kFailed);
  EXPECT_EQ(run.reason, "3 calls were made and 2 run");
  // By the kernel's account it is the IPIs that are counted: no more than some.
  run = guests.collect(config_of(DYIELD_WORKLOAD_LINUX_MEMBARRIER));
  EXPECT_EQ(run.status, RunStatus::kComplete);
}

// What a guest that has gone wrong, or was taken over, leaves in its memory.
TEST(GuestCounts, WhateverAGuestWritesGivesARunThatCanBeWrittenAndASentence) {
  std::mt19937_64 random(1);
  Memory guests;
  for (int round = 0; round < 4; round++) {
    for (dyield_shared* shared : {guests.first.get(), guests.second.get()}) {
      // Extreme values are as frequent as any others.
      const auto bytes = std::span(reinterpret_cast<std::uint64_t*>(shared),
                                   sizeof *shared / sizeof(std::uint64_t));
      std::ranges::generate(bytes, [&] { return round == 0 ? ~0ULL : random(); });
      shared->error.code = static_cast<dyield_u32>(random() % 16);
    }
    for (const WorkloadInfo& workload : workloads()) {
      const dyield::Run run = guests.collect(config_of(workload.id, DYIELD_MAX_VCPUS, 2));
      EXPECT_EQ(run.status == RunStatus::kFailed, !run.reason.empty());
      EXPECT_NO_THROW((void)to_line(run));
    }
    const std::string sentence = describe(guests.first->error);
    EXPECT_FALSE(sentence.empty());
    EXPECT_TRUE(std::ranges::all_of(sentence, [](char c) { return c >= ' ' && c <= '~'; }))
        << sentence;
  }
}

TEST(GuestCounts, WhatAGuestSaysHasNoEscapeSequencesAndItsOwnEnd) {
  dyield_error error{};
  error.code = DYIELD_ERROR_PROGRAM;
  std::ranges::fill(error.text, 'x');
  EXPECT_EQ(describe(error).size(), std::string("the guest's program ended: ").size() + 256);
  std::ranges::copy(std::string("\x1b]0;title\a\ndyield: all is well\x9b"), error.text);
  EXPECT_THAT(describe(error), HasSubstr(" ]0;title  dyield: all is well x"));
}

}  // namespace
}  // namespace dyield
