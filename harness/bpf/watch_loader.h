// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/mapping.h"
#include "bpf/watch.h"

struct watch_bpf;

namespace dyield {

// The BPF programs of watch.bpf.c, loaded and attached: they count what KVM does for the vCPUs
// of any process, until this object goes.
class WatchProbes {
 public:
  // The vCPUs of these processes; of all if there are none. `timed` has the kernel take the time
  // of every run of a BPF program (of others, too), which costs some itself. There is room for
  // so many vCPU threads. Throws Error (kEnvironment).
  WatchProbes(const std::vector<pid_t>& processes, bool timed, std::uint32_t threads);
  ~WatchProbes();
  WatchProbes(const WatchProbes&) = delete;
  WatchProbes& operator=(const WatchProbes&) = delete;

  // Takes the programs off what they are attached to, so that they cost nothing, and puts them
  // back. What is counted meanwhile is lost; waits for a CPU under way are forgotten. Neither
  // needs a privilege, nor does read(). attach() throws Error (kEnvironment).
  void detach();
  void attach();

  // By thread, the counts since the attach of every vCPU that has run since. Forgets threads
  // that have ended; their last counts are in this answer, for the last time.
  [[nodiscard]] std::map<pid_t, dyield_watched> read();

  // Whether the kernel says why it tried a vCPU (the series' tracepoint, found by BTF); else
  // the reason is concluded from the target's state, and "receiver" does not exist.
  [[nodiscard]] bool has_reasons() const { return has_reasons_; }
  // Events that a program missed, and vCPU threads that came when the map was full, counted as
  // often as they came.
  [[nodiscard]] std::uint64_t lost() const;
  // Of each program since the attach, if timed.
  struct Cost {
    std::uint64_t runs = 0;
    std::uint64_t ns = 0;
  };
  [[nodiscard]] std::map<std::string, Cost> costs() const;

 private:
  struct Deleter {
    void operator()(watch_bpf* skeleton) const;
  };
  std::unique_ptr<watch_bpf, Deleter> skeleton_;
  bool has_reasons_ = false;
  std::uint32_t places_ = 0;  // in the map of threads
  Mapping watched_, room_;
  Fd timed_;
};

}  // namespace dyield
