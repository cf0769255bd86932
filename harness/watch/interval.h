// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bpf/watch.h"

namespace dyield {

struct WatchedVcpu {
  std::uint32_t id = 0;  // KVM's vcpu_id
  pid_t tid = 0;
  dyield_watch_counts counts{};
};

struct WatchedVm {
  pid_t pid = 0;
  std::string command;      // the process's, as in /proc/PID/comm
  std::uint32_t index = 0;  // among the VMs of the process, as they were met
  dyield_watch_counts total{};
  std::vector<WatchedVcpu> vcpus;  // by ID
};

// What happened between two readings.
struct WatchInterval {
  double at = 0;             // seconds from the attach to its end
  double seconds = 0;        // its length
  double rest = 0;           // seconds before it in which nothing was watched
  std::uint64_t rests = 0;   // intervals behind it in which nothing will be
  bool has_reasons = false;  // see WatchProbes
  bool emulated = false;     // a lab's virtual time
  std::uint64_t lost = 0;    // events lost since the attach
  std::vector<WatchedVm> vms;
  // What the probes themselves took: runs and ns of each, if that is measured.
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> probes;
};

// Makes intervals of readings.
class Intervals {
 public:
  explicit Intervals(bool has_reasons) : has_reasons_(has_reasons) {}
  // The VMs, and what they have counted since the reading before. A thread whose counts begin
  // anew, because another vCPU runs in it, counts from there.
  [[nodiscard]] std::vector<WatchedVm> next(const std::map<pid_t, dyield_watched>& reading);

 private:
  bool has_reasons_;
  std::map<pid_t, dyield_watched> before_;
  std::map<pid_t, std::string> commands_;  // by process, also of one that has ended since
  std::map<std::pair<pid_t, std::uint64_t>, std::uint32_t> index_;  // by process and KVM's VM
};

// The edge, in ns, below which `share` of the values lie; 0 if there are none.
std::uint64_t quantile(const dyield_histogram& histogram, double share);

// What the probes had to do in it: PAUSE exits a second, a yield counting as three more, and each
// local APIC looked at to judge it as 0.7, which is about what they take
// (docs/RESULTS.md).
double load(const WatchInterval& interval);

// The tiers that this kernel can name: "receiver" is the series' own, "hold" the lab's.
bool has_tier(const WatchInterval& interval, std::uint32_t reason);
inline constexpr const char* kTiers[] = {
#define X(id, name) #name,
    DYIELD_REASONS(X)
#undef X
        "unknown"};

// One line of --json: watch/schema/watch-1.schema.json.
nlohmann::ordered_json to_json(const WatchInterval& interval);

}  // namespace dyield
