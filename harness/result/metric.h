// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dyield {

enum class Better { kHigher, kLower, kNeither };

// Where a metric's run-level number comes from.
enum class MetricSource {
  kCount,    // recorded by the run while it measured
  kDerived,  // computed from counts by metric_value()
};

// How two kernels are compared in a metric. A fraction that is often 0 on one
// side, such as precision, has no useful ratio.
enum class Comparing { kRatio, kDifference };

// One row of the table of metrics. Every metric is one number a run: samples of
// one run share host, boot and time, so they are never pooled over runs.
struct MetricInfo {
  std::string_view name;
  std::string_view unit;
  std::string_view meaning;
  Better better;
  bool gating;    // `dyield compare` exits 1 when this metric regresses
  bool headline;  // shown without --all
  MetricSource source;
  Comparing comparing;
};

// The counts of one run by metric name, in the units of the table of metrics.
using Counts = std::map<std::string, std::uint64_t, std::less<>>;

// All metrics, in the order in which they are shown.
std::span<const MetricInfo> metrics();

// The row of that name, or nullptr. The row lives as long as the program.
const MetricInfo* find_metric(std::string_view name);

// The value of a metric in one run, in the metric's unit. Absent if a count
// that it needs was not recorded, or if its denominator is zero.
std::optional<double> metric_value(const MetricInfo& metric, const Counts& counts);

}  // namespace dyield
