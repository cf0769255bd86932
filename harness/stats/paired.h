// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <compare>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace dyield {

// All intervals are two-sided with this nominal coverage.
inline constexpr double kConfidence = 0.95;

// Fewer pairs have no interval: without assumptions on the distribution, n pairs
// that all point one way have p = 2 / 2^n, which is above 0.05 up to n = 5.
inline constexpr std::size_t kMinPairs = 6;

// The sign-flip test is exact up to this many pairs.
inline constexpr std::size_t kExactPairs = 20;

// One run of each side with the same seed, in one unit. Finite numbers.
struct Pair {
  double a = 0;
  double b = 0;
  auto operator<=>(const Pair&) const = default;
};

struct ConfidenceInterval {
  double low = 0;
  double high = 0;
};

enum class EffectMethod {
  kShiftOfLogs,   // exp of the Hodges-Lehmann shift of log b - log a: a ratio
  kRatioOfMeans,  // mean b / mean a, where a zero forbids logarithms
  kShift,         // Hodges-Lehmann shift of b - a
};

// The interval is absent for fewer than kMinPairs pairs.
struct Effect {
  EffectMethod method = EffectMethod::kShift;
  double value = 0;
  std::optional<ConfidenceInterval> interval;

  [[nodiscard]] bool is_ratio() const { return method != EffectMethod::kShift; }
};

struct Summary {
  double mean = 0;
  double median = 0;
  std::optional<double> stddev;  // of the sample, n - 1; absent for n = 1
  double min = 0;
  double max = 0;
};

// Everything is absent for n = 0.
struct PairedStats {
  std::size_t n = 0;
  std::optional<Summary> a;
  std::optional<Summary> b;
  std::optional<Effect> effect;
  std::optional<double> p;  // of sign_flip_p(), on logarithms where the effect is
};

// The three estimators. Each is absent where it is not defined: for n = 0;
// shift_of_logs() unless all numbers are above zero and their ratios finite;
// ratio_of_means() unless the mean of a is above zero. ratio_of_means() has no interval
// where resamples have no finite ratio. Identical pairs give an interval of zero
// width, which is right for counts of a deterministic machine.
//
// The shift is the median of all means of two differences, each with itself
// included (J. L. Hodges and E. L. Lehmann 1963, "Estimates of location based on
// rank tests"). The intervals are percentiles of 10,000 bootstrap resamples of
// pairs (2,000 above 100 pairs), taken further out by the ratio of Student's t to
// the normal distribution, without which they are too narrow for few pairs
// (T. Hesterberg 2015, "What teachers should know about the bootstrap", expanded
// percentile). The generator's seed is a constant: equal data, equal interval.
std::optional<Effect> shift_of_logs(std::span<const Pair> pairs);
std::optional<Effect> ratio_of_means(std::span<const Pair> pairs);
std::optional<Effect> shift(std::span<const Pair> pairs);

// The two-sided p-value of the paired permutation test of "the sides of each pair
// may be exchanged", with the sum of the differences as its statistic: exact up
// to kExactPairs, else by 99,999 random sign vectors from a constant seed. 1 for
// no differences.
double sign_flip_p(std::span<const double> differences);

// The smallest p-value that sign_flip_p() can give for n pairs.
double smallest_p(std::size_t n);

// p-values adjusted for each other, in their order: rejecting those up to alpha
// makes any false rejection at most alpha likely (S. Holm 1979, "A simple
// sequentially rejective multiple test procedure").
std::vector<double> holm(std::span<const double> p_values);

// The ratio b/a by the first of the estimators above that is defined; which one
// it was is in the effect. The result does not depend on the order of the pairs,
// and swapped sides invert it.
PairedStats compare_ratio(std::span<const Pair> pairs);

// The same with shift() only.
PairedStats compare_difference(std::span<const Pair> pairs);

}  // namespace dyield
