// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct perf_evsel;
struct perf_thread_map;

namespace dyield {

// An event that perf_event_open(2) can count in a thread.
struct PerfEvent {
  enum class Where { kEverywhere, kGuest, kHost };
  std::string_view name, unit;
  std::uint32_t type;             // PERF_TYPE_*
  std::uint64_t config;           // PERF_COUNT_*; found by name for a tracepoint
  Where where;                    // guest only and host only need a PMU
  std::string_view tracepoint{};  // "system/name", for PERF_TYPE_TRACEPOINT
};

// Cycles and instructions of guest and of host. As any counter of a thread, they cost at each
// context switch.
std::span<const PerfEvent> thread_events();
// What kvm's tracepoints see. Each costs instructions at every exit of a guest.
std::span<const PerfEvent> kvm_events();

// The count of one event over all threads. Either there is a value, or `absent`
// says why not: a zero is a zero that was counted.
struct PerfCount {
  std::string_view name, unit;
  std::optional<std::uint64_t> value;
  std::string absent;
  // Below 1 if the PMU was shared: the value is then scaled up by perf's rule.
  double share_counted = 1;
};

// Counters of threads, by libperf, one descriptor for each event and thread.
class PerfCounters {
 public:
  // Opens what this machine can count, not counting yet. An event that would
  // need more than what is left of `descriptors` is absent for that reason.
  // Throws nothing: what cannot be had is absent.
  PerfCounters(std::span<const PerfEvent> events, std::vector<pid_t> threads,
               std::uint64_t descriptors);
  ~PerfCounters();
  PerfCounters(const PerfCounters&) = delete;
  PerfCounters& operator=(const PerfCounters&) = delete;

  // Of the descriptors, how many are open.
  [[nodiscard]] std::uint64_t open_files() const;
  void start();
  void stop();
  // In the order of the events. While the threads live or after, until destruction.
  [[nodiscard]] std::vector<PerfCount> read() const;

 private:
  struct Deleter {
    void operator()(perf_evsel* event) const;
    void operator()(perf_thread_map* map) const;
  };
  struct Counter {
    PerfEvent event;
    std::unique_ptr<perf_evsel, Deleter> evsel;  // null if absent
    std::string absent;
  };
  std::vector<pid_t> threads_;
  std::unique_ptr<perf_thread_map, Deleter> map_;
  std::vector<Counter> counters_;
};

}  // namespace dyield
