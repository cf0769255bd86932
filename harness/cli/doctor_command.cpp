// SPDX-License-Identifier: GPL-2.0-only
#include "cli/doctor_command.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/color.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/color.h"
#include "base/read_file.h"
#include "bpf/loading.h"
#include "bpf/probes_loader.h"
#include "cli/cpus.h"
#include "cli/kernel_log.h"
#include "cli/run_command.h"
#include "engine/environment.h"
#include "engine/run.h"
#include "kvm/vm.h"
#include "kvm/workload.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

enum class State { kMet, kNotMet, kCannotTell, kNote };

struct StateWord {
  State state;
  const char* word;
  fmt::terminal_color color;
};
constexpr std::array kStates = {
    StateWord{State::kMet, "met", fmt::terminal_color::green},
    StateWord{State::kNotMet, "not met", fmt::terminal_color::red},
    StateWord{State::kCannotTell, "cannot tell", fmt::terminal_color::yellow},
    // Nothing to meet, but it changes what a run shows.
    StateWord{State::kNote, "note", fmt::terminal_color::cyan},
};

const StateWord& word_of(State state) {
  return *std::ranges::find(kStates, state, &StateWord::state);
}

struct Finding {
  State state;
  std::string found;
  std::string fix{};  // a command or a sentence; empty if there is nothing to do
};

// ---------------------------------------------------------------------------
// Sources

std::string parameter(const std::string& module, const std::string& name) {
  return first_line(fs::path("/sys/module") / module / "parameters" / name);
}

// Effective capabilities of this process, proc(5).
std::optional<std::uint64_t> capabilities() {
  const std::string set = first_field("/proc/self/status", "CapEff:");
  if (set.empty()) return std::nullopt;
  return std::strtoull(set.c_str(), nullptr, 16);
}

bool has(std::uint64_t set, int capability) {
  return (set >> capability & 1) != 0;
}

const std::string kLab = "use the lab: scripts/lab";

// ---------------------------------------------------------------------------
// Requirements

Finding device() {
  const Fd fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (fd) return {State::kMet, "/dev/kvm opens for reading and writing"};
  const int error = errno;
  const std::string found = fmt::format("/dev/kvm does not open: {}", errno_text(error));
  if (error == EACCES || error == EPERM)
    return {State::kNotMet, found, "sudo usermod -aG kvm $USER, and log in again; or run as root"};
  if (is_there("/sys/module/kvm_amd") || is_there("/sys/module/kvm_intel"))
    return {State::kNotMet, found, "mknod /dev/kvm c 10 232 (a container needs --device /dev/kvm)"};
  return {State::kNotMet, found,
          "sudo modprobe kvm-amd (or kvm-intel); if it is refused, enable SVM or VT-x in the "
          "firmware; without either, " +
              kLab};
}

Finding api() {
  if (::access("/dev/kvm", R_OK | W_OK) != 0)
    return {State::kCannotTell, "/dev/kvm is closed to this process", "first what is said above"};
  try {
    const KvmSystem system;
    return {State::kMet, fmt::format("API version 12 and every capability that dyield needs, at "
                                     "most {} vCPUs a VM",
                                     system.max_vcpus())};
  } catch (const Error& error) {
    return {State::kNotMet, error.what(), kLab};
  }
}

Finding pause_exits() {
  const std::string module = vendor_module();
  if (const std::string obstacle = pause_exits_obstacle(); !obstacle.empty()) {
    return {State::kNotMet,
            is_there("/dev/kvm") ? obstacle : "neither kvm-amd nor kvm-intel is loaded",
            module == "kvm_amd"
                ? "sudo modprobe -r kvm-amd && sudo modprobe kvm-amd pause_filter_count=3000"
            : module == "kvm_intel"
                ? "sudo modprobe -r kvm-intel && sudo modprobe kvm-intel ple_gap=128"
                : "sudo modprobe kvm-amd (or kvm-intel); without either, " + kLab};
  }
  const bool amd = module == "kvm_amd";
  std::string found = module;
  for (const char* name :
       {amd ? "pause_filter_count" : "ple_gap", amd ? "pause_filter_thresh" : "ple_window"})
    found += fmt::format(" {}={}", name, parameter(module, name));
  return {State::kMet, found};
}

