// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/watch_loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <string>
#include <utility>

#include "base/task.h"
#include "bpf/loading.h"
#include "watch.skel.h"

namespace dyield {

WatchProbes::WatchProbes(const std::vector<pid_t>& processes, bool timed, std::uint32_t threads) {
  begin_loading("");
  const RunningTypes types;
  require_kvm(types);
  skeleton_.reset(watch_bpf::open());
  if (!skeleton_) fail_loading("open", errno);
  const auto& programs = skeleton_->progs;
  has_reasons_ = types.has_tracepoint(kReasons);
  for (const auto& [program, wanted] :
       {std::pair{programs.directed_yield, has_reasons_},
        std::pair{programs.yield_to_exit, !has_reasons_},
        // Before the series it is given the VM, not the vCPU: the vector is in the same place.
        std::pair{programs.pv_send_ipi, types.has("kvm_pv_send_ipi", BTF_KIND_FUNC)}}) {
    check_loading("select", bpf_program__set_autoload(program, wanted));
  }
  // With places to spare, so that threads seldom meet at one.
  places_ = std::bit_ceil(threads * 2);
  check_loading("size", bpf_map__set_max_entries(skeleton_->maps.watched, places_));
  say_vmx(skeleton_->maps.vmx);
  check_loading("load", watch_bpf::load(skeleton_.get()));
  // Populated now: page faults in the first reading would draw it out over a busy host's slices.
  watched_ = map_memory(skeleton_->maps.watched, sizeof(dyield_watched) * places_,
                        PROT_READ | PROT_WRITE, MAP_POPULATE);
  room_ = map_memory(skeleton_->maps.room, sizeof(dyield_watch_room), PROT_READ | PROT_WRITE);
  reinterpret_cast<dyield_watch_room*>(room_.data())->most = threads;
  choose_processes(skeleton_->maps.processes, processes);
  if (timed) {
    timed_ = Fd(bpf_enable_stats(BPF_STATS_RUN_TIME));
    if (!timed_) fail_loading("take the time of", errno);
  }
  attach();
}

void WatchProbes::detach() {
  watch_bpf::detach(skeleton_.get());
}

void WatchProbes::attach() {
  auto* const all = reinterpret_cast<dyield_watched*>(watched_.data());
  for (std::uint32_t place = 0; place < places_; place++) {
    all[place].runnable_since = 0;
    all[place].yielding = 0;
    // Of an IPI before others that were not seen.
    all[place].pv_vector = 0;
  }
  check_loading("attach", watch_bpf::attach(skeleton_.get()));
}

WatchProbes::~WatchProbes() = default;

void WatchProbes::Deleter::operator()(watch_bpf* skeleton) const {
  watch_bpf::destroy(skeleton);
}

std::map<pid_t, dyield_watched> WatchProbes::read() {
  auto* const all = reinterpret_cast<dyield_watched*>(watched_.data());
  auto* const room = reinterpret_cast<dyield_watch_room*>(room_.data());
  std::map<pid_t, dyield_watched> result;
  for (std::uint32_t place = 0; place < places_; place++) {
    const std::atomic_ref tid(all[place].tid);
    const std::uint32_t id = tid.load();
    if (id == 0 || id == DYIELD_WATCH_GONE) continue;
    // Asked first: what a thread counted before it ended is in the answer.
    const bool ended = !task_exists(static_cast<pid_t>(id));
    const dyield_watched value = all[place];
    if (value.kvm_vcpu == 0) continue;
    result.emplace(static_cast<pid_t>(id), value);
    if (!ended) continue;
    tid.store(DYIELD_WATCH_GONE);
    std::atomic_ref(room->used).fetch_sub(1);
  }
  return result;
}

std::uint64_t WatchProbes::lost() const {
  const auto* const room = reinterpret_cast<const dyield_watch_room*>(room_.data());
  return room->refused + missed_events(skeleton_->obj);
}

std::map<std::string, WatchProbes::Cost> WatchProbes::costs() const {
  std::map<std::string, Cost> costs;
  if (!timed_) return costs;
  for_each_loaded(skeleton_->obj, [&](const char* name, const bpf_prog_info& info) {
    costs[name] = {info.run_cnt, info.run_time_ns};
  });
  return costs;
}

}  // namespace dyield
