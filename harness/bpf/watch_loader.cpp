// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/watch_loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

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
  check_loading("size", bpf_map__set_max_entries(skeleton_->maps.watched, threads));
  check_loading("load", watch_bpf::load(skeleton_.get()));
  choose_processes(skeleton_->maps.processes, processes);
  if (timed) {
    timed_ = Fd(bpf_enable_stats(BPF_STATS_RUN_TIME));
    if (!timed_) fail_loading("take the time of", errno);
  }
  check_loading("attach", watch_bpf::attach(skeleton_.get()));
}

WatchProbes::~WatchProbes() = default;

void WatchProbes::Deleter::operator()(watch_bpf* skeleton) const {
  watch_bpf::destroy(skeleton);
}

std::map<pid_t, dyield_watched> WatchProbes::read() {
  const int map = bpf_map__fd(skeleton_->maps.watched);
  std::vector<std::uint32_t> threads;
  // Nothing is deleted meanwhile, so none is seen twice.
  std::uint32_t key = 0;
  for (int end = bpf_map_get_next_key(map, nullptr, &key); end == 0;
       end = bpf_map_get_next_key(map, &threads.back(), &key)) {
    threads.push_back(key);
  }
  std::map<pid_t, dyield_watched> result;
  for (const std::uint32_t tid : threads) {
    dyield_watched value{};
    // Asked first: what a thread counted before it ended is in the answer.
    const bool ended = !task_exists(static_cast<pid_t>(tid));
    if (bpf_map_lookup_elem(map, &tid, &value) != 0 || value.kvm_vcpu == 0) continue;
    result.emplace(static_cast<pid_t>(tid), value);
    if (ended) bpf_map_delete_elem(map, &tid);
  }
  return result;
}

std::uint64_t WatchProbes::lost() const {
  std::uint64_t lost = 0;
  const std::uint32_t zero = 0;
  check_loading("question",
                bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.refused), &zero, &lost));
  return lost + missed_events(skeleton_->obj);
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
