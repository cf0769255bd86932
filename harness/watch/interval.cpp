// SPDX-License-Identifier: GPL-2.0-only
#include "watch/interval.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <iterator>
#include <numeric>

#include "base/read_file.h"

namespace dyield {
namespace {

using Array = std::array<std::uint64_t, sizeof(dyield_watch_counts) / sizeof(std::uint64_t)>;

template <class Operation>
dyield_watch_counts combine(const dyield_watch_counts& a, const dyield_watch_counts& b,
                            Operation operation) {
  auto left = std::bit_cast<Array>(a);
  const auto right = std::bit_cast<Array>(b);
  std::ranges::transform(left, right, left.begin(), operation);
  return std::bit_cast<dyield_watch_counts>(left);
}

nlohmann::ordered_json to_json(const dyield_histogram& histogram) {
  const auto begin = std::begin(histogram.bucket);
  auto end = std::end(histogram.bucket);
  while (end != begin && *(end - 1) == 0) --end;
  return {{"count", std::accumulate(begin, end, std::uint64_t{0})},
          {"sum_ns", std::uint64_t{histogram.sum}},
          {"log2_ns", std::vector<std::uint64_t>(begin, end)}};
}

nlohmann::ordered_json to_json(const WatchInterval& interval, const dyield_watch_counts& n) {
  nlohmann::ordered_json tiers = nlohmann::ordered_json::object();
  for (std::uint32_t i = 0; i < std::size(kTiers); i++) {
    if (!has_tier(interval, i)) continue;
    tiers[kTiers[i]] = {{"tried", std::uint64_t{n.tier[i].tried}},
                        {"made", std::uint64_t{n.tier[i].made}}};
  }
  return {{"pause_exits", std::uint64_t{n.pause_exits}},
          {"yields_tried", std::uint64_t{n.yields_tried}},
          {"yields_made", std::uint64_t{n.yields_made}},
          {"looked_at", std::uint64_t{n.looked_at}},
          {"hits", std::uint64_t{n.verdicts[DYIELD_HIT]}},
          {"misses", std::uint64_t{n.verdicts[DYIELD_MISS]}},
          {"not_judged", std::uint64_t{n.verdicts[DYIELD_UNKNOWN]}},
          {"tiers", std::move(tiers)},
          {"run_queue_delay", to_json(n.run_queue)},
          {"receiver_delay", to_json(n.receiver)},
          {"unreadable", std::uint64_t{n.unreadable}}};
}

}  // namespace

std::vector<WatchedVm> Intervals::next(const std::map<pid_t, dyield_watched>& reading) {
  std::map<std::pair<pid_t, std::uint32_t>, WatchedVm> vms;
  for (const auto& [tid, now] : reading) {
    const auto pid = static_cast<pid_t>(now.tgid);
    // The least that no VM of this process has: an earlier one may have gone.
    std::uint32_t fresh = 0;
    while (std::ranges::any_of(index_, [&](const auto& known) {
      return known.first.first == pid && known.second == fresh;
    })) {
      fresh++;
    }
    const std::uint32_t index = index_.try_emplace({pid, now.kvm}, fresh).first->second;
    WatchedVcpu vcpu{now.vcpu_id, tid, now.n};
    if (const auto old = before_.find(tid); old != before_.end() &&
                                            old->second.kvm_vcpu == now.kvm_vcpu &&
                                            old->second.begun == now.begun) {
      vcpu.counts = combine(now.n, old->second.n, std::minus<>());
    }
    if (!has_reasons_) {
      // Read while they change: the exit under way may have been counted only half.
      vcpu.counts.tier[DYIELD_REASON_NONE].tried =
          vcpu.counts.pause_exits - std::min(vcpu.counts.exits_tried, vcpu.counts.pause_exits);
    }
    WatchedVm& vm = vms[{pid, index}];
    vm.pid = pid;
    vm.index = index;
    vm.total = combine(vm.total, vcpu.counts, std::plus<>());
    vm.vcpus.push_back(vcpu);
  }
  before_ = reading;
  std::erase_if(index_, [&](const auto& known) {
    return std::ranges::none_of(
        reading, [&](const auto& entry) { return entry.second.kvm == known.first.second; });
  });
  std::erase_if(commands_, [&](const auto& known) {
    return std::ranges::none_of(vms, [&](const auto& vm) { return vm.first.first == known.first; });
  });
  std::vector<WatchedVm> result;
  for (auto& [key, vm] : vms) {
    std::ranges::sort(vm.vcpus, {}, &WatchedVcpu::id);
    std::string& command = commands_[vm.pid];
    if (const auto now = first_line(fmt::format("/proc/{}/comm", vm.pid)); !now.empty()) {
      command = now;
    }
    vm.command = command;
    result.push_back(std::move(vm));
  }
  return result;
}

std::uint64_t quantile(const dyield_histogram& histogram, double share) {
  const auto all =
      std::accumulate(std::begin(histogram.bucket), std::end(histogram.bucket), std::uint64_t{0});
  const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(all)));
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < DYIELD_BUCKETS && all > 0; i++) {
    below += histogram.bucket[i];
    if (below >= wanted) return std::uint64_t{2} << i;
  }
  return 0;
}

double load(const WatchInterval& interval) {
  constexpr double kOfYield = 3, kOfApic = 0.7;
  double exits = 0;
  for (const WatchedVm& vm : interval.vms) {
    exits += static_cast<double>(vm.total.pause_exits) +
             kOfYield * static_cast<double>(vm.total.yields_tried) +
             kOfApic * static_cast<double>(vm.total.looked_at);
  }
  return exits / std::max(interval.seconds, 1e-9);
}

bool has_tier(const WatchInterval& interval, std::uint32_t reason) {
  return interval.has_reasons ||
         (reason != DYIELD_REASON_HOLD && reason != DYIELD_REASON_RECEIVER &&
          reason != DYIELD_REASON_RELAXED && reason != DYIELD_REASON_UNKNOWN);
}

nlohmann::ordered_json to_json(const WatchInterval& interval) {
  nlohmann::ordered_json vms = nlohmann::ordered_json::array();
  for (const WatchedVm& vm : interval.vms) {
    nlohmann::ordered_json vcpus = nlohmann::ordered_json::array();
    for (const WatchedVcpu& vcpu : vm.vcpus) {
      vcpus.push_back({{"vcpu", vcpu.id}, {"tid", vcpu.tid}});
      vcpus.back().update(to_json(interval, vcpu.counts));
    }
    vms.push_back({{"pid", vm.pid},
                   {"command", vm.command},
                   {"vm", vm.index},
                   {"total", to_json(interval, vm.total)},
                   {"vcpus", std::move(vcpus)}});
  }
  nlohmann::ordered_json line = {{"schema", "dyield.watch/1"},
                                 {"at_s", interval.at},
                                 {"interval_s", interval.seconds},
                                 {"emulated", interval.emulated},
                                 {"tiers_by", interval.has_reasons ? "tracepoint" : "state"},
                                 {"lost", interval.lost},
                                 {"vms", std::move(vms)}};
  if (interval.rest > 0) line["rest_s"] = interval.rest;
  for (const auto& [name, cost] : interval.probes) {
    line["probes"][name] = {{"runs", cost.first}, {"ns", cost.second}};
  }
  return line;
}

}  // namespace dyield