Finding kernel_types() {
  const fs::path file = "/sys/kernel/btf/vmlinux";
  if (::access(file.c_str(), R_OK) == 0) return {State::kMet, file.string() + " can be read"};
  return {State::kNotMet, fmt::format("{}: {}", file.string(), errno_text(errno)),
          "build the kernel with CONFIG_DEBUG_INFO_BTF=y (Kconfig.fragment), and mount sysfs on "
          "/sys"};
}

Finding kvm_types() {
  const KvmTypes types = kvm_types_in_btf();
  if (!types.kernel)
    return {State::kCannotTell, "there is no BTF of the kernel to begin with",
            "first what is said above"};
  if (types.missing.empty()) {
    return {State::kMet, types.module ? "/sys/kernel/btf/kvm has all that the probes attach to"
                                      : "kvm is part of the kernel, whose BTF has all that the "
                                        "probes attach to"};
  }
  return {State::kNotMet,
          fmt::format("BTF does not have {}, which the probes attach to",
                      fmt::join(types.missing, ", ")),
          is_there("/sys/module/kvm")
              ? "build the kernel with CONFIG_DEBUG_INFO_BTF_MODULES=y (Kconfig.fragment); a "
                "function that the compiler has inlined needs another compiler"
              : "sudo modprobe kvm-amd (or kvm-intel)"};
}

Finding bpf_privileges() {
  const std::string lockdown = first_line("/sys/kernel/security/lockdown");
  if (lockdown.find("[confidentiality]") != std::string::npos) {
    return {State::kNotMet, "the kernel is locked down: BPF may not read its memory",
            "boot without lockdown=confidentiality"};
  }
  const auto set = capabilities();
  if (!set) return {State::kCannotTell, "/proc/self/status does not say", "mount procfs on /proc"};
  if (has(*set, CAP_SYS_ADMIN)) return {State::kMet, "CAP_SYS_ADMIN"};
  // The BTF of a module is found by its number, which bpf(2) gives to CAP_SYS_ADMIN alone
  // (kernel/bpf/syscall.c, bpf_obj_get_next_id).
  const bool module = is_there("/sys/kernel/btf/kvm");
  const bool some = has(*set, CAP_BPF) && has(*set, CAP_PERFMON);
  if (some && !module) return {State::kMet, "CAP_BPF, CAP_PERFMON"};
  return {State::kNotMet,
          some ? "CAP_BPF, CAP_PERFMON: not enough where kvm is a module; CAP_SYS_ADMIN is missing"
               : "neither CAP_SYS_ADMIN nor CAP_BPF with CAP_PERFMON",
          "sudo dyield run (--no-probes does without)"};
}

// Kconfig's answer from what it compiles in: /proc/config.gz need not be there.
Finding bpf_tracing() {
  const std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_vmlinux_btf(), btf__free);
  if (!types)
    return {State::kCannotTell, "there is no BTF of the kernel", "first what is said above"};
  for (const auto& [function, option] :
       {std::pair{"bpf_trace_run1", "CONFIG_BPF_EVENTS"},
        std::pair{"register_ftrace_direct", "CONFIG_FUNCTION_TRACER and CONFIG_DYNAMIC_FTRACE"}}) {
    if (btf__find_by_name_kind(types.get(), function, BTF_KIND_FUNC) < 0) {
      return {State::kNotMet,
              fmt::format("BPF cannot attach to the kernel's functions ({} is missing)", function),
              fmt::format("build the kernel with {} (Kconfig.fragment); --no-probes does without",
                          option)};
    }
  }
  return {State::kMet, "BPF programs can attach to the kernel's functions"};
}

Finding pid_namespace() {
  const std::string space = foreign_pid_namespace();
  if (space.empty()) return {State::kMet, "the host's"};
  return {State::kNotMet, space + " is not the host's, by whose IDs the probes know threads",
          "run it outside of the container, or in one with --pid=host (--no-probes does without)"};
}

