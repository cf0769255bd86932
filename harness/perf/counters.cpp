// SPDX-License-Identifier: GPL-2.0-only
#include "perf/counters.h"

#include <fmt/format.h>
#include <linux/perf_event.h>

// libperf's headers do not know C++.
extern "C" {
#include <perf/evsel.h>
#include <perf/threadmap.h>
}

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>

#include "base/error.h"

namespace dyield {
namespace {

using Where = PerfEvent::Where;

constexpr std::array kThreadEvents = {
    PerfEvent{"guest_cycles", "cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES,
              Where::kGuest},
    PerfEvent{"guest_instructions", "instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS,
              Where::kGuest},
    PerfEvent{"host_cycles", "cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, Where::kHost},
    PerfEvent{"host_instructions", "instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS,
              Where::kHost},
};

constexpr std::array kKvmEvents = {
    PerfEvent{"kvm_entry", "events", PERF_TYPE_TRACEPOINT, 0, Where::kEverywhere, "kvm/kvm_entry"},
    PerfEvent{"kvm_exit", "events", PERF_TYPE_TRACEPOINT, 0, Where::kEverywhere, "kvm/kvm_exit"},
    PerfEvent{"kvm_userspace_exit", "events", PERF_TYPE_TRACEPOINT, 0, Where::kEverywhere,
              "kvm/kvm_userspace_exit"},
};

// The number by which perf knows a tracepoint, or why there is none.
std::optional<std::uint64_t> tracepoint_id(std::string_view tracepoint, std::string& why) {
  for (const char* tracefs : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    std::ifstream file(fmt::format("{}/events/{}/id", tracefs, tracepoint));
    std::uint64_t id = 0;
    if (file >> id) return id;
  }
  why = fmt::format(
      "no tracepoint {} can be read in tracefs; load kvm, and mount tracefs on /sys/kernel/tracing "
      "as root",
      tracepoint);
  return std::nullopt;
}

std::string open_failure(const PerfEvent& event, int error) {
  std::string hint;
  switch (error) {
    case ENOENT:
    case ENODEV:
    case EOPNOTSUPP:
      if (event.type == PERF_TYPE_HARDWARE) {
        hint = "this machine has no PMU that perf can use and that tells guest from host";
      } else {
        hint = "this kernel does not have the event";
      }
      break;
    case EACCES:
    case EPERM:
      hint =
          "run as root or with CAP_PERFMON, or lower kernel.perf_event_paranoid; a container's "
          "seccomp filter refuses it, too";
      break;
    case ENOSYS:
      hint = "this kernel was built without CONFIG_PERF_EVENTS";
      break;
    case EMFILE:
    case ENFILE:
      hint = "raise the limit of open files (ulimit -n)";
      break;
    default:
      hint = "see perf_event_open(2)";
  }
  return fmt::format("perf_event_open: {}; {}", errno_text(error), hint);
}

}  // namespace

std::span<const PerfEvent> thread_events() {
  return kThreadEvents;
}

std::span<const PerfEvent> kvm_events() {
  return kKvmEvents;
}

void PerfCounters::Deleter::operator()(perf_evsel* event) const {
  perf_evsel__close(event);
  perf_evsel__delete(event);
}

void PerfCounters::Deleter::operator()(perf_thread_map* map) const {
  perf_thread_map__put(map);
}

PerfCounters::PerfCounters(std::span<const PerfEvent> events, std::vector<pid_t> threads,
                           std::uint64_t descriptors)
    : threads_(std::move(threads)),
      map_(perf_thread_map__new_array(static_cast<int>(threads_.size()), threads_.data())) {
  for (const PerfEvent& event : events) {
    Counter& counter = counters_.emplace_back(Counter{event, nullptr, ""});
    if (descriptors < threads_.size()) {
      counter.absent = fmt::format(
          "it needs {} open files and {} are left; raise the limit of open files (ulimit -n)",
          threads_.size(), descriptors);
      continue;
    }
    perf_event_attr attr{};
    attr.size = sizeof attr;
    attr.type = event.type;
    attr.config = event.config;
    attr.disabled = 1;
    attr.exclude_host = event.where == Where::kGuest;
    attr.exclude_guest = event.where == Where::kHost;
    attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
    if (event.type == PERF_TYPE_TRACEPOINT) {
      const auto id = tracepoint_id(event.tracepoint, counter.absent);
      if (!id) continue;
      attr.config = *id;
    }
    // Owned at once; closing what never opened does nothing.
    std::unique_ptr<perf_evsel, Deleter> evsel(perf_evsel__new(&attr));
    const int result = evsel && map_ ? perf_evsel__open(evsel.get(), nullptr, map_.get()) : -ENOMEM;
    if (result < 0) {
      counter.absent = open_failure(event, -result);
      continue;
    }
    counter.evsel = std::move(evsel);
    descriptors -= threads_.size();
  }
}

PerfCounters::~PerfCounters() = default;

std::uint64_t PerfCounters::open_files() const {
  const auto open = std::ranges::count_if(
      counters_, [](const Counter& counter) { return counter.evsel != nullptr; });
  return static_cast<std::uint64_t>(open) * threads_.size();
}

void PerfCounters::start() {
  for (Counter& counter : counters_) {
    const int result = counter.evsel ? perf_evsel__enable(counter.evsel.get()) : 0;
    if (result == 0) continue;
    counter.absent = fmt::format("it could not be started: {}", errno_text(errno));
    counter.evsel.reset();
  }
}

void PerfCounters::stop() {
  for (Counter& counter : counters_) {
    if (counter.evsel) perf_evsel__disable(counter.evsel.get());
  }
}

std::vector<PerfCount> PerfCounters::read() const {
  std::vector<PerfCount> counts;
  for (const Counter& counter : counters_) {
    PerfCount& count =
        counts.emplace_back(PerfCount{counter.event.name, counter.event.unit, {}, counter.absent});
    if (!counter.evsel) continue;
    std::uint64_t value = 0, enabled = 0, running = 0;
    for (int thread = 0; thread < static_cast<int>(threads_.size()); thread++) {
      perf_counts_values values{};
      const int result = perf_evsel__read(counter.evsel.get(), 0, thread, &values);
      if (result < 0) {
        count.absent = fmt::format("it could not be read: {}", errno_text(-result));
        break;
      }
      enabled += values.ena;
      running += values.run;
      std::int8_t scaled = 0;
      perf_counts_values__scale(&values, true, &scaled);
      value += values.val;
    }
    if (!count.absent.empty()) continue;
    if (running == 0 && enabled > 0) {
      count.absent = "the PMU was busy with other events all the time";
      continue;
    }
    count.value = value;
    if (enabled > 0)
      count.share_counted = static_cast<double>(running) / static_cast<double>(enabled);
  }
  return counts;
}

}  // namespace dyield
