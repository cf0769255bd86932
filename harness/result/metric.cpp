// SPDX-License-Identifier: GPL-2.0-only
#include "result/metric.h"

#include <algorithm>
#include <array>

namespace dyield {
namespace {

using enum Better;
using enum MetricSource;
using enum Comparing;

constexpr bool kGating = true;
constexpr bool kHeadline = true;

// clang-format off
constexpr std::array kMetrics = {
    MetricInfo{"shootdowns", "count", "IPI shootdowns completed by their senders",
               kHigher, kGating, kHeadline, kCount, kRatio},
    MetricInfo{"calls", "count", "function calls made on other vCPUs, hops of a chain each",
               kHigher, kGating, kHeadline, kCount, kRatio},
    MetricInfo{"lock_acquisitions", "count", "critical sections done",
               kHigher, kGating, kHeadline, kCount, kRatio},
    MetricInfo{"wakes", "count", "turns given to a halted partner",
               kHigher, kGating, kHeadline, kCount, kRatio},
    MetricInfo{"work_vm_compute", "units", "work of the VMs that only compute, beside others",
               kHigher, kGating, kHeadline, kCount, kRatio},
    MetricInfo{"work_vm_spin", "units", "work of the VMs beside them",
               kHigher, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"work", "units", "other guest work done in ring 3",
               kHigher, kGating, kHeadline, kCount, kRatio},
    MetricInfo{"pause_exits_per_shootdown", "exits/shootdown", "pause_exits / shootdowns",
               kLower, !kGating, kHeadline, kDerived, kRatio},
    MetricInfo{"precision", "fraction", "yields_to_awaited / yields_while_waiting",
               kHigher, !kGating, kHeadline, kDerived, kDifference},
    MetricInfo{"pause_exits", "count", "PAUSE exits of the guest, calls of kvm_vcpu_on_spin()",
               kLower, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pauses", "count", "PAUSE instructions the guest executed while waiting",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"ipis", "count", "IPIs the guest sent, one for each receiver",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"receivers_spared", "count", "idle receivers of a shootdown that were sent no IPI",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"timer_ticks", "count", "local timer interrupts the guest took",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"yields_tried", "count", "calls of kvm_vcpu_yield_to() from a PAUSE exit",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"yields_made", "count", "yields tried that the scheduler carried out",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"yields_while_waiting", "count", "yields made by a vCPU that had published whom it awaits",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"yields_to_awaited", "count", "yields while waiting that hit an awaited vCPU",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
};
// clang-format on

struct Quotient {
  std::string_view metric, numerator, denominator;
};

constexpr std::array kQuotients = {
    Quotient{"pause_exits_per_shootdown", "pause_exits", "shootdowns"},
    Quotient{"precision", "yields_to_awaited", "yields_while_waiting"},
};

std::optional<double> count(std::string_view name, const Counts& counts) {
  const auto it = counts.find(name);
  if (it == counts.end()) return std::nullopt;
  return static_cast<double>(it->second);
}

}  // namespace

std::span<const MetricInfo> metrics() {
  return kMetrics;
}

const MetricInfo* find_metric(std::string_view name) {
  const auto it = std::ranges::find(kMetrics, name, &MetricInfo::name);
  return it == kMetrics.end() ? nullptr : &*it;
}

std::optional<double> metric_value(const MetricInfo& metric, const Counts& counts) {
  if (metric.source == kCount) return count(metric.name, counts);
  const auto quotient = std::ranges::find(kQuotients, metric.name, &Quotient::metric);
  if (quotient == kQuotients.end()) return std::nullopt;
  const auto numerator = count(quotient->numerator, counts);
  const auto denominator = count(quotient->denominator, counts);
  if (!numerator || !denominator || *denominator == 0) return std::nullopt;
  return *numerator / *denominator;
}

}  // namespace dyield