Finding perf_events() {
  const std::string paranoid = first_line("/proc/sys/kernel/perf_event_paranoid");
  if (paranoid.empty()) {
    return {State::kNotMet, "the kernel has no perf events",
            "build it with CONFIG_PERF_EVENTS=y; without them those counters are absent"};
  }
  const std::string found = "kernel.perf_event_paranoid is " + paranoid;
  const auto set = capabilities();
  if (set && (has(*set, CAP_PERFMON) || has(*set, CAP_SYS_ADMIN)))
    return {State::kMet, found + ", which does not bind this process"};
  // Documentation/admin-guide/sysctl/kernel.rst: from 2 on no events of the kernel.
  if (std::atoi(paranoid.c_str()) <= 1) return {State::kMet, found};
  return {State::kNotMet, found + ": no counts of context switches and exits",
          "sudo sysctl kernel.perf_event_paranoid=1, or run as root"};
}

Finding locked_memory() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  const std::string found =
      limit.rlim_cur == RLIM_INFINITY ? "unlimited" : fmt::format("{} KiB", limit.rlim_cur / 1024);
  if (limit.rlim_cur == RLIM_INFINITY) return {State::kMet, found};
  // Kernels with this helper charge BPF memory to the cgroup: libbpf asks them the same way.
  const int charged =
      libbpf_probe_bpf_helper(BPF_PROG_TYPE_SOCKET_FILTER, BPF_FUNC_ktime_get_coarse_ns, nullptr);
  if (charged == 1)
    return {State::kMet, found + ", but this kernel charges BPF memory to the cgroup instead"};
  if (charged < 0) {
    return {State::kCannotTell, found + "; whether BPF memory counts takes privileges to find out",
            "ulimit -l unlimited"};
  }
  const auto set = capabilities();
  if (limit.rlim_max == RLIM_INFINITY || (set && has(*set, CAP_SYS_RESOURCE)))
    return {State::kMet, found + ", which libbpf raises by itself"};
  return {State::kNotMet, found, "ulimit -l unlimited (LimitMEMLOCK=infinity of the service)"};
}

Finding open_files() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  // 64 VMs of 16 vCPUs: each vCPU and its seven counters.
  constexpr rlim_t kWanted = 64 * 16 * 8 + 256;
  const std::string found = fmt::format("hard limit {}", limit.rlim_max);
  if (limit.rlim_max >= kWanted) return {State::kMet, found};
  return {State::kNotMet,
          found + fmt::format(": too few for 64 VMs of 16 vCPUs with all counters ({})", kWanted),
          fmt::format("ulimit -Hn {} as root (LimitNOFILE of the service); small runs need fewer",
                      kWanted)};
}

Finding kernel_log() {
  if (const std::string obstacle = KernelLog().obstacle(); !obstacle.empty()) {
    return {State::kNotMet, obstacle,
            "run as root, or sudo sysctl kernel.dmesg_restrict=0; without it a result has no "
            "kernel log"};
  }
  return {State::kMet, "/dev/kmsg can be read"};
}

// ---------------------------------------------------------------------------
// What changes the results

Finding kernel_series() {
  const KvmTypes types = kvm_types_in_btf();
  if (!types.kernel)
    return {State::kCannotTell, "there is no BTF of the kernel", "first what is said above"};
  return {State::kNote, types.has_reasons
                            ? "tracepoint kvm:kvm_directed_yield is here: a patched kernel, whose "
                              "yields come with their reasons"
                            : "no tracepoint kvm:kvm_directed_yield: a base kernel, whose yields "
                              "come without reasons"};
}

// "Y" or a number that is not 0 is on; -1 is what module_param gives for "auto".
bool on(const std::string& value) {
  return !value.empty() && value != "N" && value != "0";
}

// By which the module virtualizes APICs.
const char* apic_parameter(const std::string& module) {
  return module == "kvm_intel" ? "enable_apicv" : "avic";
}

