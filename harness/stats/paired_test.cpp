// SPDX-License-Identifier: GPL-2.0-only
#include "stats/paired.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

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

// The share of `trials` in which the interval of `effect(random)` holds `truth`
// must be the nominal one, within 4 standard errors of a binomial share.
void expect_coverage(double truth, auto effect) {
  constexpr int kTrials = 4000;
  std::mt19937_64 random(1908);
  int hits = 0;
  for (int i = 0; i < kTrials; ++i) {
    const std::optional<Effect> e = effect(random);
    ASSERT_TRUE(e && e->interval);
    hits += e->interval->low <= truth && truth <= e->interval->high;
  }
  const double tolerance = 4 * std::sqrt(kConfidence * (1 - kConfidence) / kTrials);
  EXPECT_NEAR(static_cast<double>(hits) / kTrials, kConfidence, tolerance);
}

TEST(Paired, DifferenceAgreesWithStudentsSleepData) {
  const PairedStats stats = compare_difference(kSleep);
  EXPECT_EQ(stats.n, 10U);
  EXPECT_NEAR(stats.effect->value, 1.58, 1e-12);
  EXPECT_NEAR(stats.effect->interval->low, 0.7001142, 5e-8);
  EXPECT_NEAR(stats.effect->interval->high, 2.4598858, 5e-8);
  EXPECT_FALSE(stats.effect->is_ratio());
}

TEST(Paired, GeometricMeanIsTheDifferenceOfLogarithms) {
  const auto e = compare_ratio(transformed(kSleep, [](Pair p) {
                   return Pair{std::exp(p.a), std::exp(p.b)};
                 })).effect;
  EXPECT_EQ(e->method, EffectMethod::kGeometricMeanRatio);
  EXPECT_NEAR(std::log(e->value), 1.58, 1e-12);
  EXPECT_NEAR(std::log(e->interval->low), 0.7001142, 5e-8);
  EXPECT_NEAR(std::log(e->interval->high), 2.4598858, 5e-8);
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
  EXPECT_FALSE(stats.a || stats.b || stats.effect);
}

TEST(Paired, OnePairHasAnEffectWithoutInterval) {
  for (const Pair pair : {Pair{2, 3}, Pair{2, 0}, Pair{0, 3}, Pair{0, 0}}) {
    const PairedStats stats = compare_ratio(Pairs{pair});
    EXPECT_FALSE(stats.effect->interval);
    EXPECT_FALSE(stats.a->stddev);
    EXPECT_EQ(stats.effect->value, pair.a > 0 ? pair.b / pair.a : pair.b - pair.a);
  }
}

TEST(Paired, IdenticalRatiosHaveAnIntervalOfZeroWidth) {
  const Effect same = *compare_ratio(Pairs{{3, 3}, {7, 7}, {11, 11}}).effect;
  EXPECT_EQ(same.value, 1);
  EXPECT_EQ(same.interval->low, 1);
  EXPECT_EQ(same.interval->high, 1);
  const Effect third = *compare_ratio(Pairs{{3, 1}, {21, 7}, {33, 11}}).effect;
  EXPECT_EQ(third.interval->low, third.interval->high);
  const Effect none = *compare_ratio(Pairs{{3, 0}, {3, 0}}).effect;
  EXPECT_EQ(none.method, EffectMethod::kRatioOfMeans);
  EXPECT_EQ(none.value, 0);
  EXPECT_EQ(none.interval->high, 0);
  EXPECT_EQ(compare_difference(Pairs{{0.1, 0.3}, {0.1, 0.3}, {0.1, 0.3}}).b->stddev, 0.0);
}

TEST(Paired, ZerosChangeTheMethod) {
  EXPECT_EQ(compare_ratio(Pairs{{10, 0}, {11, 5}, {12, 6}}).effect->method,
            EffectMethod::kRatioOfMeans);
  EXPECT_EQ(compare_ratio(Pairs{{0, 4}, {0, 5}}).effect->method, EffectMethod::kMeanDifference);
  // The mean of a cannot be told from zero, so Fieller's set is unbounded.
  EXPECT_EQ(compare_ratio(Pairs{{0, 4}, {0, 5}, {1, 9}}).effect->method,
            EffectMethod::kMeanDifference);
}

TEST(Paired, IntervalThatIsNoNumberIsNoInterval) {
  // Two ratios that are 80 powers of ten apart: the geometric mean's upper limit overflows.
  const PairedStats stats = compare_ratio(Pairs{{1e-40, 1}, {1, 1e-40}, {1, 1}, {1e-200, 1}});
  ASSERT_TRUE(stats.effect->interval);
  EXPECT_TRUE(std::isfinite(stats.effect->interval->high));
  EXPECT_FALSE(geometric_mean_ratio(Pairs{{1e-160, 1}, {1, 1e-160}}));
}

TEST(Paired, FiellersLimitsAreWhereTheTestTurns) {
  // By definition mean(b - r a) is exactly t standard errors from zero there.
  const Pairs pairs = {{10, 9}, {12, 14}, {9, 0}, {14, 11}, {11, 8}};
  const Effect effect = *ratio_of_means(pairs);
  for (const double r : {effect.interval->low, effect.interval->high}) {
    const Effect d = *mean_difference(transformed(pairs, [r](Pair p) {
      return Pair{r * p.a, p.b};
    }));
    EXPECT_NEAR(std::min(std::abs(d.interval->low), std::abs(d.interval->high)), 0, 1e-9);
  }
  EXPECT_LT(effect.interval->low, effect.value);
  EXPECT_GT(effect.interval->high, effect.value);
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
    EXPECT_NEAR(there.interval->low * back.interval->high, 1, 1e-9);
    EXPECT_NEAR(there.interval->high * back.interval->low, 1, 1e-9);
  }
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

TEST(Paired, CoverageOfTheGeometricMean) {
  for (const std::size_t n : {2U, 6U, 30U}) {
    expect_coverage(std::exp(0.1), [n](std::mt19937_64& random) {
      return compare_ratio(lognormal_pairs(random, n, 0.1)).effect;
    });
  }
}

TEST(Paired, CoverageOfFiellersInterval) {
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
    std::normal_distribution<double> normal;
    Pairs pairs(8);
    for (Pair& pair : pairs) {
      pair.a = normal(random);
      pair.b = pair.a + 3 + 2 * normal(random);
    }
    return compare_difference(pairs).effect;
  });
}

}  // namespace
}  // namespace dyield
