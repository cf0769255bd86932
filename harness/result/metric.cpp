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
    MetricInfo{"work_vm_all", "units", "work_vm_compute + work_vm_spin",
               kHigher, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"work", "units", "other guest work done in ring 3",
               kHigher, kGating, kHeadline, kCount, kRatio},
    MetricInfo{"evenness", "fraction", "work_least / work: 1 if all vCPUs get on alike, 0 if one does not at all",
               kHigher, !kGating, kHeadline, kDerived, kDifference},
    MetricInfo{"work_least", "units", "work of the vCPU that did least, times the vCPUs",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pause_exits_per_shootdown", "exits/shootdown", "pause_exits / shootdowns",
               kLower, !kGating, kHeadline, kDerived, kRatio},
    MetricInfo{"precision", "fraction", "yields_to_awaited / yields_while_waiting",
               kHigher, !kGating, kHeadline, kDerived, kDifference},
    MetricInfo{"recall", "fraction", "starved_to_awaited / pause_exits_starved",
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
    MetricInfo{"yields_needless", "count", "yields made by a waiting vCPU while no vCPU it awaited waited for a CPU",
               kLower, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pause_exits_waiting", "count", "PAUSE exits of a vCPU that had published whom it awaits",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pause_exits_nothing_to_gain", "count", "of pause_exits_waiting: no awaited vCPU waited for a CPU, so holding is right",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pause_exits_starved", "count", "of pause_exits_waiting: an awaited vCPU was runnable, but not running",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"starved_to_awaited", "count", "of pause_exits_starved: led to a yield to an awaited vCPU",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pause_exits_wasted", "count", "pause_exits_starved - starved_to_awaited",
               kLower, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"wasted_exits_per_shootdown", "exits/shootdown", "pause_exits_wasted / shootdowns",
               kLower, !kGating, !kHeadline, kDerived, kRatio},
    MetricInfo{"ipis_awaited", "count", "IPIs to a vCPU that the sender awaits, by KVM's tracepoint",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"ipis_to_waiting", "count", "of ipis_awaited: the receiver was not running",
               kLower, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"receiver_delays", "count", "receivers without a CPU at an awaited IPI that got one",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"receiver_delay_ns", "ns", "time from these IPIs until their receivers were running, sum",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"receiver_delay", "ns", "receiver_delay_ns / receiver_delays",
               kLower, !kGating, !kHeadline, kDerived, kRatio},
    // Of the guest's own clock. It keeps powers of two: each is taken as the middle of its bucket.
    MetricInfo{"handler_delays", "count", "IPIs whose receiver's handler was entered, by the guest",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"handler_delay_ns", "ns", "time from these IPIs until the receiver's handler, sum, from powers of two",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"handler_delay", "ns", "handler_delay_ns / handler_delays",
               kLower, !kGating, !kHeadline, kDerived, kRatio},
    MetricInfo{"release_delays", "count", "waits of a sender for all that it sent to, ended, by the guest",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"release_delay_ns", "ns", "time from an IPI until its sender's wait ended, sum, from powers of two",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"release_delay", "ns", "release_delay_ns / release_delays",
               kLower, !kGating, !kHeadline, kDerived, kRatio},
    MetricInfo{"run_queue_delays", "count", "times that a vCPU got a CPU after preemption or wake-up",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"run_queue_delay_ns", "ns", "time that vCPUs waited for a CPU until they got it, sum",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"run_queue_delay", "ns", "run_queue_delay_ns / run_queue_delays",
               kNeither, !kGating, !kHeadline, kDerived, kRatio},
    // By perf, with --audit, where the machine has a PMU; the first two by the probes.
    MetricInfo{"context_switches", "switches", "times that a vCPU got a CPU",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"cpu_migrations", "migrations", "of these, on another CPU than before",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"guest_cycles", "cycles", "cycles of the vCPU threads in the guest, with --audit",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"guest_instructions", "instructions", "instructions of the vCPU threads in the guest, with --audit",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"host_cycles", "cycles", "cycles of the vCPU threads outside the guest, with --audit",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"host_instructions", "instructions", "instructions of the vCPU threads outside the guest, with --audit",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"yield_delays", "count", "vCPUs without a CPU that got one after they had been yielded to, with --audit",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"yield_delay_ns", "ns", "time from the first of these yields until its target was running, sum",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"yield_delay", "ns", "yield_delay_ns / yield_delays",
               kNeither, !kGating, !kHeadline, kDerived, kRatio},
    MetricInfo{"yields_followed", "count", "of yield_delays: below 32.768 us, i.e. the scheduler took it next",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"following", "fraction", "yields_followed / yield_delays",
               kNeither, !kGating, !kHeadline, kDerived, kDifference},
    // By tier: why KVM chose the vCPU, where KVM says so (the series' tracepoint).
    MetricInfo{"receiver_while_waiting", "count", "of yields_while_waiting: KVM's reason was 'receiver', has yet to serve an IPI of the spinner",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"receiver_to_awaited", "count", "of receiver_while_waiting: hit an awaited vCPU",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"receiver_starved_to_awaited", "count", "of starved_to_awaited: KVM's reason was 'receiver'",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"receiver_precision", "fraction", "receiver_to_awaited / receiver_while_waiting",
               kHigher, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"receiver_recall", "fraction", "receiver_starved_to_awaited / pause_exits_starved",
               kNeither, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"pending_while_waiting", "count", "of yields_while_waiting: KVM's reason was 'pending', has some interrupt pending",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pending_to_awaited", "count", "of pending_while_waiting: hit an awaited vCPU",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pending_starved_to_awaited", "count", "of starved_to_awaited: KVM's reason was 'pending'",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"pending_precision", "fraction", "pending_to_awaited / pending_while_waiting",
               kHigher, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"pending_recall", "fraction", "pending_starved_to_awaited / pause_exits_starved",
               kNeither, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"kernel_while_waiting", "count", "of yields_while_waiting: KVM's reason was 'kernel', was preempted in kernel mode",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"kernel_to_awaited", "count", "of kernel_while_waiting: hit an awaited vCPU",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"kernel_starved_to_awaited", "count", "of starved_to_awaited: KVM's reason was 'kernel'",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"kernel_precision", "fraction", "kernel_to_awaited / kernel_while_waiting",
               kHigher, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"kernel_recall", "fraction", "kernel_starved_to_awaited / pause_exits_starved",
               kNeither, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"ready_while_waiting", "count", "of yields_while_waiting: KVM's reason was 'ready': the target had been woken and was not yet on a CPU, or no other test was asked for",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"ready_to_awaited", "count", "of ready_while_waiting: hit an awaited vCPU",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"ready_starved_to_awaited", "count", "of starved_to_awaited: KVM's reason was 'ready'",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"ready_precision", "fraction", "ready_to_awaited / ready_while_waiting",
               kHigher, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"ready_recall", "fraction", "ready_starved_to_awaited / pause_exits_starved",
               kNeither, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"relaxed_while_waiting", "count", "of yields_while_waiting: KVM's reason was 'relaxed': the target had been refused, and nobody else could be yielded to",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"relaxed_to_awaited", "count", "of relaxed_while_waiting: hit an awaited vCPU",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"relaxed_starved_to_awaited", "count", "of starved_to_awaited: KVM's reason was 'relaxed'",
               kNeither, !kGating, !kHeadline, kCount, kRatio},
    MetricInfo{"relaxed_precision", "fraction", "relaxed_to_awaited / relaxed_while_waiting",
               kHigher, !kGating, !kHeadline, kDerived, kDifference},
    MetricInfo{"relaxed_recall", "fraction", "relaxed_starved_to_awaited / pause_exits_starved",
               kNeither, !kGating, !kHeadline, kDerived, kDifference},
};
// clang-format on