Finding apic_virtualization() {
  const std::string module = vendor_module();
  const std::string value = parameter(module, apic_parameter(module));
  if (value.empty())
    return {State::kCannotTell, "neither kvm-amd's avic nor kvm-intel's enable_apicv is here"};
  if (on(value) && module == "kvm_intel") {
    return {State::kNote,
            "kvm_intel enable_apicv=" + value +
                ": a mainline kernel sees the pending interrupt of a vCPU in ring 3, so the base "
                "does better than without",
            "sudo modprobe -r kvm-intel && sudo modprobe kvm-intel enable_apicv=0, to measure "
            "without"};
  }
  if (on(value)) {
    return {State::kNote,
            "kvm_amd avic=" + value +
                ": KVM takes no part in most IPIs, so receiver_delays counts only those that it "
                "delivers itself",
            "sudo modprobe -r kvm-amd && sudo modprobe kvm-amd avic=0, to measure without"};
  }
  return {State::kNote,
          fmt::format("off ({} {}={}): every IPI and EOI of a guest passes through KVM", module,
                      apic_parameter(module), value)};
}

Finding ipi_virtualization() {
  const std::string module = vendor_module();
  const std::string apic = parameter(module, apic_parameter(module));
  const std::string ipi = parameter(module, "enable_ipiv");
  if (apic.empty() && ipi.empty())
    return {State::kCannotTell, "neither kvm-amd nor kvm-intel is loaded"};
  // IPI virtualization needs APIC virtualization, and EOI virtualization is part of that.
  const bool eoi_on = on(apic);
  const bool ipi_on = eoi_on && on(ipi);
  return {State::kNote,
          fmt::format("IPIs {} ({} enable_ipiv={}), EOIs {}: {}", ipi_on ? "by hardware" : "by KVM",
                      module, ipi.empty() ? "absent" : ipi, eoi_on ? "by hardware" : "by KVM",
                      eoi_on ? "what hardware does makes no exit and no kvm_apic_accept_irq event"
                             : "each makes an exit")};
}

Finding module_parameters() {
  std::string found;
  for (const auto& [module, name] : std::initializer_list<std::pair<const char*, const char*>>{
           {"kvm", "halt_poll_ns"},
           {"kvm_amd", "npt"},
           {"kvm_amd", "pause_filter_count_grow"},
           {"kvm_amd", "pause_filter_count_max"},
           {"kvm_intel", "ept"},
           {"kvm_intel", "ple_window_grow"},
           {"kvm_intel", "ple_window_max"}}) {
    if (module != std::string_view("kvm") && module != vendor_module()) continue;
    if (const std::string value = parameter(module, name); !value.empty())
      found += fmt::format("{}{} {}={}", found.empty() ? "" : ", ", module, name, value);
  }
  if (found.empty()) return {State::kCannotTell, "no module kvm has parameters in /sys/module"};
  return {State::kNote, found + " (all of them: dyield env)"};
}

// ---------------------------------------------------------------------------

// Two vCPUs that share a CPU: the sender's wait must make PAUSE exits, and the
// guest's ring 3 must answer. Ground for the verdict, whatever was found before. Without probes
// nobody counts the exits, so that the guest's answers are all that it shows.
Finding trial(bool probes) {
  try {
    RunConfig config;
    config.vcpus = 2;
    config.cpus = choose_cpus(1);
    config.warmup = std::chrono::milliseconds(10);
    config.duration = std::chrono::milliseconds(100);
    config.limit = std::chrono::seconds(10);
    config.think = 64;
    config.unit = 64;
    config.probes = probes;
    Guests guests;
    guests.payload = Payload::from_file(find_payload(""));
    const KvmSystem system;
    const Run run = run_once(system, guests, config);
    if (run.status != RunStatus::kComplete)
      return {State::kNotMet, "the run ended early: " + run.reason,
              "dyield -v run unicast says more"};
    const std::uint64_t done = run.counts.at("shootdowns");
    if (!probes) {
      return {done > 0 ? State::kMet : State::kNotMet,
              fmt::format("{} shootdowns without probes", done),
              done > 0 ? "" : "this KVM's guest gets nothing done; " + kLab};
    }
    const std::uint64_t exits = run.counts.at("pause_exits");
    const std::string found = fmt::format("{} PAUSE exits in {} shootdowns", exits, done);
    if (exits > 0 && done > 0) return {State::kMet, found};
    return {State::kNotMet, found,
            "this KVM runs the guest, but takes no PAUSE exits from it; " + kLab};
  } catch (const Error& error) {
    return {State::kNotMet, error.what(), "dyield -v run unicast says more"};
  }
}

