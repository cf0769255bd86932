// SPDX-License-Identifier: GPL-2.0-only
#include "watch/view.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <sstream>

namespace dyield {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// As wide as it gets: every count at its largest.
WatchInterval extreme(std::uint32_t vcpus) {
  WatchInterval interval;
  interval.at = 1e7;
  interval.seconds = 1;
  interval.emulated = true;
  interval.has_reasons = true;
  interval.lost = 4'000'000'000;
  interval.rests = 9'999;
  WatchedVm vm;
  vm.pid = 4194304;
  vm.command = "a-name-of-fifteen";
  vm.index = 4000;
  dyield_watch_counts n{};
  n.pause_exits = 4'000'000'000;
  n.yields_made = 4'000'000'000;
  n.verdicts[DYIELD_HIT] = 4'000'000'000;
  for (auto& tier : n.tier) tier = {4'000'000'000, 4'000'000'000};
  n.run_queue.bucket[29] = 1;
  n.receiver.bucket[19] = 1;
  vm.total = n;
  for (std::uint32_t i = 0; i < vcpus; i++) vm.vcpus.push_back({i, 1, n});
  interval.vms.push_back(vm);
  return interval;
}

TEST(View, FitsInto80Columns) {
  // Nothing is cut off.
  for (const std::string& line : lines_of(render(extreme(300), {.width = 1000}))) {
    EXPECT_LE(line.size(), 80U) << line;
  }
}

TEST(View, FitsIntoItsLinesAndSaysHowManyAreHidden) {
  const auto lines = lines_of(render(extreme(300), {.height = 24}));
  EXPECT_EQ(lines.size(), 24U);
  // 2 of the VM, 300 of its vCPUs; 2 lines above them, 1 below.
  EXPECT_THAT(lines.back(), HasSubstr("... 281 lines more"));
}

TEST(View, ColumnsOfARowStandUnderTheirNames) {
  const auto lines = lines_of(render(extreme(1), {}));
  EXPECT_EQ(lines[1].size(), lines[3].size());
  EXPECT_EQ(lines[3].size(), lines[4].size());
}

TEST(View, ControlCharactersOfAProcessNameDoNotReachTheTerminal) {
  WatchInterval interval = extreme(1);
  interval.vms[0].command = "a\x1b[2Jb\n";
  EXPECT_THAT(render(interval, {}), HasSubstr("a?[2Jb?"));
  EXPECT_THAT(render(interval, {}), Not(HasSubstr("\x1b")));
}

TEST(View, ColoursOnlyIfAsked) {
  EXPECT_THAT(render(extreme(1), {.color = true}), HasSubstr("\x1b["));
  EXPECT_THAT(render(extreme(1), {.color = false}), Not(HasSubstr("\x1b[")));
}

TEST(View, SaysForHowLongItRests) {
  WatchInterval interval = extreme(1);
  EXPECT_THAT(lines_of(render(interval, {}))[0], HasSubstr("; rests 9999"));
  interval.rests = 0;
  EXPECT_THAT(render(interval, {}), Not(HasSubstr("rests")));
}

TEST(View, SaysThatNoVmHasRun) {
  EXPECT_THAT(render({}, {}), HasSubstr("no vCPU has run"));
}

TEST(View, TierThatTheKernelLacksIsNotZero) {
  WatchInterval interval = extreme(1);
  interval.has_reasons = false;
  EXPECT_THAT(lines_of(render(interval, {}))[3], HasSubstr("n/a"));
}

}  // namespace
}  // namespace dyield
