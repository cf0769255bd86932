// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/probes_loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"
#include "base/mapping.h"
#include "bpf/loading.h"
#include "probes.skel.h"

namespace dyield {

Probes::Probes(const Config& config) : config_(config) {
  static_assert(sizeof(dyield_counts) % 8 == 0, "array maps round values up to 8 bytes");
  begin_loading("--no-probes runs without them.");
  require_host_pids();
  skeleton_.reset(probes_bpf::open());
  if (!skeleton_) fail_loading("open", errno);
  const std::uint32_t slots = config.vms * config.vcpus;
  const auto& maps = skeleton_->maps;
  const auto& programs = skeleton_->progs;
  // Room enough that threads meet at a place by rare chance.
  places_ = std::bit_ceil(slots * 4);
  place_of_.resize(slots);
  check_loading("size", bpf_map__set_max_entries(maps.counts, places_));
  check_loading("size", bpf_map__set_max_entries(maps.kvm_vcpus, slots));
  check_loading("size", bpf_map__set_max_entries(maps.targets, slots * config.vcpus));
  check_loading("size", bpf_map__set_max_entries(maps.guests, config.vms));
  if (config.audit) {
    for (bpf_program* program : {programs.audit_begin, programs.audit_decided, programs.audit_exit,
                                 programs.audit_vcpu, programs.audit_spin, programs.audit_yield}) {
      check_loading("select", bpf_program__set_autoload(program, true));
    }
  }
  has_reasons_ = has_target(programs.directed_yield, kReasons);
  for (const auto& [program, wanted] :
       {std::pair{programs.yield_to_exit, config.audit || !has_reasons_},
        std::pair{programs.directed_yield, has_reasons_ && !config.audit},
        std::pair{programs.audit_reason, has_reasons_ && config.audit}}) {
    check_loading("select", bpf_program__set_autoload(program, wanted));
  }
  check_loading("load", probes_bpf::load(skeleton_.get()));
  check_loading("attach", probes_bpf::attach(skeleton_.get()));
  counts_ = map_memory(maps.counts, sizeof(dyield_counts) * places_, PROT_READ);
  targets_ = map_memory(maps.targets, sizeof(std::uint64_t) * slots * config.vcpus, PROT_READ);
  guests_ = map_memory(maps.guests, sizeof(dyield_guest) * config.vms, PROT_READ);
}

KvmTypes kvm_types_in_btf() {
  begin_loading("");
  const RunningTypes types;
  KvmTypes result;
  result.kernel = types.has_kernel();
  result.module = types.has_module();
  result.has_reasons = types.has_tracepoint(kReasons);
  const std::unique_ptr<probes_bpf, void (*)(probes_bpf*)> skeleton(probes_bpf::open(),
                                                                    probes_bpf::destroy);
  if (!skeleton) fail_loading("open", errno);
  check_loading("select",
                bpf_program__set_autoload(skeleton->progs.yield_to_exit, !result.has_reasons));
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) {
    const std::string section = bpf_program__section_name(program);
    const auto slash = section.find('/');
    if (!bpf_program__autoload(program) || slash == std::string::npos) continue;
    const std::string target = section.substr(slash + 1);
    if (section.starts_with("tp_btf/") ? !types.has_tracepoint(target)
                                       : !types.has(target, BTF_KIND_FUNC)) {
      result.missing.push_back(target);
    }
  }
  std::ranges::sort(result.missing);
  const auto again = std::ranges::unique(result.missing);
  result.missing.erase(again.begin(), again.end());
  return result;
}

Probes::~Probes() = default;

void Probes::Deleter::operator()(probes_bpf* skeleton) const {
  probes_bpf::destroy(skeleton);
}

void Probes::adopt(std::uint32_t vm, dyield_shared& shared) {
  static_assert(sizeof(dyield_guest) % 4096 == 0, "each VM's element is whole pages");
  static_assert(offsetof(dyield_guest, shared) == 0 && sizeof(dyield_shared) % 4096 == 0,
                "the guest is given its part, and no byte more");
  const int fd = bpf_map__fd(skeleton_->maps.guests);
  const auto offset = static_cast<off_t>(std::size_t{vm} * sizeof(dyield_guest));
  {
    const Mapping copy(sizeof shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, "BPF map guests",
                       offset);
    std::memcpy(copy.data(), &shared, sizeof shared);
  }
  // Over the anonymous pages of the guest's memory, whose mapping owns the range.
  if (::mmap(&shared, sizeof shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, offset) ==
      MAP_FAILED) {
    fail_loading("share a VM's memory with", errno);
  }
}

void Probes::add_thread(pid_t tid, const dyield_thread& thread) {
  const auto id = static_cast<std::uint32_t>(tid);
  const int map = bpf_map__fd(skeleton_->maps.counts);
  const auto* all = reinterpret_cast<const dyield_counts*>(counts_.data());
  for (std::uint32_t i = 0; i < DYIELD_PLACES; i++) {
    const std::uint32_t place = DYIELD_PLACE(id, i) & (places_ - 1);
    if (all[place].thread.tid != 0) continue;
    place_of_.at(thread.slot) = place;
    dyield_counts begin{};
    begin.thread = thread;
    begin.thread.tid = id;
    const int error = bpf_map_update_elem(map, &place, &begin, BPF_EXIST);
    if (error != 0) fail_loading("tell a thread to", error);
    return;
  }
  throw Error(ExitCode::kEnvironment,
              fmt::format("There is no place for thread {} in the map of threads, by a rare chance "
                          "of thread IDs: run again.",
                          tid));
}

std::vector<std::reference_wrapper<const dyield_counts>> Probes::counts() const {
  const auto* all = reinterpret_cast<const dyield_counts*>(counts_.data());
  std::vector<std::reference_wrapper<const dyield_counts>> result;
  for (const std::uint32_t place : place_of_) result.emplace_back(all[place]);
  return result;
}

std::span<const std::uint64_t> Probes::targets() const {
  return {reinterpret_cast<const std::uint64_t*>(targets_.data()),
          std::size_t{config_.vms} * config_.vcpus * config_.vcpus};
}

std::vector<std::reference_wrapper<const dyield_vm>> Probes::vms() const {
  const auto* all = reinterpret_cast<const dyield_guest*>(guests_.data());
  std::vector<std::reference_wrapper<const dyield_vm>> result;
  for (std::uint32_t i = 0; i < config_.vms; i++) result.emplace_back(all[i].vm);
  return result;
}

std::uint64_t Probes::lost() const {
  std::uint64_t lost = 0;
  for (const dyield_counts& c : counts()) lost += c.lost;
  return lost + missed_events(skeleton_->obj);
}

}  // namespace dyield
