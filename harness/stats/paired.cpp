// SPDX-License-Identifier: GPL-2.0-only
#include "stats/paired.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <initializer_list>
#include <numeric>
#include <vector>

namespace dyield {
namespace {

struct Moments {
  double mean = 0;
  double variance = 0;  // of the sample, n - 1; 0 for n = 1
};

// Sums relative to the first value, so that equal values have no variance at all.
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

double covariance_of_means(std::span<const Pair> pairs, double mean_a, double mean_b) {
  const auto n = static_cast<double>(pairs.size());
  double products = 0;
  for (const auto& [a, b] : pairs) products += (a - mean_a) * (b - mean_b);
  return products / (n - 1) / n;
}

double critical_t(std::size_t n) {
  const boost::math::students_t distribution(static_cast<double>(n - 1));
  return quantile(complement(distribution, (1 - kConfidence) / 2));
}

// The mean with its t interval, which is absent for a single value.
Effect mean_with_interval(EffectMethod method, std::span<const double> values) {
  const auto [mean, variance] = moments(values);
  Effect effect{method, mean, std::nullopt};
  if (values.size() > 1) {
    const double half =
        critical_t(values.size()) * std::sqrt(variance / static_cast<double>(values.size()));
    effect.interval = Interval{mean - half, mean + half};
  }
  return effect;
}

std::vector<double> side(std::span<const Pair> pairs, double Pair::*member) {
  std::vector<double> values;
  for (const Pair& pair : pairs) values.push_back(pair.*member);
  return values;
}

Summary summarize(std::vector<double> values) {
  std::ranges::sort(values);
  const auto [mean, variance] = moments(values);
  const std::size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : std::midpoint(values[middle - 1], values[middle]);
  return {mean, median, values.size() > 1 ? std::optional(std::sqrt(variance)) : std::nullopt,
          values.front(), values.back()};
}

using Estimator = std::optional<Effect> (*)(std::span<const Pair>);

PairedStats compare(std::span<const Pair> pairs, std::initializer_list<Estimator> estimators) {
  if (pairs.empty()) return {};
  // Sums of floating point numbers depend on their order.
  std::vector<Pair> sorted(pairs.begin(), pairs.end());
  std::ranges::sort(sorted, [](const Pair& x, const Pair& y) { return x < y; });
  PairedStats stats{sorted.size(), summarize(side(sorted, &Pair::a)),
                    summarize(side(sorted, &Pair::b)), std::nullopt};
  for (const Estimator estimate : estimators) {
    if ((stats.effect = estimate(sorted))) break;
  }
  return stats;
}

}  // namespace

std::optional<Effect> geometric_mean_ratio(std::span<const Pair> pairs) {
  std::vector<double> logs;
  for (const auto& [a, b] : pairs) {
    const double ratio = b / a;
    if (!std::isfinite(ratio) || ratio <= 0) return std::nullopt;
    logs.push_back(std::log(ratio));
  }
  if (logs.empty()) return std::nullopt;
  Effect effect = mean_with_interval(EffectMethod::kGeometricMeanRatio, logs);
  effect.value = std::exp(effect.value);
  if (effect.interval) {
    effect.interval = Interval{std::exp(effect.interval->low), std::exp(effect.interval->high)};
    if (!std::isfinite(effect.interval->high)) return std::nullopt;
  }
  return effect;
}

std::optional<Effect> ratio_of_means(std::span<const Pair> pairs) {
  if (pairs.empty()) return std::nullopt;
  const Moments a = moments(side(pairs, &Pair::a));
  const Moments b = moments(side(pairs, &Pair::b));
  if (!(a.mean > 0)) return std::nullopt;
  const double ratio = b.mean / a.mean;
  Effect effect{EffectMethod::kRatioOfMeans, ratio, std::nullopt};
  if (pairs.size() == 1) return effect;

  // The interval holds every r for which mean(b - r a) differs from zero by at
  // most t standard errors, that is c2 r^2 - 2 c1 r + c0 <= 0. All variances are
  // relative to mean(a), which keeps the result independent of the unit.
  const auto n = static_cast<double>(pairs.size());
  const double t2 = std::pow(critical_t(pairs.size()), 2) / (a.mean * a.mean);
  const double c2 = 1 - t2 * a.variance / n;
  const double c1 = ratio - t2 * covariance_of_means(pairs, a.mean, b.mean);
  const double c0 = ratio * ratio - t2 * b.variance / n;
  if (c2 <= 0) return std::nullopt;  // mean(a) is not distinguishable from zero: unbounded
  const double root = std::sqrt(std::max(0.0, c1 * c1 - c2 * c0));
  effect.interval = Interval{std::max(0.0, (c1 - root) / c2), (c1 + root) / c2};
  return effect;
}

std::optional<Effect> mean_difference(std::span<const Pair> pairs) {
  if (pairs.empty()) return std::nullopt;
  std::vector<double> differences;
  for (const auto& [a, b] : pairs) differences.push_back(b - a);
  return mean_with_interval(EffectMethod::kMeanDifference, differences);
}

PairedStats compare_ratio(std::span<const Pair> pairs) {
  return compare(pairs, {geometric_mean_ratio, ratio_of_means, mean_difference});
}

PairedStats compare_difference(std::span<const Pair> pairs) {
  return compare(pairs, {mean_difference});
}

}  // namespace dyield
