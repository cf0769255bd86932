// SPDX-License-Identifier: GPL-2.0-only
#include "cli/run_command.h"

#include <fmt/format.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "engine/environment.h"
#include "engine/run.h"
#include "kvm/workload.h"
#include "result/result.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string workload;
  std::uint32_t vcpus = 4, vms = 1, cpus = 0;
  std::string pin = "none";
  std::uint64_t seed = 1, seeds = 1;
  double duration = 1, warmup = 0.2, limit = 30;
  std::uint32_t think = 256, unit = 64;
  std::string fault = "none";
  std::string label, output, payload;
  bool no_probes = false, audit = false, json = false, dry_run = false;
};

// The first `wanted` CPUs this process may use; all of them for 0.
std::vector<int> choose_cpus(std::uint32_t wanted) {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &set) && (wanted == 0 || cpus.size() < wanted)) cpus.push_back(cpu);
  }
  if (cpus.size() < wanted) {
    throw Error(ExitCode::kSkipped, fmt::format("--cpus {} asks for more CPUs than the {} that "
                                                "this process may use; ask for fewer.",
                                                wanted, cpus.size()));
  }
  return cpus;
}

fs::path find_payload(const std::string& given) {
  if (!given.empty()) return given;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& place : {self / "../lib/payload.elf", self / "../lib/dyield/payload.elf",
                                fs::path("/usr/local/lib/dyield/payload.elf")}) {
    if (fs::exists(place, error)) return place;
  }
  throw Error(ExitCode::kUsage, fmt::format("The guest payload is not beside {}; build it with "
                                            "`make harness` or name it with --payload.",
                                            self.string()));
}

nlohmann::ordered_json dimensions(const Options& options, std::size_t cpus) {
  const double overcommit =
      static_cast<double>(options.vcpus) * options.vms / static_cast<double>(cpus);
  return {{"workload", options.workload},
          {"vcpus", options.vcpus},
          {"vms", options.vms},
          {"cpus", cpus},
          {"overcommit", overcommit},
          {"pin", options.pin},
          {"duration_s", options.duration},
          {"warmup_s", options.warmup},
          {"think", options.think},
          {"unit", options.unit},
          {"probes", !options.no_probes},
          {"audit", options.audit},
          {"fault", options.fault}};
}

std::string default_label() {
  utsname name{};
  uname(&name);
  return name.release;
}

std::vector<std::string> fault_names() {
  std::vector<std::string> names;
  for (const FaultInfo& fault : faults()) names.push_back(fault.name);
  return names;
}

// The headline metrics that some run has.
std::vector<const MetricInfo*> columns(const Result& result) {
  std::vector<const MetricInfo*> found;
  for (const MetricInfo& metric : metrics()) {
    if (metric.headline && std::ranges::any_of(result.runs, [&](const Run& run) {
          return metric_value(metric, run.counts).has_value();
        })) {
      found.push_back(&metric);
    }
  }
  return found;
}

void print_table(const Result& result) {
  fmt::print("{}, {} vCPUs x {} VMs on {} CPUs, kernel {}\n",
             result.dimensions["workload"].get<std::string>(),
             result.dimensions["vcpus"].get<std::uint32_t>(),
             result.dimensions["vms"].get<std::uint32_t>(),
             result.dimensions["cpus"].get<std::size_t>(), result.kernel);
  fmt::print("{:>10}", "seed");
  const auto shown = columns(result);
  for (const MetricInfo* metric : shown) fmt::print("  {:>25}", metric->name);
  fmt::print("  status\n");
  for (const Run& run : result.runs) {
    fmt::print("{:>10}", run.seed);
    for (const MetricInfo* metric : shown) {
      const auto value = metric_value(*metric, run.counts);
      if (!value) {
        fmt::print("  {:>25}", "-");
      } else if (metric->source == MetricSource::kCount) {
        fmt::print("  {:>25.0f}", *value);
      } else {
        fmt::print("  {:>25.4f}", *value);
      }
    }
    fmt::print("  {}\n", run.status == RunStatus::kComplete  ? "complete"
                         : run.status == RunStatus::kPartial ? "partial: " + run.reason
                                                             : "failed: " + run.reason);
  }
  if (result.emulated()) {
    fmt::print("Lab ({}): emulated, virtual time; not bare-metal time.\n", result.machine());
  }
}

