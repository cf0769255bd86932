// SPDX-License-Identifier: GPL-2.0-only
#include "watch/interval.h"

#include <gmock/gmock.h>
#include <unistd.h>

namespace dyield {
namespace {

using ::testing::ElementsAre;

dyield_watched vcpu(pid_t pid, std::uint64_t kvm, std::uint32_t id, std::uint64_t exits) {
  dyield_watched w{};
  w.tgid = static_cast<std::uint32_t>(pid);
  w.kvm = kvm;
  w.kvm_vcpu = kvm + 0x1000 + id;
  w.vcpu_id = id;
  w.n.pause_exits = exits;
  return w;
}

TEST(Intervals, CountFromTheReadingBefore) {
  Intervals intervals(true);
  EXPECT_EQ(intervals.next({{10, vcpu(1, 7, 0, 5)}}).at(0).total.pause_exits, 5U);
  EXPECT_EQ(intervals.next({{10, vcpu(1, 7, 0, 12)}}).at(0).total.pause_exits, 7U);
  EXPECT_EQ(intervals.next({{10, vcpu(1, 7, 0, 12)}}).at(0).total.pause_exits, 0U);
}

TEST(Intervals, BeginAnewWithAnotherVcpuInTheSameThread) {
  Intervals intervals(true);
  (void)intervals.next({{10, vcpu(1, 7, 0, 50)}});
  EXPECT_EQ(intervals.next({{10, vcpu(1, 7, 3, 4)}}).at(0).total.pause_exits, 4U);
}

TEST(Intervals, BeginAnewIfTheVcpuIsBackInItsThread) {
  Intervals intervals(true);
  (void)intervals.next({{10, vcpu(1, 7, 0, 50)}});
  // Another vCPU has run there in between, and the counts began anew twice.
  dyield_watched back = vcpu(1, 7, 0, 4);
  back.begun = 2;
  EXPECT_EQ(intervals.next({{10, back}}).at(0).total.pause_exits, 4U);
}

TEST(Intervals, AddUpVcpusByVmAndOrderThemById) {
  Intervals intervals(true);
  const auto vms = intervals.next({{10, vcpu(1, 7, 2, 1)},
                                   {11, vcpu(1, 7, 0, 2)},
                                   {12, vcpu(1, 9, 0, 4)},
                                   {13, vcpu(2, 5, 0, 8)}});
  ASSERT_EQ(vms.size(), 3U);
  EXPECT_EQ(vms[0].total.pause_exits, 3U);
  EXPECT_THAT((std::vector{vms[0].vcpus[0].id, vms[0].vcpus[1].id}), ElementsAre(0U, 2U));
  EXPECT_THAT((std::vector{vms[0].index, vms[1].index, vms[2].index}), ElementsAre(0U, 1U, 0U));
}

TEST(Intervals, KeepTheNumberOfAVmWhileItLives) {
  Intervals intervals(true);
  (void)intervals.next({{10, vcpu(1, 7, 0, 1)}, {12, vcpu(1, 3, 0, 4)}});
  const auto vms = intervals.next({{12, vcpu(1, 3, 0, 4)}});
  ASSERT_EQ(vms.size(), 1U);
  EXPECT_EQ(vms[0].index, 1U);
}

TEST(Intervals, GiveNoTwoVmsOfAProcessOneNumber) {
  Intervals intervals(true);
  (void)intervals.next({{10, vcpu(1, 3, 0, 1)}, {11, vcpu(1, 7, 0, 4)}});
  (void)intervals.next({{11, vcpu(1, 7, 0, 4)}});  // the first has gone
  const auto vms = intervals.next({{11, vcpu(1, 7, 0, 4)}, {12, vcpu(1, 9, 0, 2)}});
  ASSERT_EQ(vms.size(), 2U);
  EXPECT_THAT((std::vector{vms[0].index, vms[1].index}), ElementsAre(0U, 1U));
}

TEST(Intervals, ConcludeWhoFoundNobodyWithoutTheTracepoint) {
  dyield_watched w = vcpu(1, 7, 0, 9);
  w.n.exits_tried = 2;
  EXPECT_EQ(Intervals(false).next({{10, w}}).at(0).total.tier[DYIELD_REASON_NONE].tried, 7U);
  EXPECT_EQ(Intervals(true).next({{10, w}}).at(0).total.tier[DYIELD_REASON_NONE].tried, 0U);
  w.n.exits_tried = 10;  // read half-way
  EXPECT_EQ(Intervals(false).next({{10, w}}).at(0).total.tier[DYIELD_REASON_NONE].tried, 0U);
}

TEST(Quantile, IsTheUpperEdgeOfABucket) {
  dyield_histogram h{};
  EXPECT_EQ(quantile(h, 0.99), 0U);
  h.bucket[10] = 99;
  h.bucket[20] = 1;
  EXPECT_EQ(quantile(h, 0.99), 2048U);
  EXPECT_EQ(quantile(h, 1.0), std::uint64_t{2} << 20);
}

WatchInterval busy(std::uint64_t pause_exits, std::uint64_t yields, std::uint64_t apics = 0) {
  WatchInterval interval;
  interval.seconds = 2;
  interval.vms.resize(2);
  for (WatchedVm& vm : interval.vms) {
    vm.total.pause_exits = pause_exits / 2;
    vm.total.yields_tried = yields / 2;
    vm.total.looked_at = apics / 2;
  }
  return interval;
}

TEST(Load, IsOfAllVmsASecondWithYieldsAndApicsWeighed) {
  EXPECT_EQ(load(busy(2000, 0)), 1000);
  EXPECT_EQ(load(busy(2000, 1000)), 2500);
  EXPECT_NEAR(load(busy(2000, 1000, 400)), 2640, 1e-9);
  EXPECT_EQ(load(WatchInterval{}), 0);
}

TEST(WatchJson, SaysHowLongNothingWasWatched) {
  WatchInterval interval;
  EXPECT_FALSE(to_json(interval).contains("rest_s"));
  interval.rest = 1.5;
  EXPECT_EQ(to_json(interval)["rest_s"], 1.5);
}

TEST(WatchJson, HasNoTierThatTheKernelLacks) {
  WatchInterval interval;
  interval.vms = Intervals(false).next({{10, vcpu(getpid(), 7, 0, 5)}});
  EXPECT_FALSE(to_json(interval)["vms"][0]["total"]["tiers"].contains("receiver"));
  interval.has_reasons = true;
  EXPECT_TRUE(to_json(interval)["vms"][0]["total"]["tiers"].contains("receiver"));
}

}  // namespace
}  // namespace dyield