struct Quotient {
  std::string_view metric, numerator, denominator;
};

constexpr std::array kQuotients = {
    Quotient{"evenness", "work_least", "work"},
    Quotient{"pause_exits_per_shootdown", "pause_exits", "shootdowns"},
    Quotient{"precision", "yields_to_awaited", "yields_while_waiting"},
    Quotient{"recall", "starved_to_awaited", "pause_exits_starved"},
    Quotient{"wasted_exits_per_shootdown", "pause_exits_wasted", "shootdowns"},
    Quotient{"receiver_delay", "receiver_delay_ns", "receiver_delays"},
    Quotient{"handler_delay", "handler_delay_ns", "handler_delays"},
    Quotient{"release_delay", "release_delay_ns", "release_delays"},
    Quotient{"run_queue_delay", "run_queue_delay_ns", "run_queue_delays"},
    Quotient{"yield_delay", "yield_delay_ns", "yield_delays"},
    Quotient{"following", "yields_followed", "yield_delays"},
    Quotient{"receiver_precision", "receiver_to_awaited", "receiver_while_waiting"},
    Quotient{"receiver_recall", "receiver_starved_to_awaited", "pause_exits_starved"},
    Quotient{"pending_precision", "pending_to_awaited", "pending_while_waiting"},
    Quotient{"pending_recall", "pending_starved_to_awaited", "pause_exits_starved"},
    Quotient{"kernel_precision", "kernel_to_awaited", "kernel_while_waiting"},
    Quotient{"kernel_recall", "kernel_starved_to_awaited", "pause_exits_starved"},
    Quotient{"ready_precision", "ready_to_awaited", "ready_while_waiting"},
    Quotient{"ready_recall", "ready_starved_to_awaited", "pause_exits_starved"},
    Quotient{"relaxed_precision", "relaxed_to_awaited", "relaxed_while_waiting"},
    Quotient{"relaxed_recall", "relaxed_starved_to_awaited", "pause_exits_starved"},
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
