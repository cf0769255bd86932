// SPDX-License-Identifier: GPL-2.0-only
#include "result/metric.h"

#include <gmock/gmock.h>

#include <set>

namespace dyield {
namespace {

std::optional<double> value(std::string_view name, const Counts& counts) {
  return metric_value(*find_metric(name), counts);
}

TEST(Metric, TableIsConsistent) {
  std::set<std::string_view> names;
  for (const MetricInfo& metric : metrics()) {
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name;
    EXPECT_FALSE(metric.unit.empty()) << metric.name;
    EXPECT_FALSE(metric.meaning.empty()) << metric.name;
    EXPECT_EQ(find_metric(metric.name), &metric);
    // A regression needs a worse side, and a reader needs to see what failed.
    if (metric.gating) {
      EXPECT_NE(metric.better, Better::kNeither) << metric.name;
      EXPECT_TRUE(metric.headline) << metric.name;
    }
  }
  EXPECT_EQ(find_metric("nonsense"), nullptr);
}

TEST(Metric, EveryDerivedMetricFollowsFromCounts) {
  Counts counts;
  for (const MetricInfo& metric : metrics()) {
    if (metric.source == MetricSource::kCount) counts.emplace(metric.name, 2);
  }
  for (const MetricInfo& metric : metrics())
    EXPECT_TRUE(metric_value(metric, counts)) << metric.name;
}

TEST(Metric, DerivedFromCounts) {
  EXPECT_EQ(value("pause_exits_per_shootdown", {{"pause_exits", 30}, {"shootdowns", 4}}), 7.5);
  // The denominator is the yields of a waiting vCPU, not all yields made.
  EXPECT_EQ(value("precision",
                  {{"yields_to_awaited", 3}, {"yields_while_waiting", 4}, {"yields_made", 100}}),
            0.75);
  EXPECT_EQ(value("handler_delay", {{"handler_delay_ns", 900}, {"handler_delays", 3}}), 300.0);
  EXPECT_EQ(value("release_delay", {{"release_delay_ns", 900}, {"release_delays", 2}}), 450.0);
  // Three of four vCPUs did 10 each, the last 2.
  EXPECT_EQ(value("evenness", {{"work_least", 4 * 2}, {"work", 32}}), 0.25);
}

TEST(Metric, AbsentWithoutItsCounts) {
  EXPECT_EQ(value("shootdowns", {}), std::nullopt);
  EXPECT_EQ(value("precision", {{"yields_to_awaited", 3}}), std::nullopt);
  EXPECT_EQ(value("precision", {{"yields_to_awaited", 0}, {"yields_while_waiting", 0}}),
            std::nullopt);
  EXPECT_EQ(value("shootdowns", {{"shootdowns", 0}}), 0.0);
}

}  // namespace
}  // namespace dyield
