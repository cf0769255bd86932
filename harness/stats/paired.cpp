// SPDX-License-Identifier: GPL-2.0-only
#include "stats/paired.h"

#include <algorithm>
#include <array>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <boost/random/uniform_int_distribution.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>

namespace dyield {
namespace {

// Any constants: they make equal data give equal results.
constexpr std::uint64_t kBootstrapSeed = 1963;
constexpr std::uint64_t kSignSeed = 1935;
constexpr std::size_t kSignDraws = 99'999;

std::size_t resamples(std::size_t n) {
  return n <= 100 ? 10'000 : 2'000;
}

// Of the sample, n - 1; 0 for n = 1. Sums relative to the first value, so that
// equal values have no variance at all.
struct Moments {
  double mean = 0;
  double variance = 0;
};

Moments moments(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) sum += value - values.front();
  const double offset = sum / n;
  double squares = 0;
  for (const double value : values) {
    const double deviation = (value - values.front()) - offset;
    squares += deviation * deviation;
  }
  return {values.front() + offset, values.size() > 1 ? squares / (n - 1) : 0};
}

double median_of_sorted(std::span<const double> values) {
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : std::midpoint(values[middle - 1], values[middle]);
}

// ---- Bootstrap ----

// How often a resample has each pair.
using Draws = std::vector<std::uint32_t>;

// The quantile of sorted values by linear interpolation, as numpy.percentile().
double quantile_of_sorted(std::span<const double> values, double p) {
  const double position = p * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  const double weight = position - static_cast<double>(below);
  return weight == 0 ? values[below] : (1 - weight) * values[below] + weight * values[above];
}

// The share that each tail of the expanded percentile interval leaves out.
double tail_share(std::size_t n) {
  const auto size = static_cast<double>(n);
  const double t =
      quantile(boost::math::complement(boost::math::students_t(size - 1), (1 - kConfidence) / 2));
  return cdf(boost::math::normal(), -std::sqrt(size / (size - 1)) * t);
}

// The interval of statistic(draws) for n values in an order that swapped sides
// reverse. Every resample counts mirrored as well: swapped sides then mirror the interval.
template <typename Statistic>
std::optional<ConfidenceInterval> bootstrap(std::size_t n, Statistic statistic) {
  if (n < kMinPairs) return std::nullopt;
  std::mt19937_64 random(kBootstrapSeed);
  const boost::random::uniform_int_distribution<std::size_t> index(0, n - 1);
  std::vector<double> values;
  Draws draws(n);
  while (values.size() < resamples(n)) {
    std::ranges::fill(draws, 0U);
    for (std::size_t i = 0; i < n; ++i) ++draws[index(random)];
    values.push_back(statistic(draws));
    std::ranges::reverse(draws);
    values.push_back(statistic(draws));
  }
  std::ranges::sort(values);
  const double tail = tail_share(n);
  const ConfidenceInterval interval{quantile_of_sorted(values, tail),
                                    quantile_of_sorted(values, 1 - tail)};
  if (!std::isfinite(interval.low) || !std::isfinite(interval.high)) return std::nullopt;
  return interval;
}

// ---- Hodges-Lehmann ----

// The median of the Walsh averages, for a sample and its resamples: a resample
// has the same averages, each some other number of times, so one sort serves all.
class WalshAverages {
 public:
  explicit WalshAverages(std::span<const double> sorted) : n_(sorted.size()) {
    for (std::uint32_t i = 0; i < n_; ++i)
      for (std::uint32_t j = i; j < n_; ++j)
        averages_.push_back({std::midpoint(sorted[i], sorted[j]), i, j});
    std::ranges::sort(averages_, {}, &Average::value);
  }

