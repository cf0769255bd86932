// SPDX-License-Identifier: GPL-2.0-only
#include "watch/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/printable.h"

namespace dyield {
namespace {

// At most 6 characters.
std::string number(double value) {
  if (value < 9.95) return fmt::format("{:.1f}", value);
  if (value < 99999.5) return fmt::format("{:.0f}", value);
  if (value < 9999.5e3) return fmt::format("{:.0f}k", value / 1e3);
  return fmt::format("{:.0f}M", value / 1e6);
}

// At most 4 characters.
std::string percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return "-";
  return fmt::format("{:.0f}", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

// A bucket's upper edge, at most 6 characters.
std::string delay(const dyield_histogram& histogram) {
  const auto ns = static_cast<double>(quantile(histogram, 0.99));
  if (ns == 0) return "-";
  if (ns < 1e3) return fmt::format("{:.0f}ns", ns);
  if (ns < 1e6) return fmt::format("{:.0f}us", ns / 1e3);
  if (ns < 1e9) return fmt::format("{:.0f}ms", ns / 1e6);
  return fmt::format("{:.0f}s", ns / 1e9);
}

constexpr const char* kHead =
    "         PAUSE/s yield/s  hit known none  rcv  pnd  krn  rdy  rlx runq99 recv99";

std::string row(const std::string& name, const WatchInterval& interval,
                const dyield_watch_counts& n) {
  const auto judged = n.verdicts[DYIELD_HIT] + n.verdicts[DYIELD_MISS];
  const auto rate = [&](std::uint64_t count) {
    return number(static_cast<double>(count) / std::max(interval.seconds, 1e-9));
  };
  const auto tier = [&](std::uint32_t reason, std::uint64_t dyield_tier::*field,
                        std::uint64_t whole) {
    if (!has_tier(interval, reason)) return std::string("n/a");
    return percent(n.tier[reason].*field, whole);
  };
  return fmt::format(
      " {:<8}{:>7} {:>7} {:>4} {:>5} {:>4} {:>4} {:>4} {:>4} {:>4} {:>4} {:>6} {:>6}", name,
      rate(n.pause_exits), rate(n.yields_made), percent(n.verdicts[DYIELD_HIT], judged),
      percent(judged, n.yields_made), tier(DYIELD_REASON_NONE, &dyield_tier::tried, n.pause_exits),
      tier(DYIELD_REASON_RECEIVER, &dyield_tier::made, n.yields_made),
      tier(DYIELD_REASON_PENDING, &dyield_tier::made, n.yields_made),
      tier(DYIELD_REASON_KERNEL, &dyield_tier::made, n.yields_made),
      tier(DYIELD_REASON_READY, &dyield_tier::made, n.yields_made),
      tier(DYIELD_REASON_RELAXED, &dyield_tier::made, n.yields_made), delay(n.run_queue),
      delay(n.receiver));
}

}  // namespace

std::string render(const WatchInterval& interval, const ViewOptions& options) {
  constexpr const char *kBold = "\x1b[1m", *kRed = "\x1b[31m", *kPlain = "\x1b[0m";
  const std::size_t rows =
      options.height == 0 ? SIZE_MAX : std::max<std::size_t>(options.height, 4);
  std::vector<std::string> lines;
  std::vector<const WatchedVm*> vms;
  for (const WatchedVm& vm : interval.vms) vms.push_back(&vm);
  std::ranges::stable_sort(vms, std::greater<>(),
                           [](const WatchedVm* vm) { return vm->total.pause_exits; });
  for (const WatchedVm* vm : vms) {
    lines.push_back(fmt::format("{} {}{}, {} vCPUs", vm->pid, printable_name(vm->command),
                                vm->index > 0 ? fmt::format(", VM {}", vm->index) : "",
                                vm->vcpus.size()));
    lines.push_back(row("all", interval, vm->total));
    for (const WatchedVcpu& vcpu : vm->vcpus) {
      lines.push_back(row(fmt::format("vcpu {}", vcpu.id), interval, vcpu.counts));
    }
  }
  if (!interval.probes.empty()) {
    std::uint64_t ns = 0;
    for (const auto& [name, cost] : interval.probes) ns += cost.second;
    lines.push_back(
        fmt::format("the probes took {:.3f} % of one CPU",
                    static_cast<double>(ns) / (interval.seconds + interval.rest) / 1e7));
  }
  if (vms.empty()) lines.emplace_back("no vCPU has run yet");
  if (lines.size() + 2 > rows) {
    const std::size_t hidden = lines.size() + 3 - rows;
    lines.resize(rows - 3);
    lines.push_back(fmt::format("... {} lines more; --json has all", hidden));
  }

  unsigned long long unreadable = 0;
  for (const WatchedVm& vm : interval.vms) unreadable += vm.total.unreadable;
  const std::string state =
      fmt::format("{:.1f} {}; VMs {}; tiers by {}; lost {}{}", interval.at,
                  interval.emulated ? "virtual s" : "s", interval.vms.size(),
                  interval.has_reasons ? "tracepoint" : "state", interval.lost + unreadable,
                  interval.rests > 0 ? fmt::format("; rests {}", interval.rests) : "");
  const auto put = [&](const std::string& line, const char* style) {
    const std::string cut = line.substr(0, options.width);
    return options.color && *style != '\0' ? style + cut + kPlain + "\n" : cut + "\n";
  };
  std::string text = put(state, interval.lost + unreadable > 0 ? kRed : "");
  text += put(kHead, kBold);
  for (const std::string& line : lines) text += put(line, "");
  return text;
}

}  // namespace dyield
