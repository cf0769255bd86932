// SPDX-License-Identifier: GPL-2.0-only
#include "engine/guest_counts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "base/printable.h"
#include "engine/guest_memory.h"
#include "kvm/workload.h"

namespace dyield {
namespace {

using Field = dyield_u64 (dyield_vcpu::*)[DYIELD_PHASES];

struct GuestCount {
  const char* metric;  // name among the run's counts; nullptr: in the detail only
  const char* detail;
  Field field;
  unsigned needs;           // one of these bits of enum dyield_does, or none at all
  bool linux_guest = true;  // can a Linux guest's program know it?
};

constexpr unsigned kSends =
    DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_CALLS | DYIELD_DOES_WAKES | DYIELD_DOES_KICKS;
constexpr unsigned kSpins = DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_CALLS | DYIELD_DOES_LOCKS |
                            DYIELD_DOES_HARM | DYIELD_DOES_PAUSES;

constexpr std::array kCounts = {
    GuestCount{"shootdowns", "shootdowns", &dyield_vcpu::shootdowns, DYIELD_DOES_SHOOTDOWNS},
    GuestCount{"calls", "calls", &dyield_vcpu::calls, DYIELD_DOES_CALLS},
    GuestCount{"lock_acquisitions", "lock_acquisitions", &dyield_vcpu::acquisitions,
               DYIELD_DOES_LOCKS},
    GuestCount{"wakes", "wakes", &dyield_vcpu::wakes, DYIELD_DOES_WAKES},
    GuestCount{"work", "work", &dyield_vcpu::work, 0},
    GuestCount{"ipis", "ipis_sent", &dyield_vcpu::ipis_sent, kSends, false},
    GuestCount{nullptr, "flushes", &dyield_vcpu::flushes, DYIELD_DOES_SHOOTDOWNS},
    GuestCount{nullptr, "checks", &dyield_vcpu::checks, DYIELD_DOES_SHOOTDOWNS},
    GuestCount{nullptr, "calls_run", &dyield_vcpu::calls_run, DYIELD_DOES_CALLS},
    GuestCount{"receivers_spared", "receivers_spared", &dyield_vcpu::lazy_skips, DYIELD_DOES_LAZY},
    GuestCount{"timer_ticks", "timer_ticks", &dyield_vcpu::ticks, DYIELD_DOES_TICKS},
    GuestCount{nullptr, "harm", &dyield_vcpu::harm, DYIELD_DOES_HARM},
    GuestCount{"pauses", "pauses", &dyield_vcpu::pauses, kSpins, false},
};

bool applies(const GuestCount& count, const WorkloadInfo& workload) {
  return (count.needs == 0 || (count.needs & workload.does) != 0) &&
         (count.linux_guest || !workload.linux_guest());
}

// Of one guest.
using Vcpus = std::span<const dyield_vcpu>;

std::uint64_t whole_run(Vcpus vcpus, Field field) {
  std::uint64_t sum = 0;
  for (const dyield_vcpu& vcpu : vcpus) {
    sum = std::accumulate(std::begin(vcpu.*field), std::end(vcpu.*field), sum);
  }
  return sum;
}

using Histogram = std::array<std::uint64_t, DYIELD_LATENCY_BUCKETS>;

Histogram latency(std::span<const Vcpus> guests, dyield_latency which) {
  Histogram buckets{};
  for (const Vcpus& vcpus : guests) {
    for (const dyield_vcpu& vcpu : vcpus) {
      for (std::size_t i = 0; i < buckets.size(); i++) buckets[i] += vcpu.latency[which][i];
    }
  }
  return buckets;
}

// Without the empty buckets at the end.
Json used(const Histogram& buckets) {
  const auto end = std::find_if(buckets.rbegin(), buckets.rend(), [](auto n) { return n != 0; });
  return std::vector<std::uint64_t>(buckets.begin(), end.base());
}

// Their number, and their sum as if each were in the middle of its bucket: the guest keeps no
// sum, for its loop is what is measured.
void count_latencies(Run& run, const std::string& name, const Histogram& buckets,
                     std::uint32_t tsc_khz) {
  double ticks = 0;
  for (std::size_t i = 1; i < buckets.size(); i++) {
    ticks += 0.75 * std::ldexp(static_cast<double>(buckets[i]), static_cast<int>(i));
  }
  // A guest can write what it likes there.
  constexpr double kMost = 1e18;
  run.counts[name + "s"] = std::accumulate(buckets.begin(), buckets.end(), std::uint64_t{0});
  run.counts[name + "_ns"] =
      static_cast<std::uint64_t>(std::llround(std::min(kMost, ticks * 1e6 / tsc_khz)));
}

// A complete run's contradiction, or nothing.
std::string contradiction(Vcpus vcpus, const WorkloadInfo& workload) {
  const unsigned does = workload.does;
  if (workload.linux_guest() && !workload.has_module()) {
    // By the guest kernel's own account (/proc/interrupts).
    const auto work =
        whole_run(vcpus, &dyield_vcpu::shootdowns) + whole_run(vcpus, &dyield_vcpu::calls);
    const auto answered =
        whole_run(vcpus, &dyield_vcpu::flushes) + whole_run(vcpus, &dyield_vcpu::calls_run);
    if (work > 0 && answered == 0) {
      return fmt::format("{} operations were done, and no vCPU of the guest took an IPI for them",
                         work);
    }
    return "";
  }
  const auto sent = whole_run(vcpus, &dyield_vcpu::ipis_sent);
  const auto flushes = whole_run(vcpus, &dyield_vcpu::flushes);
  // Every receiver of every shootdown clears one bit, once.
  if ((does & kSends) == DYIELD_DOES_SHOOTDOWNS && sent != flushes) {
    return fmt::format("{} IPIs were sent and {} flushes acknowledged", sent, flushes);
  }
  const auto calls = whole_run(vcpus, &dyield_vcpu::calls);
  const auto run = whole_run(vcpus, &dyield_vcpu::calls_run);
  if (calls != run) return fmt::format("{} calls were made and {} run", calls, run);
  return "";
}

}  // namespace

void collect_guests(Run& run, std::span<const dyield_shared* const> guests, std::uint32_t tsc_khz,
                    const RunConfig& config) {
  const WorkloadInfo& info = workload_info(config.workload);
  std::uint64_t early = 0;
  std::vector<std::uint64_t> work;  // of each vCPU of all VMs
  Json vm_list = Json::array(), whole = {{"ipis_sent", 0}, {"flushes", 0}};
  std::vector<Vcpus> all;
  for (const dyield_shared* shared : guests) {
    const WorkloadInfo& own = workload_info(info.of_vm(all.size()));
    const Vcpus& vcpus = all.emplace_back(shared->vcpu, config.vcpus);
    Json vcpu_list = Json::array(), totals = {{"workload", own.name}};
    for (const dyield_vcpu& vcpu : vcpus) {
      Json counts = Json::object();
      for (const GuestCount& count : kCounts) {
        if (!applies(count, own)) continue;
        const std::uint64_t value = (vcpu.*count.field)[DYIELD_PHASE_MEASURE];
        counts[count.detail] = value;
        totals[count.detail] = totals.value(count.detail, std::uint64_t{0}) + value;
        if (count.metric) run.counts[count.metric] += value;
      }
      early += vcpu.answered_early;
      work.push_back(vcpu.work[DYIELD_PHASE_MEASURE]);
      vcpu_list.push_back(std::move(counts));
    }
    if (info.has_neighbours()) {
      run.counts[own.id == info.id ? "work_vm_spin" : "work_vm_compute"] +=
          totals["work"].get<std::uint64_t>();
    }
    for (const GuestCount& count : kCounts) {
      if (!applies(count, own)) continue;
      whole[count.detail] =
          whole.value(count.detail, std::uint64_t{0}) + whole_run(vcpus, count.field);
    }
    if (const std::string what = contradiction(vcpus, own);
        run.status == RunStatus::kComplete && !what.empty()) {
      run.status = RunStatus::kFailed;
      run.reason = what;
    }
    totals["vcpus"] = std::move(vcpu_list);
    vm_list.push_back(std::move(totals));
  }
  // Who does another thing than the others gets on at another pace: vCPU 0 of
  // unicast, for one.
  // What a VM gets by spinning or attacking is not to be held against its neighbour.
  if (info.has_neighbours()) {
    auto of_all = run.counts.extract("work");
    of_all.key() = "work_vm_all";
    run.counts.insert(std::move(of_all));
  }
  if ((info.does & DYIELD_DOES_ALIKE) != 0 && !work.empty()) {
    run.counts["work_least"] = std::ranges::min(work) * work.size();
  }
  run.detail["vms"] = std::move(vm_list);
  run.detail["whole_run"] = std::move(whole);
  if ((info.does & kSends) == 0 || info.linux_guest()) return;
  const Histogram to_handler = latency(all, DYIELD_LATENCY_HANDLER);
  const Histogram to_release = latency(all, DYIELD_LATENCY_RELEASE);
  if (tsc_khz != 0 && (info.does & (DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_CALLS)) != 0) {
    count_latencies(run, "handler_delay", to_handler, tsc_khz);
    count_latencies(run, "release_delay", to_release, tsc_khz);
  }
  const auto is_full = [](const dyield_vcpu& vcpu) {
    return std::ranges::any_of(vcpu.latency, [](const auto& buckets) {
      return std::ranges::find(buckets, ~dyield_u32{0}) != std::end(buckets);
    });
  };
  if (std::ranges::any_of(all,
                          [&](const Vcpus& vcpus) { return std::ranges::any_of(vcpus, is_full); }))
    run.notes.emplace_back(
        "a bucket of the delays is full, so they are wrong: measure for less long");
  run.detail["latency"] = {
      {"unit", "ticks of the guest's TSC"},
      {"tsc_khz", tsc_khz},
      {"buckets", "0: zero; i: 2^(i-1) to 2^i - 1; bucket 47: all above"},
      {"ipi_to_handler", used(to_handler)},
      {"ipi_to_release", used(to_release)},
      {"answered_by_a_handler_entered_before", early},
  };
}

std::string describe(const dyield_error& error) {
  const std::uint32_t code = load(error.code);
  switch (code) {
    case DYIELD_ERROR_STALE_TRANSLATION:
      return fmt::format(
          "vCPU {} read a freed page through window {}: it found {:#x} after generation {}, so a "
          "TLB entry outlived its shootdown",
          error.vcpu, error.detail[0], error.detail[1], error.detail[2]);
    case DYIELD_ERROR_EXCEPTION:
      return fmt::format("vCPU {} took exception {} at RIP {:#x}, error code {:#x}, CR2 {:#x}",
                         error.vcpu, error.detail[0], error.detail[1], error.detail[2],
                         error.detail[3]);
    case DYIELD_ERROR_ABI:
      return fmt::format(
          "the payload was built for another layout: it found magic {:#x}, version "
          "{}; build both again",
          error.detail[0], error.detail[1]);
    case DYIELD_ERROR_PROGRAM: {
      std::string text = printable_lines({error.text, strnlen(error.text, sizeof error.text)});
      std::ranges::replace(text, '\n', ' ');
      return "the guest's program ended: " + text;
    }
    case DYIELD_ERROR_APIC_ID:
      return fmt::format("vCPU {} has APIC ID {} instead of {}", error.vcpu, error.detail[1],
                         error.detail[0]);
    case DYIELD_ERROR_SEND:
      return fmt::format("vCPU {} sent an IPI to {} vCPUs that went to {:d} instead", error.vcpu,
                         error.detail[0], static_cast<std::int64_t>(error.detail[1]));
    case DYIELD_ERROR_CALL:
      return fmt::format("vCPU {} called vCPU {} {} times, and {} calls ran", error.vcpu,
                         error.detail[0], error.detail[1], error.detail[2]);
    case DYIELD_ERROR_LOCK:
      return fmt::format(
          "the lock was taken {} times, but the counter it protects is {}: it did "
          "not exclude",
          error.detail[1], error.detail[0]);
    case DYIELD_ERROR_TURN:
      return fmt::format("vCPU {} expected turn {} from its partner vCPU {} and found turn {}",
                         error.vcpu, error.detail[1], error.detail[0], error.detail[2]);
    default:
      return fmt::format("vCPU {} reported the unknown error {}", error.vcpu, code);
  }
}

}  // namespace dyield