  [[nodiscard]] double median(const Draws& draws) const {
    const std::uint64_t total = n_ * (n_ + 1) / 2;
    const std::uint64_t upper = total / 2;  // of the two in the middle, from 0
    std::uint64_t seen = 0;
    double before = 0;
    for (const auto& [value, i, j] : averages_) {
      const std::uint64_t times = i == j ? std::uint64_t{draws[i]} * (draws[i] + 1) / 2
                                         : std::uint64_t{draws[i]} * draws[j];
      if (times == 0) continue;
      const bool first_is_upper = seen == upper && total % 2 == 0;
      seen += times;
      if (seen > upper) return first_is_upper ? std::midpoint(before, value) : value;
      before = value;
    }
    return before;
  }

 private:
  struct Average {
    double value;
    std::uint32_t i, j;
  };
  std::size_t n_;
  std::vector<Average> averages_;
};

Effect hodges_lehmann(EffectMethod method, std::vector<double> differences) {
  std::ranges::sort(differences);
  const std::size_t n = differences.size();
  const WalshAverages averages(differences);
  return {method, averages.median(Draws(n, 1)),
          bootstrap(n, [&](const Draws& draws) { return averages.median(draws); })};
}

// ---- Sign-flip test ----

// Sums of the differences with given signs, kBits signs at a time from a table.
class SignedSums {
 public:
  static constexpr std::size_t kBits = 10;

  explicit SignedSums(std::span<const double> differences) {
    for (std::size_t begin = 0; begin < differences.size(); begin += kBits) {
      const auto chunk = differences.subspan(begin, std::min(kBits, differences.size() - begin));
      std::vector<double>& sums = tables_.emplace_back(std::size_t{1} << chunk.size());
      for (std::size_t signs = 0; signs < sums.size(); ++signs)
        for (std::size_t i = 0; i < chunk.size(); ++i)
          sums[signs] += (signs >> i & 1) != 0 ? -chunk[i] : chunk[i];
    }
  }

  // next() gives kBits random or counted signs for each table in turn.
  template <typename Next>
  [[nodiscard]] double sum(Next next) const {
    double total = 0;
    for (const std::vector<double>& sums : tables_) total += sums[next() & (sums.size() - 1)];
    return total;
  }

 private:
  std::vector<std::vector<double>> tables_;
};

// ---- Comparison ----

std::vector<double> side(std::span<const Pair> pairs, double Pair::*member) {
  std::vector<double> values;
  for (const Pair& pair : pairs) values.push_back(pair.*member);
  return values;
}

std::vector<double> differences(std::span<const Pair> pairs) {
  std::vector<double> values;
  for (const auto& [a, b] : pairs) values.push_back(b - a);
  return values;
}

// Empty unless every ratio has a finite logarithm.
std::vector<double> log_ratios(std::span<const Pair> pairs) {
  std::vector<double> logs;
  for (const auto& [a, b] : pairs) {
    const double ratio = b / a;
    if (!std::isfinite(ratio) || ratio <= 0) return {};
    logs.push_back(std::log(ratio));
  }
  return logs;
}

Summary summarize(std::vector<double> values) {
  std::ranges::sort(values);
  const auto [mean, variance] = moments(values);
  return {mean, median_of_sorted(values),
          values.size() > 1 ? std::optional(std::sqrt(variance)) : std::nullopt, values.front(),
          values.back()};
}

// Sums of floating point numbers depend on their order; swapped sides reverse this one.
std::vector<Pair> in_order(std::span<const Pair> pairs) {
  std::vector<Pair> sorted(pairs.begin(), pairs.end());
  std::ranges::sort(sorted, {}, [](const Pair& pair) {
    return std::tuple(pair.b - pair.a, std::copysign(pair.a + pair.b, pair.b - pair.a));
  });
  return sorted;
}

PairedStats compare(std::span<const Pair> pairs, bool as_ratio) {
  if (pairs.empty()) return {};
  const std::vector<Pair> sorted = in_order(pairs);
  PairedStats stats{sorted.size(), summarize(side(sorted, &Pair::a)),
                    summarize(side(sorted, &Pair::b)), std::nullopt, std::nullopt};
  if (as_ratio) stats.effect = shift_of_logs(sorted);
  if (as_ratio && !stats.effect) stats.effect = ratio_of_means(sorted);
  if (!stats.effect) stats.effect = shift(sorted);
  stats.p = sign_flip_p(stats.effect->method == EffectMethod::kShiftOfLogs ? log_ratios(sorted)
                                                                           : differences(sorted));
  return stats;
}

}  // namespace

