// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <compare>
#include <cstddef>
#include <optional>
#include <span>

namespace dyield {

// All intervals are two-sided with this nominal coverage.
inline constexpr double kConfidence = 0.95;

// One run of each side with the same seed, in one unit. Finite numbers.
struct Pair {
  double a = 0;
  double b = 0;
  auto operator<=>(const Pair&) const = default;
};

struct Interval {
  double low = 0;
  double high = 0;
};

enum class EffectMethod {
  kGeometricMeanRatio,  // geometric mean of b/a, Student's t interval on the logarithms
  kRatioOfMeans,        // mean b / mean a, Fieller's interval
  kMeanDifference,      // mean of b - a, Student's t interval
};

// An effect without an interval comes from a single pair.
struct Effect {
  EffectMethod method = EffectMethod::kMeanDifference;
  double value = 0;
  std::optional<Interval> interval;

  [[nodiscard]] bool is_ratio() const { return method != EffectMethod::kMeanDifference; }
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
};

// The three estimators. Each is absent where it is not defined: for n = 0;
// geometric_mean_ratio() unless every ratio and the interval are finite and above zero;
// ratio_of_means() unless the mean of a is above zero and, for n > 1, Fieller's
// interval is bounded. Its interval is cut off at zero, since it is meant for
// numbers that are not negative. Identical pairs give an interval of zero width,
// which is right for counts of a deterministic machine.
//
// Sources: Student's t on logarithms, Fleming and Wallace 1986, "How not to lie
// with statistics"; E. C. Fieller 1954, "Some problems in interval estimation".
std::optional<Effect> geometric_mean_ratio(std::span<const Pair> pairs);
std::optional<Effect> ratio_of_means(std::span<const Pair> pairs);
std::optional<Effect> mean_difference(std::span<const Pair> pairs);

// The ratio b/a by the first of the estimators above that is defined; which one
// it was is in the effect. The result does not depend on the order of the pairs.
PairedStats compare_ratio(std::span<const Pair> pairs);

// The same with mean_difference() only.
PairedStats compare_difference(std::span<const Pair> pairs);

}  // namespace dyield
