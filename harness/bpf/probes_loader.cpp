// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/probes_loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdarg>
#include <string>

#include "base/error.h"
#include "base/mapping.h"
#include "probes.skel.h"

namespace dyield {
namespace {

// The first line with a reason among libbpf's warnings; later ones only say what
// was given up because of it. One loader at a time uses it, from one thread.
std::string& first_warning() {
  static std::string text;
  return text;
}

__attribute__((format(printf, 2, 0))) int on_libbpf_message(libbpf_print_level level,
                                                            const char* format, va_list arguments) {
  std::array<char, 1024> text{};
  vsnprintf(text.data(), text.size(), format, arguments);
  std::string line(text.data());
  while (!line.empty() && line.back() == '\n') line.pop_back();
  if (level == LIBBPF_WARN && first_warning().empty()) {
    first_warning() = line.substr(0, line.find('\n'));
  }
  spdlog::debug("{}", line);
  return 0;
}

[[noreturn]] void fail(const char* what, int error) {
  throw Error(ExitCode::kEnvironment,
              fmt::format("Cannot {} the BPF probes: {} ({}); this needs root or CAP_BPF with "
                          "CAP_PERFMON, and a kernel built with Kconfig.fragment. --no-probes runs "
                          "without them.",
                          what, errno_text(error < 0 ? -error : error),
                          first_warning().empty() ? "libbpf gave no reason" : first_warning()));
}

void check(const char* what, int error) {
  if (error != 0) fail(what, error);
}

}  // namespace

// A map's memory, shared with the kernel.
class Probes::View {
 public:
  View(bpf_map* map, std::size_t value_size, std::uint32_t entries)
      : mapping_(round_up(value_size * entries), PROT_READ, MAP_SHARED, bpf_map__fd(map),
                 std::string("BPF map ") + bpf_map__name(map)) {}
  [[nodiscard]] const std::byte* data() const { return mapping_.data(); }

 private:
  static std::size_t round_up(std::size_t size) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return (size + page - 1) / page * page;
  }
  Mapping mapping_;
};

Probes::Probes(const Config& config) : config_(config) {
  static_assert(sizeof(dyield_counts) % 8 == 0, "array maps round values up to 8 bytes");
  first_warning().clear();
  libbpf_set_print(on_libbpf_message);
  skeleton_.reset(probes_bpf::open());
  if (!skeleton_) fail("open", errno);
  check("size", bpf_map__set_max_entries(skeleton_->maps.threads, config.slots));
  check("size", bpf_map__set_max_entries(skeleton_->maps.counts, config.slots));
  check("size", bpf_map__set_max_entries(skeleton_->maps.targets, config.slots * config.vcpus));
  if (config.audit) {
    check("select", bpf_program__set_autoload(skeleton_->progs.audit_exit, true));
    check("select", bpf_program__set_autoload(skeleton_->progs.audit_ipi, true));
  }
  check("load", probes_bpf::load(skeleton_.get()));
  check("attach", probes_bpf::attach(skeleton_.get()));
  counts_ = std::make_unique<View>(skeleton_->maps.counts, sizeof(dyield_counts), config.slots);
  targets_ = std::make_unique<View>(skeleton_->maps.targets, sizeof(std::uint64_t),
                                    config.slots * config.vcpus);
}

Probes::~Probes() = default;

void Probes::Deleter::operator()(probes_bpf* skeleton) const {
  probes_bpf::destroy(skeleton);
}

void Probes::add_thread(pid_t tid, const dyield_thread& thread) {
  const auto key = static_cast<std::uint32_t>(tid);
  const int error =
      bpf_map_update_elem(bpf_map__fd(skeleton_->maps.threads), &key, &thread, BPF_NOEXIST);
  if (error != 0) fail("tell a thread to", error);
}

std::span<const dyield_counts> Probes::counts() const {
  return {reinterpret_cast<const dyield_counts*>(counts_->data()), config_.slots};
}

std::span<const std::uint64_t> Probes::targets() const {
  return {reinterpret_cast<const std::uint64_t*>(targets_->data()),
          std::size_t{config_.slots} * config_.vcpus};
}

}  // namespace dyield