struct Check {
  const char* name;
  bool required;  // for a run with probes
  Finding (*find)();
};
// What a guest takes, without probes.
constexpr std::array<std::string_view, 3> kForGuests = {"/dev/kvm", "KVM API", "PAUSE exits"};
constexpr std::array kChecks = {
    Check{"/dev/kvm", true, device},
    Check{"KVM API", true, api},
    Check{"PAUSE exits", true, pause_exits},
    Check{"BTF of the kernel", true, kernel_types},
    Check{"BTF of kvm", true, kvm_types},
    Check{"BPF privileges", true, bpf_privileges},
    Check{"BPF tracing", true, bpf_tracing},
    Check{"PID namespace", true, pid_namespace},
    Check{"locked memory", false, locked_memory},
    Check{"open files", false, open_files},
    Check{"perf events", false, perf_events},
    Check{"kernel log", false, kernel_log},
    Check{"series", false, kernel_series},
    Check{"APIC virtualization", false, apic_virtualization},
    Check{"IPI and EOI", false, ipi_virtualization},
    Check{"module parameters", false, module_parameters},
};

struct Row {
  std::string name;
  bool required;
  Finding finding;
};

void print_row(const Row& row, bool color) {
  const StateWord& word = word_of(row.finding.state);
  const std::string state = fmt::format("{:<12}", word.word);
  fmt::print("{}{:<21}{}{}\n", color ? fmt::format(fmt::fg(word.color), "{}", state) : state,
             row.name, row.finding.found,
             row.required || row.finding.state != State::kNotMet ? "" : " (a run does without)");
  if (!row.finding.fix.empty()) fmt::print("{:12}{:21}-> {}\n", "", "", row.finding.fix);
}

ExitCode doctor(bool json, bool no_trial) {
  std::vector<Row> rows;
  for (const Check& check : kChecks) rows.push_back({check.name, check.required, check.find()});
  const auto ready = [&] {
    return std::ranges::all_of(
        rows, [](const Row& row) { return !row.required || row.finding.state == State::kMet; });
  };
  if (!no_trial) {
    const bool guests = std::ranges::all_of(rows, [](const Row& row) {
      return row.finding.state == State::kMet ||
             std::ranges::find(kForGuests, row.name) == kForGuests.end();
    });
    rows.push_back({"trial run", true,
                    ready()  ? trial(true)
                    : guests ? trial(false)
                             : Finding{State::kCannotTell, "not tried, because of what is not met",
                                       "first what is said above"}});
  }
  if (json) {
    Json list = Json::array();
    for (const auto& [name, required, finding] : rows) {
      list.push_back({{"name", name},
                      {"state", word_of(finding.state).word},
                      {"required", required},
                      {"found", finding.found},
                      {"fix", finding.fix}});
    }
    const Json document = {
        {"schema", "dyield.doctor/1"}, {"ready", ready()}, {"requirements", std::move(list)}};
    fmt::print("{}\n", document.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    for (const Row& row : rows) print_row(row, want_color());
    fmt::print("{}\n", ready() ? "A run with probes is possible here."
                               : "A run with probes is not possible here.");
  }
  return ready() ? ExitCode::kOk : ExitCode::kEnvironment;
}

}  // namespace

void add_doctor_command(CLI::App& app,
                        const std::function<void(std::function<ExitCode()>)>& select) {
  struct Options {
    bool json = false, no_trial = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* sub =
      app.add_subcommand("doctor", "Say what this machine lacks for a run, and how to get it");
  sub->add_flag("--json", options->json, "Print JSON (dyield.doctor/1)");
  sub->add_flag("--no-trial", options->no_trial, "Leave out the trial run of two vCPUs");
  sub->footer(
      "Each line is a requirement: met, not met, or cannot tell, and with -> what to do about it.\n"
      "A note is no requirement, but changes what a run shows.\n"
      "Exit code: 0 a run with probes is possible, 3 it is not.\n"
      "Examples:\n"
      "  dyield doctor\n"
      "  dyield doctor --json --no-trial");
  sub->callback([options, select] {
    select([options] { return doctor(options->json, options->no_trial); });
  });
}

}  // namespace dyield
