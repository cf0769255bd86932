// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/record_loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "base/fd.h"
#include "bpf/loading.h"
#include "record.skel.h"

namespace dyield {
namespace {

// The only array of such values on the system. (By its layout: libbpf gives maps no names in a
// kernel without networking.)
std::optional<Fd> find_map(std::size_t value_size) {
  std::optional<Fd> found;
  for (std::uint32_t id = 0; bpf_map_get_next_id(id, &id) == 0;) {
    Fd fd(bpf_map_get_fd_by_id(id));
    bpf_map_info info{};
    std::uint32_t size = sizeof info;
    if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) continue;
    if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != value_size) continue;
    if (found) return std::nullopt;
    found = std::move(fd);
  }
  return found;
}

}  // namespace

RecordProbes::RecordProbes(const std::vector<pid_t>& processes, std::uint32_t buffer,
                           std::uint32_t one_in, Handler handler)
    : handler_(std::move(handler)) {
  begin_loading("");
  const RunningTypes types;
  require_kvm(types);
  // Before there are maps of this object's own.
  const auto counts = find_map(sizeof(dyield_counts));
  const auto guests = find_map(sizeof(dyield_guest));
  skeleton_.reset(record_bpf::open());
  if (!skeleton_) fail_loading("open", errno);
  has_truth_ = counts && guests;
  if (has_truth_) {
    check_loading("share", bpf_map__reuse_fd(skeleton_->maps.counts, counts->get()));
    check_loading("share", bpf_map__reuse_fd(skeleton_->maps.guests, guests->get()));
  }
  check_loading("size", bpf_map__set_max_entries(skeleton_->maps.decisions, buffer));
  say_vmx(skeleton_->maps.vmx);
  check_loading("select", bpf_program__set_autoload(skeleton_->progs.pv_send_ipi,
                                                    types.has("kvm_pv_send_ipi", BTF_KIND_FUNC)));
  check_loading("load", record_bpf::load(skeleton_.get()));
  choose_processes(skeleton_->maps.processes, processes);
  const std::uint32_t zero = 0;
  check_loading("set",
                bpf_map_update_elem(bpf_map__fd(skeleton_->maps.one_in), &zero, &one_in, BPF_ANY));
  ring_.reset(ring_buffer__new(bpf_map__fd(skeleton_->maps.decisions), on_decision, this, nullptr));
  if (!ring_) fail_loading("read from", errno);
  check_loading("attach", record_bpf::attach(skeleton_.get()));
}

RecordProbes::~RecordProbes() = default;

void RecordProbes::Deleter::operator()(record_bpf* skeleton) const {
  record_bpf::destroy(skeleton);
}

void RecordProbes::Deleter::operator()(ring_buffer* ring) const {
  ring_buffer__free(ring);
}

int RecordProbes::on_decision(void* self, void* data, std::size_t size) {
  static_cast<RecordProbes*>(self)->handler_({static_cast<const char*>(data), size});
  return 0;
}

int RecordProbes::descriptor() const {
  return bpf_map__fd(skeleton_->maps.decisions);
}

void RecordProbes::consume() {
  if (const int result = ring_buffer__consume(ring_.get()); result < 0) {
    fail_loading("read from", result);
  }
}

std::uint64_t RecordProbes::lost() const {
  std::uint64_t lost = 0;
  const std::uint32_t zero = 0;
  check_loading("question", bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.lost), &zero, &lost));
  return lost + missed_events(skeleton_->obj);
}

}  // namespace dyield
