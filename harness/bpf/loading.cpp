// SPDX-License-Identifier: GPL-2.0-only
#include "bpf/loading.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/read_file.h"

namespace dyield {
namespace {

// Later warnings only say what was given up because of the first.
std::string& first_warning() {
  static std::string text;
  return text;
}

const char*& advice_at_end() {
  static const char* advice = "";
  return advice;
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

}  // namespace

void begin_loading(const char* advice) {
  first_warning().clear();
  advice_at_end() = advice;
  libbpf_set_print(on_libbpf_message);
}

void fail_loading(const char* step, int error) {
  throw Error(ExitCode::kEnvironment,
              fmt::format("Cannot {} the BPF probes: {} ({}); this needs root or CAP_SYS_ADMIN "
                          "(CAP_BPF with CAP_PERFMON, where kvm is no module), and a kernel "
                          "built with Kconfig.fragment.{}{}",
                          step, errno_text(error < 0 ? -error : error),
                          first_warning().empty() ? "libbpf gave no reason" : first_warning(),
                          *advice_at_end() == '\0' ? "" : " ", advice_at_end()));
}

void check_loading(const char* step, int error) {
  if (error != 0) fail_loading(step, error);
}

bool has_target(bpf_program* tracepoint_program, const char* name) {
  const bool found = bpf_program__set_attach_target(tracepoint_program, 0, name) == 0;
  // An answer, not what a later step fails for.
  if (!found) first_warning().clear();
  return found;
}

Mapping map_memory(bpf_map* map, std::size_t size, int protection, int flags) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return Mapping((size + page - 1) / page * page, protection, MAP_SHARED | flags, bpf_map__fd(map),

                 std::string("BPF map ") + bpf_map__name(map));
}

void choose_processes(bpf_map* map, const std::vector<pid_t>& processes) {
  std::vector<pid_t> keys = processes;
  if (keys.empty()) keys.push_back(0);
  for (const pid_t key : keys) {
    const std::uint8_t value = 1;
    check_loading("choose the processes of",
                  bpf_map_update_elem(bpf_map__fd(map), &key, &value, BPF_ANY));
  }
}

void require_kvm(const RunningTypes& types) {
  if (types.has("kvm_vcpu_on_spin", BTF_KIND_FUNC)) return;
  throw Error(ExitCode::kEnvironment,
              "The running kernel's BTF has no kvm_vcpu_on_spin(): KVM is not loaded, or it was "
              "built without BTF; dyield doctor says what to do.");
}

std::string foreign_pid_namespace() {
  constexpr std::uint32_t kInitial = 0xEFFFFFFC;  // PROC_PID_INIT_INO, include/linux/proc_ns.h
  std::error_code error;
  std::string space = std::filesystem::read_symlink("/proc/self/ns/pid", error).string();
  return error || space == fmt::format("pid:[{}]", kInitial) ? "" : space;
}

void require_host_pids() {
  const std::string space = foreign_pid_namespace();
  if (space.empty()) return;
  throw Error(ExitCode::kEnvironment,
              fmt::format("The BPF probes know threads by the host's IDs, and this process is in a "
                          "PID namespace of its own ({}); run it in the host's (a container needs "
                          "--pid=host).{}{}",
                          space, *advice_at_end() == '\0' ? "" : " ", advice_at_end()));
}

void say_vmx(bpf_map* map) {
  // A word in the row of flags.
  const bool has = read_file("/proc/cpuinfo").value_or("").find(" vmx ") != std::string::npos;
  check_loading("size", bpf_map__set_max_entries(map, has ? 2 : 1));
}

void for_each_loaded(
    bpf_object* object,
    const std::function<void(const char* name, const bpf_prog_info& info)>& handler) {
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    if (bpf_program__fd(program) < 0) continue;
    bpf_prog_info info{};
    std::uint32_t size = sizeof info;
    check_loading("question", bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size));
    handler(bpf_program__name(program), info);
  }
}

std::uint64_t missed_events(bpf_object* object) {
  std::uint64_t missed = 0;
  for_each_loaded(object, [&](const char* name, const bpf_prog_info& info) {
    if (info.recursion_misses > 0) {
      spdlog::debug("BPF program {} missed {} events", name, std::uint64_t{info.recursion_misses});
    }
    missed += info.recursion_misses;
  });
  return missed;
}

RunningTypes::RunningTypes()
    : kernel_(btf__load_vmlinux_btf()),
      module_(kernel_ ? btf__load_module_btf("kvm", kernel_.get()) : nullptr) {}

bool RunningTypes::has(const std::string& name, std::uint32_t kind) const {
  const btf* types = module_ ? module_.get() : kernel_.get();  // the former holds the latter
  return types != nullptr && btf__find_by_name_kind(types, name.c_str(), kind) > 0;
}

bool RunningTypes::has_tracepoint(const std::string& name) const {
  return has("btf_trace_" + name, BTF_KIND_TYPEDEF);
}

}  // namespace dyield