ExitCode run(const Options& options, const std::vector<std::string>& command) {
  const auto seconds = [](double value) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(value));
  };
  RunConfig config;
  const WorkloadInfo& workload = find_workload(options.workload);
  const FaultInfo& fault = find_fault(options.fault);
  check_workload(workload, options.vcpus, options.vms, fault);
  config.workload = workload.id;
  config.vcpus = options.vcpus;
  config.vms = options.vms;
  config.cpus = choose_cpus(options.cpus);
  config.pin = options.pin == "each" ? Pin::kEach : Pin::kNone;
  config.warmup = seconds(options.warmup);
  config.duration = seconds(options.duration);
  config.limit = seconds(options.limit);
  config.think = options.think;
  config.unit = options.unit;
  config.fault = fault.id;
  config.probes = !options.no_probes;
  config.audit = options.audit;

  Result result;
  result.tool_version = DYIELD_VERSION;
  result.command = command;
  result.kernel = options.label.empty() ? default_label() : options.label;
  result.environment = collect_environment();
  result.dimensions = dimensions(options, config.cpus.size());

  if (options.dry_run) {
    fmt::print("{}\n", result.dimensions.dump(2));
    fmt::print("{} run(s), seeds {} to {}, about {:.1f} s\n", options.seeds, options.seed,
               options.seed + options.seeds - 1,
               static_cast<double>(options.seeds) * (options.warmup + options.duration));
    return ExitCode::kOk;
  }

  const Payload payload = Payload::from_file(find_payload(options.payload));
  const KvmSystem system;
  if (const std::string obstacle = pause_exits_obstacle(); !obstacle.empty()) {
    throw Error(ExitCode::kSkipped, obstacle);
  }

  bool complete = true;
  for (std::uint64_t i = 0; i < options.seeds && complete; i++) {
    config.seed = options.seed + i;
    spdlog::info("{}: seed {} ({} of {})", options.workload, config.seed, i + 1, options.seeds);
    result.runs.push_back(run_once(system, payload, config));
    complete = result.runs.back().status == RunStatus::kComplete;
    // After every run: whatever happens next, this much is kept.
    if (!options.output.empty()) write_result(options.output, result);
  }
  if (options.json) {
    fmt::print("{}", to_text(result));
  } else {
    print_table(result);
  }
  if (!complete) spdlog::error("{}", result.runs.back().reason);
  return complete ? ExitCode::kOk : ExitCode::kFailed;
}

}  // namespace

void add_run_command(CLI::App& app, std::vector<std::string> command,
                     const std::function<void(std::function<ExitCode()>)>& select) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("run", "Run a workload on fresh VMs and count what KVM does");
  sub->add_option("workload", options->workload, "Its name; see `dyield list`")->required();
  sub->add_option("--vcpus", options->vcpus, "vCPUs a VM")
      ->check(CLI::Range(2, DYIELD_MAX_VCPUS))
      ->capture_default_str();
  sub->add_option("--vms", options->vms, "VMs, all doing the same but for group fair")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  sub->add_option("--cpus", options->cpus,
                  "Host CPUs that the vCPUs share: vCPUs x VMs / CPUs is the overcommit; 0 for all")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  sub->add_option("--pin", options->pin,
                  "none: the scheduler moves vCPUs among the CPUs; each: one CPU for each vCPU")
      ->check(CLI::IsMember({"none", "each"}))
      ->capture_default_str();
  sub->add_option("--seed", options->seed, "Of the first run")->capture_default_str();
  sub->add_option("--seeds", options->seeds, "Runs, each with the next seed and fresh VMs")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  sub->add_option("--duration", options->duration, "Seconds that count")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
  sub->add_option("--warmup", options->warmup, "Seconds before them that do not")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  sub->add_option("--limit", options->limit, "Seconds for the rest of a run, until it is a hang")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  sub->add_option("--think", options->think, "Mean units of work that a sender does between steps")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  sub->add_option("--unit", options->unit, "Multiplications in a unit of work")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  sub->add_option("--fault", options->fault,
                  "Break the guest on purpose, to see that its check finds it")
      ->check(CLI::IsMember(fault_names()))
      ->capture_default_str();
  sub->add_option("--label", options->label, "Name of the kernel in the result (uname -r)");
  sub->add_option("--payload", options->payload, "Guest image to use");
  sub->add_option("-o,--output", options->output, "Result file to write (replaced as a whole)");
  sub->add_flag("--no-probes", options->no_probes, "Do without BPF: only what the guest counts");
  sub->add_flag("--audit", options->audit,
                "Count a second time by KVM's tracepoints and statistics, to check the probes");
  sub->add_flag("--json", options->json, "Print the result file instead of a table");
  sub->add_flag("--dry-run", options->dry_run, "Print what would run, and stop");
  sub->footer(
      "Examples:\n"
      "  dyield run unicast --vcpus 4 --cpus 2\n"
      "  dyield run all-to-all --vcpus 16 --vms 2 --cpus 16 --seeds 30 -o patched.json\n"
      "  dyield run unicast --fault early-free     # must fail: the check works");
  sub->callback([options, command = std::move(command), select] {
    select([options, command] { return run(*options, command); });
  });
}

}  // namespace dyield
