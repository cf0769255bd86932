// SPDX-License-Identifier: GPL-2.0-only
#include "cli/sequence.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <random>
#include <set>

#include "base/error.h"

namespace dyield {
namespace {

using ::testing::AllOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::Optional;

std::vector<std::size_t> sides_of(const std::vector<RunStep>& steps) {
  std::vector<std::size_t> sides;
  for (const RunStep& step : steps) sides.push_back(step.side);
  return sides;
}

TEST(Sequence, EveryBlockHoldsEverySideOnceWithTheBlocksSeed) {
  for (const Order order : {Order::kAbba, Order::kRandom}) {
    for (std::size_t sides = 1; sides <= 4; sides++) {
      for (std::uint64_t block = 0; block < 200; block++) {
        const auto steps = block_steps(order, sides, 1000, block);
        std::set<std::size_t> seen;
        for (const RunStep& step : steps) {
          EXPECT_EQ(step.seed, 1000 + block);
          EXPECT_LT(step.side, sides);
          seen.insert(step.side);
        }
        EXPECT_EQ(seen.size(), sides);
        EXPECT_EQ(steps.size(), sides);
      }
    }
  }
}

// A drift that grows steadily adds the same to both sides of every two blocks.
TEST(Sequence, AbbaCancelsALinearDrift) {
  std::vector<double> drift(2);
  double time = 0;
  for (std::uint64_t block = 0; block < 20; block++) {
    for (const RunStep& step : block_steps(Order::kAbba, 2, 1, block)) drift[step.side] += time++;
    if (block % 2 == 1) {
      EXPECT_EQ(drift[0], drift[1]) << block;
    }
  }
}

TEST(Sequence, RandomBlocksStartWithEachSideAboutEquallyOften) {
  int first = 0;
  std::set<std::vector<std::size_t>> orders;
  for (std::uint64_t block = 0; block < 1000; block++) {
    const auto sides = sides_of(block_steps(Order::kRandom, 2, 7, block));
    first += sides[0] == 0 ? 1 : 0;
    orders.insert(sides_of(block_steps(Order::kRandom, 3, 7, block)));
  }
  // Six standard deviations of a fair coin.
  EXPECT_NEAR(first, 500, 95);
  EXPECT_EQ(orders.size(), 6U);
}

TEST(Sequence, ABlockDoesNotDependOnTheOnesBefore) {
  std::vector<std::vector<RunStep>> forward;
  for (std::uint64_t block = 0; block < 50; block++)
    forward.push_back(block_steps(Order::kRandom, 2, 3, block));
  for (std::uint64_t block = 50; block-- > 0;)
    EXPECT_EQ(block_steps(Order::kRandom, 2, 3, block), forward[block]);
}

TEST(Sequence, SeedsGoUpToTheLastOne) {
  const auto steps = block_steps(Order::kAbba, 2, ~std::uint64_t{0} - 1, 1);
  EXPECT_EQ(steps[0].seed, ~std::uint64_t{0});
}

std::string usage_error(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "no error";
}

TEST(Sequence, ParsesSidesAndTheControl) {
  using Sides = std::vector<SideSpec>;
  const std::vector<std::string> two = {"on=echo 1 >/x=y", "off="};
  EXPECT_EQ(parse_sides(two, false), (Sides{{"on", "echo 1 >/x=y"}, {"off", ""}}));
  EXPECT_EQ(parse_sides({}, false), Sides{});
  EXPECT_EQ(parse_sides({}, true), (Sides{{"a", ""}, {"a-again", ""}}));
  EXPECT_EQ(parse_sides({two.data(), 1}, true),
            (Sides{{"on", "echo 1 >/x=y"}, {"on-again", "echo 1 >/x=y"}}));
}

TEST(Sequence, RefusesSidesThatMakeNoSense) {
  const auto error = [](std::vector<std::string> sides, bool control) {
    return usage_error([&] { parse_sides(sides, control); });
  };
  EXPECT_THAT(error({"on=true"}, false), HasSubstr("--aa"));
  EXPECT_THAT(error({"on=true", "off=true"}, true), HasSubstr("--aa"));
  EXPECT_THAT(error({"a=", "b=", "c="}, false), HasSubstr("3 sides"));
  EXPECT_THAT(error({"on=true", "on=false"}, false), HasSubstr("two sides 'on'"));
  for (const char* bad : {"on", "=true", "a/b=true", "..=true", ".x=", "a b=true"})
    EXPECT_THAT(error({bad, "off="}, false), HasSubstr("NAME=COMMAND")) << bad;
}

TEST(Sequence, ParsesFractions) {
  EXPECT_DOUBLE_EQ(parse_fraction("--x", "2%"), 0.02);
  EXPECT_DOUBLE_EQ(parse_fraction("--x", "0.5"), 0.5);
  for (const char* bad : {"", "%", "0", "0%", "-1%", "1", "100%", "2%%", "2 %", "x", "nan", "inf"})
    EXPECT_THAT(usage_error([&] { parse_fraction("--x", bad); }), HasSubstr("--x")) << bad;
}

TEST(Sequence, TheIntervalOfALevelNeedsRuns) {
  std::vector<Pair> runs;
  for (double x = 8; runs.size() < kMinPairs; x++) {
    EXPECT_EQ(relative_half_width(runs, false), std::nullopt);
    runs.push_back({0, x});
  }
  // Nothing lies outside the runs' range, and their middle half is within it.
  EXPECT_THAT(relative_half_width(runs, false), Optional(AllOf(Gt(0.05), Lt(0.25))));
  EXPECT_EQ(relative_half_width(std::vector<Pair>(kMinPairs), false), std::nullopt);
}

TEST(Sequence, PairingTakesOutWhatBothSidesShare) {
  std::vector<Pair> runs;
  for (const double x : {100.0, 200.0, 300.0, 400.0, 500.0, 600.0}) runs.push_back({x, x * 1.1});
  EXPECT_LT(relative_half_width(runs, true).value(), 1e-9);
  EXPECT_GT(relative_half_width(runs, false).value(), 0.25);
}

TEST(Sequence, TheIntervalNarrowsWithTheSquareRootOfTheRuns) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal(100, 10);
  std::vector<Pair> runs;
  std::vector<double> widths;
  for (int i = 1; i <= 320; i++) {
    runs.push_back({0, normal(random)});
    if (i == 20 || i == 320) widths.push_back(relative_half_width(runs, false).value());
  }
  EXPECT_NEAR(widths[0] / widths[1], 4, 1);
}

}  // namespace
}  // namespace dyield
