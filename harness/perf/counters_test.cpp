// SPDX-License-Identifier: GPL-2.0-only
#include "perf/counters.h"

#include <gmock/gmock.h>
#include <linux/perf_event.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <thread>

namespace dyield {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kPlenty = 1000;

// Of the software events, which need no PMU.
constexpr std::array kSwitches = {PerfEvent{"context_switches", "switches", PERF_TYPE_SOFTWARE,
                                            PERF_COUNT_SW_CONTEXT_SWITCHES,
                                            PerfEvent::Where::kEverywhere}};

std::vector<PerfCount> count(std::span<const PerfEvent> events, std::vector<pid_t> threads,
                             std::uint64_t descriptors = kPlenty) {
  PerfCounters counters(events, std::move(threads), descriptors);
  counters.start();
  for (int i = 0; i < 20; i++) std::this_thread::sleep_for(std::chrono::microseconds(100));
  counters.stop();
  return counters.read();
}

TEST(PerfCounters, EveryEventHasEitherAValueOrAReason) {
  for (const auto events : {thread_events(), kvm_events()}) {
    const auto counts = count(events, {::gettid()});
    ASSERT_EQ(counts.size(), events.size());
    for (const PerfCount& c : counts) {
      EXPECT_NE(c.value.has_value(), !c.absent.empty()) << c.name << ": " << c.absent;
    }
  }
}

TEST(PerfCounters, AThreadThatSleepsIsSwitchedOutAsOften) {
  const PerfCount switches = count(kSwitches, {::gettid()}).front();
  if (!switches.value) GTEST_SKIP() << switches.absent;
  EXPECT_GE(*switches.value, 20U);
}

TEST(PerfCounters, NothingIsCountedBeforeTheStartAndAfterTheStop) {
  PerfCounters counters(kSwitches, {::gettid()}, kPlenty);
  const auto sleep = [] { std::this_thread::sleep_for(std::chrono::microseconds(100)); };
  sleep();
  if (!counters.read().front().value) GTEST_SKIP() << counters.read().front().absent;
  EXPECT_EQ(counters.read().front().value, 0U);
  counters.start();
  sleep();
  counters.stop();
  const auto once = counters.read().front().value;
  sleep();
  EXPECT_EQ(counters.read().front().value, once);
}

TEST(PerfCounters, AThreadThatIsGoneIsAReasonAndNotAZero) {
  for (const PerfCount& c : count(thread_events(), {::gettid(), INT32_MAX})) {
    EXPECT_FALSE(c.value.has_value()) << c.name;
    EXPECT_THAT(c.absent, HasSubstr("perf_event_open")) << c.name;
  }
}

TEST(PerfCounters, AnUnknownTracepointIsNamed) {
  const std::array events = {PerfEvent{"nonsense", "events", PERF_TYPE_TRACEPOINT, 0,
                                       PerfEvent::Where::kEverywhere, "kvm/no_such_thing"}};
  EXPECT_THAT(count(events, {::gettid()}).front().absent, HasSubstr("kvm/no_such_thing"));
}

TEST(PerfCounters, WithoutDescriptorsTheLimitIsTheReason) {
  for (const PerfCount& c : count(thread_events(), {::gettid()}, 0)) {
    EXPECT_THAT(c.absent, HasSubstr("ulimit -n")) << c.name;
  }
}

}  // namespace
}  // namespace dyield
