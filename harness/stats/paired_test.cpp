// SPDX-License-Identifier: GPL-2.0-only
#include "stats/paired.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "stats/scipy_reference.h"

namespace dyield {
namespace {

using Pairs = std::vector<Pair>;

// W. S. Gosset's sleep data (Biometrika 6, 1908), hours gained with two drugs;
// R ships it as `sleep` and its paired t.test() is a well-known output: mean
// difference -1.58, 95 percent confidence interval -2.4598858 -0.7001142.
const Pairs kSleep = {{0.7, 1.9}, {-1.6, 0.8}, {-0.2, 1.1}, {-1.2, 0.1}, {-0.1, -0.1},
                      {3.4, 4.4}, {3.7, 5.5},  {0.8, 1.6},  {0.0, 4.6},  {2.0, 3.4}};

Pairs transformed(Pairs pairs, auto change) {
  for (Pair& pair : pairs) pair = change(pair);
  return pairs;
}

// Pairs with a common part, as runs of one seed have.
Pairs lognormal_pairs(std::mt19937_64& random, std::size_t n, double log_ratio) {
  std::normal_distribution<double> normal;
  Pairs pairs(n);
  for (Pair& pair : pairs) {
    const double common = normal(random);
    pair.a = std::exp(5 + 0.3 * common + 0.2 * normal(random));
    pair.b = std::exp(5 + 0.3 * common + 0.2 * normal(random) + log_ratio);
  }
  return pairs;
}

// The share of trials in which the interval of `effect(random)` holds `truth` must
// be the nominal one or more, within 4 standard errors of a binomial share.
void expect_coverage(double truth, auto effect) {
  constexpr int kTrials = 600;
  std::mt19937_64 random(1908);
  int hits = 0;
  for (int i = 0; i < kTrials; ++i) {
    const std::optional<Effect> e = effect(random);
    ASSERT_TRUE(e && e->interval);
    hits += e->interval->low <= truth && truth <= e->interval->high;
  }
  const double tolerance = 4 * std::sqrt(kConfidence * (1 - kConfidence) / kTrials);
  const double coverage = static_cast<double>(hits) / kTrials;
  ::testing::Test::RecordProperty("coverage", std::to_string(coverage));
  EXPECT_GT(coverage, kConfidence - tolerance);
  EXPECT_LT(coverage, 1.0);
}

Pairs zipped(const std::vector<double>& a, const std::vector<double>& b) {
  Pairs pairs;
  for (std::size_t i = 0; i < a.size(); ++i) pairs.push_back({a[i], b[i]});
  return pairs;
}

Pairs exponentials(const Pairs& pairs) {
  return transformed(pairs, [](Pair p) { return Pair{std::exp(p.a / 10), std::exp(p.b / 10)}; });
}

TEST(Paired, ShiftIntervalAndPValueAgreeWithScipy) {
  for (const ScipyReference& reference : kScipy) {
    const PairedStats stats = compare_difference(zipped(reference.a, reference.b));
    EXPECT_NEAR(stats.effect->value, reference.shift, 1e-12);
    // Both sides draw: the tolerance is a few standard errors of such a quantile.
    const double width = reference.high - reference.low;
    EXPECT_NEAR(stats.effect->interval->low, reference.low, 0.06 * width);
    EXPECT_NEAR(stats.effect->interval->high, reference.high, 0.06 * width);
    const bool exact = stats.n <= kExactPairs;
    EXPECT_NEAR(*stats.p, reference.p, exact ? 1e-12 : 0.004);
  }
}

TEST(Paired, RatioIsTheShiftOfLogarithms) {
  for (const ScipyReference& reference : kScipy) {
    const Pairs pairs = zipped(reference.a, reference.b);
    const PairedStats difference = compare_difference(pairs);
    const PairedStats ratio = compare_ratio(exponentials(pairs));
    EXPECT_EQ(ratio.effect->method, EffectMethod::kShiftOfLogs);
    EXPECT_NEAR(10 * std::log(ratio.effect->value), difference.effect->value, 1e-9);
    EXPECT_NEAR(10 * std::log(ratio.effect->interval->low), difference.effect->interval->low, 1e-9);
    EXPECT_NEAR(*ratio.p, *difference.p, 1e-12);
  }
}

TEST(Paired, OneWildPairDoesNotMoveTheShift) {
  Pairs pairs = kSleep;
  pairs[0].b = 1e9;
  EXPECT_LT(compare_difference(pairs).effect->value, 2.5);
  EXPECT_LT(compare_difference(pairs).effect->interval->low, 2.5);
}

TEST(Paired, SignFlipsAreExchangeable) {
  // All pairs one way: only that vector and its opposite are as extreme.
  for (const std::size_t n : {1U, 2U, 6U, 10U, 20U})
    EXPECT_DOUBLE_EQ(sign_flip_p(std::vector<double>(n, 3.0)), smallest_p(n));
  EXPECT_EQ(sign_flip_p(std::vector<double>(40, 3.0)), smallest_p(40));
  EXPECT_EQ(sign_flip_p(std::vector<double>(9, 0.0)), 1);
  EXPECT_EQ(sign_flip_p({}), 1);
  // 0.1 + 0.2 and 0.3 differ by rounding only: 4 of 8 sums are as extreme as 0.
  EXPECT_DOUBLE_EQ(sign_flip_p(std::vector<double>{0.1, 0.2, -0.3}), 1);
}

TEST(Paired, NullPValuesAreUniform) {
  std::mt19937_64 random(5);
  std::student_t_distribution<double> heavy(2);
  for (const std::size_t n : {10U, 25U}) {
    int below = 0;
    constexpr int kTrials = 400;
    for (int trial = 0; trial < kTrials; ++trial) {
      std::vector<double> differences(n);
      for (double& d : differences) d = heavy(random);
      below += sign_flip_p(differences) <= 0.05;
    }
    EXPECT_NEAR(static_cast<double>(below) / kTrials, 0.05, 4 * std::sqrt(0.05 * 0.95 / kTrials));
  }
}

// Holm's procedure is the closed test of Bonferroni tests: a hypothesis' adjusted
// p is the largest Bonferroni p of all sets of hypotheses that hold it.
TEST(Paired, HolmIsTheClosureOfBonferroni) {
  std::mt19937_64 random(11);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> p(1 + trial % 7);
    for (double& value : p) value = std::pow(std::uniform_real_distribution<double>()(random), 3);
    if (p.size() > 2) p[1] = p[0];
    std::vector<double> expected(p.size());
    for (std::size_t set = 1; set < std::size_t{1} << p.size(); ++set) {
      double smallest = 1;
      double size = 0;
      for (std::size_t i = 0; i < p.size(); ++i) {
        if ((set >> i & 1) == 0) continue;
        smallest = std::min(smallest, p[i]);
        ++size;
      }
      for (std::size_t i = 0; i < p.size(); ++i)
        if ((set >> i & 1) != 0)
          expected[i] = std::max(expected[i], std::min(1.0, size * smallest));
    }
    const std::vector<double> adjusted = holm(p);
    for (std::size_t i = 0; i < p.size(); ++i) EXPECT_DOUBLE_EQ(adjusted[i], expected[i]);
  }
  EXPECT_TRUE(holm({}).empty());
}

TEST(Paired, SummaryAgreesWithStudentsSleepData) {
  // As R: summary() and sd() of sleep$extra[sleep$group == 1].
  const Summary a = *compare_difference(kSleep).a;
  EXPECT_NEAR(a.mean, 0.75, 1e-12);
  EXPECT_NEAR(a.median, 0.35, 1e-12);
  EXPECT_NEAR(*a.stddev, 1.789010, 5e-7);
  EXPECT_EQ(a.min, -1.6);
  EXPECT_EQ(a.max, 3.7);
  EXPECT_EQ(compare_difference(Pairs{{1, 0}, {9, 0}, {2, 0}}).a->median, 2);
}

TEST(Paired, NoPairsNoEffect) {
  const PairedStats stats = compare_ratio({});
  EXPECT_EQ(stats.n, 0U);
  EXPECT_FALSE(stats.a || stats.b || stats.effect || stats.p);
}

TEST(Paired, FewPairsHaveAnEffectWithoutInterval) {
  for (const Pair pair : {Pair{2, 3}, Pair{2, 0}, Pair{0, 3}, Pair{0, 0}}) {
    const PairedStats stats = compare_ratio(Pairs{pair});
    EXPECT_FALSE(stats.effect->interval);
    EXPECT_FALSE(stats.a->stddev);
    EXPECT_EQ(stats.effect->value, pair.a > 0 ? pair.b / pair.a : pair.b - pair.a);
    EXPECT_FALSE(compare_ratio(Pairs(kMinPairs - 1, pair)).effect->interval);
    EXPECT_TRUE(compare_ratio(Pairs(kMinPairs, pair)).effect->interval);
  }
}

TEST(Paired, IdenticalRatiosHaveAnIntervalOfZeroWidth) {
  const Effect same =
      *compare_ratio(Pairs{{3, 3}, {7, 7}, {11, 11}, {3, 3}, {4, 4}, {9, 9}}).effect;
  EXPECT_EQ(same.value, 1);
  EXPECT_EQ(same.interval->low, 1);
  EXPECT_EQ(same.interval->high, 1);
  const Effect third =
      *compare_ratio(Pairs{{3, 1}, {21, 7}, {33, 11}, {3, 1}, {6, 2}, {9, 3}}).effect;
  EXPECT_EQ(third.interval->low, third.interval->high);
  const Effect none = *compare_ratio(Pairs(6, {3, 0})).effect;
  EXPECT_EQ(none.method, EffectMethod::kRatioOfMeans);
  EXPECT_EQ(none.value, 0);
  EXPECT_EQ(none.interval->high, 0);
  EXPECT_EQ(compare_difference(Pairs{{0.1, 0.3}, {0.1, 0.3}, {0.1, 0.3}}).b->stddev, 0.0);
}

TEST(Paired, ZerosChangeTheMethod) {
  EXPECT_EQ(compare_ratio(Pairs{{10, 0}, {11, 5}, {12, 6}}).effect->method,
            EffectMethod::kRatioOfMeans);
  EXPECT_EQ(compare_ratio(Pairs{{0, 4}, {0, 5}}).effect->method, EffectMethod::kShift);
  // Some resamples have no base at all.
  const Effect rare = *compare_ratio(Pairs{{0, 4}, {0, 5}, {1, 9}, {0, 4}, {0, 4}, {0, 4}}).effect;
  EXPECT_EQ(rare.method, EffectMethod::kRatioOfMeans);
  EXPECT_FALSE(rare.interval);
}

TEST(Paired, RatiosBeyondAllNumbersHaveNoLogarithm) {
  EXPECT_FALSE(shift_of_logs(Pairs{{1e-200, 1e200}, {1, 1}}));
  EXPECT_TRUE(std::isfinite(compare_ratio(Pairs(6, {1e-150, 1e150})).effect->interval->high));
}

TEST(Paired, UnitsDoNotMatter) {
  std::mt19937_64 random(7);
  for (const bool with_zero : {false, true}) {
    for (const double scale : {1e-9, 3.0, 1e12}) {
      Pairs pairs = lognormal_pairs(random, 12, 0.1);
      if (with_zero) pairs[3].b = 0;
      const Effect plain = *compare_ratio(pairs).effect;
      const Effect scaled = *compare_ratio(transformed(pairs, [scale](Pair p) {
                               return Pair{scale * p.a, scale * p.b};
                             })).effect;
      EXPECT_EQ(plain.method, scaled.method);
      EXPECT_NEAR(scaled.value / plain.value, 1, 1e-12);
      EXPECT_NEAR(scaled.interval->low / plain.interval->low, 1, 1e-9);
      EXPECT_NEAR(scaled.interval->high / plain.interval->high, 1, 1e-9);
    }
  }
}

TEST(Paired, SwappedSidesInvertTheRatio) {
  std::mt19937_64 random(8);
  for (const bool with_zeros : {false, true}) {
    Pairs pairs = lognormal_pairs(random, 15, -0.2);
    if (with_zeros) pairs[0].a = pairs[1].b = 0;
    const Effect there = *compare_ratio(pairs).effect;
    const Effect back = *compare_ratio(transformed(pairs, [](Pair p) {
                           return Pair{p.b, p.a};
                         })).effect;
    ASSERT_EQ(there.method, back.method);
    EXPECT_NEAR(there.value * back.value, 1, 1e-12);
    EXPECT_NEAR(there.interval->low * back.interval->high, 1, 1e-6);
    EXPECT_NEAR(there.interval->high * back.interval->low, 1, 1e-6);
  }
}

// Counts differ by the same often.
TEST(Paired, SwappedSidesInvertTheRatioOfTiedDifferences) {
  const Pairs pairs{{0, 3},   {10, 13}, {20, 23}, {7, 4}, {17, 14},
                    {27, 24}, {40, 41}, {50, 51}, {9, 9}, {0, 5}};
  const Effect there = *compare_ratio(pairs).effect;
  const Effect back = *compare_ratio(transformed(pairs, [](Pair p) {
                         return Pair{p.b, p.a};
                       })).effect;
  ASSERT_EQ(there.method, EffectMethod::kRatioOfMeans);
  EXPECT_NEAR(there.value * back.value, 1, 1e-12);
  EXPECT_NEAR(there.interval->low * back.interval->high, 1, 1e-6);
  EXPECT_NEAR(there.interval->high * back.interval->low, 1, 1e-6);
}

TEST(Paired, OrderDoesNotMatterToTheLastBit) {
  std::mt19937_64 random(9);
  for (const bool with_zero : {false, true}) {
    Pairs pairs = lognormal_pairs(random, 30, 0.05);
    if (with_zero) pairs[0].b = 0;
    const PairedStats expected = compare_ratio(pairs);
    for (int i = 0; i < 20; ++i) {
      std::ranges::shuffle(pairs, random);
      const PairedStats stats = compare_ratio(pairs);
      EXPECT_EQ(stats.effect->value, expected.effect->value);
      EXPECT_EQ(stats.effect->interval->low, expected.effect->interval->low);
      EXPECT_EQ(stats.effect->interval->high, expected.effect->interval->high);
      EXPECT_EQ(stats.b->mean, expected.b->mean);
    }
  }
}

TEST(Paired, CoverageOfTheRatio) {
  for (const std::size_t n : {6U, 12U}) {
    expect_coverage(std::exp(0.1), [n](std::mt19937_64& random) {
      return compare_ratio(lognormal_pairs(random, n, 0.1)).effect;
    });
  }
}

TEST(Paired, CoverageOfTheRatioOfMeans) {
  expect_coverage(0.8, [](std::mt19937_64& random) {
    std::normal_distribution<double> normal;
    Pairs pairs(10);
    for (Pair& pair : pairs) {
      const double common = 5 * normal(random);
      pair = {100 + common + 5 * normal(random), 80 + common + 9 * normal(random)};
    }
    return ratio_of_means(pairs);
  });
}

TEST(Paired, CoverageOfTheDifference) {
  expect_coverage(3, [](std::mt19937_64& random) {
    std::student_t_distribution<double> heavy(3);
    Pairs pairs(8);
    for (Pair& pair : pairs) {
      pair.a = heavy(random);
      pair.b = pair.a + 3 + 2 * heavy(random);
    }
    return compare_difference(pairs).effect;
  });
}

}  // namespace
}  // namespace dyield