std::optional<Effect> shift_of_logs(std::span<const Pair> pairs) {
  std::vector<double> logs = log_ratios(pairs);
  if (logs.empty()) return std::nullopt;
  Effect effect = hodges_lehmann(EffectMethod::kShiftOfLogs, std::move(logs));
  effect.value = std::exp(effect.value);
  if (effect.interval)
    effect.interval =
        ConfidenceInterval{std::exp(effect.interval->low), std::exp(effect.interval->high)};
  return effect;
}

std::optional<Effect> ratio_of_means(std::span<const Pair> pairs) {
  const std::vector<Pair> sorted = in_order(pairs);
  const auto ratio = [&](const Draws& draws) {
    double a = 0;
    double b = 0;
    for (std::size_t i = 0; i < draws.size(); ++i) {
      a += draws[i] * sorted[i].a;
      b += draws[i] * sorted[i].b;
    }
    return a > 0 ? b / a : std::numeric_limits<double>::infinity();
  };
  const double value = ratio(Draws(sorted.size(), 1));
  if (!std::isfinite(value)) return std::nullopt;
  return Effect{EffectMethod::kRatioOfMeans, value, bootstrap(sorted.size(), ratio)};
}

std::optional<Effect> shift(std::span<const Pair> pairs) {
  if (pairs.empty()) return std::nullopt;
  return hodges_lehmann(EffectMethod::kShift, differences(pairs));
}

double sign_flip_p(std::span<const double> values) {
  // Drawn signs go to the differences by position.
  std::vector<double> differences(values.begin(), values.end());
  std::ranges::sort(differences);
  const std::size_t n = differences.size();
  double observed = 0;
  double size = 0;
  for (const double difference : differences) {
    observed += difference;
    size += std::abs(difference);
  }
  // Sums that are equal but for rounding count as equal.
  const double threshold = std::abs(observed) - 1e-12 * size;
  const SignedSums sums(differences);
  std::size_t extreme = 0;
  if (n <= kExactPairs) {
    const std::size_t all = std::size_t{1} << n;
    for (std::size_t signs = 0; signs < all; ++signs) {
      std::size_t rest = signs;
      extreme += std::abs(sums.sum([&rest] {
                   const std::size_t bits = rest;
                   rest >>= SignedSums::kBits;
                   return bits;
                 })) >= threshold;
    }
    return static_cast<double>(extreme) / static_cast<double>(all);
  }
  std::mt19937_64 random(kSignSeed);
  for (std::size_t draw = 0; draw < kSignDraws; ++draw)
    extreme += std::abs(sums.sum([&random] { return random(); })) >= threshold;
  // The observed signs are one of the vectors, without which p could be 0.
  return static_cast<double>(extreme + 1) / (kSignDraws + 1);
}

double smallest_p(std::size_t n) {
  return n <= kExactPairs ? std::min(1.0, std::ldexp(2, -static_cast<int>(n)))
                          : 1.0 / (kSignDraws + 1);
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return p_values[i]; });
  std::vector<double> adjusted(p_values.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    const auto remaining = static_cast<double>(order.size() - rank);
    largest = std::max(largest, std::min(1.0, remaining * p_values[order[rank]]));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

PairedStats compare_ratio(std::span<const Pair> pairs) {
  return compare(pairs, true);
}

PairedStats compare_difference(std::span<const Pair> pairs) {
  return compare(pairs, false);
}

}  // namespace dyield
