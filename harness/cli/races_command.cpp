// SPDX-License-Identifier: GPL-2.0-only
#include "cli/races_command.h"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/numbers.h"
#include "base/privileges.h"
#include "cli/kernel_log.h"
#include "cli/run_command.h"
#include "engine/environment.h"
#include "kvm/workload.h"
#include "races/round.h"
#include "result/result.h"

namespace dyield {
namespace {

struct RacesOptions {
  std::uint64_t rounds = 100, seed = 1;
  std::uint32_t vcpus = 6;
  double limit = 30;
  std::string workload, payload;
  std::vector<std::string> acts;
  bool no_kernel_log = false, json = false;
};

std::string footer() {
  std::string text =
      "Each round is a VM whose vCPUs send each other IPIs. While they do, at random moments and\n"
      "in random order, all of this is done to it from another thread:\n";
  for (const ActInfo& act : acts()) text += fmt::format("  {:<12} {}\n", act.name, act.text);
  return text +
         "What KVM answers is counted. EIO says that KVM has given the VM up: for an SMI, while "
         "the\n"
         "guest had no memory, or for a bug, which is in the kernel's log. A report in the\n"
         "kernel's log ends the command with exit code 1, a round that does not end with 124, "
         "both\n"
         "with the seed of the round. Ctrl-C ends it after the round under way.\n\n"
         "Examples:\n"
         "  dyield races --rounds 1000\n"
         "  dyield races --seed 4711 --rounds 1 -v         # that round again\n"
         "  dyield races --workload all-to-all --act set-lapic,apic-id,close --json";
}

std::vector<std::string> names(std::span<const ActInfo> all) {
  std::vector<std::string> found;
  for (const ActInfo& act : all) found.emplace_back(act.name);
  return found;
}

std::vector<std::string> storm_names() {
  std::vector<std::string> found;
  for (const dyield_workload storm : storms()) found.push_back(workload_info(storm).name);
  return found;
}

bool interrupted() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  const timespec now{};
  return sigtimedwait(&set, nullptr, &now) > 0;
}

// By the names of the errno values.
Json by_errno(const std::map<int, std::uint64_t>& counts) {
  Json all = Json::object();
  for (const auto& [error, count] : counts) {
    const char* name = strerrorname_np(error);
    all[name != nullptr ? name : std::to_string(error)] = count;
  }
  return all;
}

Json to_json(const RacesOptions& options, const RaceCounts& counts, const std::string& ended) {
  Json rows = Json::object(), exits = Json::object();
  for (const ActInfo& act : acts()) {
    const auto found = counts.acts.find(act.id);
    const ActCount count = found == counts.acts.end() ? ActCount{} : found->second;
    rows[std::string(act.name)] = {
        {"tried", count.tried}, {"in_storm", count.in_storm}, {"refused", by_errno(count.refused)}};
  }
  for (const auto& [reason, count] : counts.exits) exits[std::to_string(reason)] = count;
  return {{"schema", "dyield.races/1"},
          {"seed", options.seed},
          {"rounds", counts.rounds},
          {"rounds_wanted", options.rounds},
          {"vcpus", counts.vcpus},
          {"acts", std::move(rows)},
          {"kvm_run_errors", by_errno(counts.run_errors)},
          {"kvm_exits", std::move(exits)},
          {"ended", ended}};
}

void print_table(const Json& result) {
  fmt::print("{} rounds from seed {} on, {} vCPUs{}\n", result["rounds"].get<std::uint64_t>(),
             result["seed"].get<std::uint64_t>(), result["vcpus"].get<std::uint64_t>(),
             result["ended"] == "" ? "" : ": " + result["ended"].get<std::string>());
  fmt::print("{:<12} {:>8} {:>8}  refused\n", "act", "tried", "in storm");
  for (const auto& [name, row] : result["acts"].items()) {
    std::string refused;
    for (const auto& [error, count] : row["refused"].items())
      refused += fmt::format("{}{} {}", refused.empty() ? "" : ", ", count.dump(), error);
    fmt::print("{}\n", fmt::format("{:<12} {:>8} {:>8}  {}", name, row["tried"].dump(),
                                   row["in_storm"].dump(), refused.empty() ? "-" : refused));
  }
}

ExitCode races(const RacesOptions& options) {
  const Payload payload = Payload::from_file(find_payload(options.payload));
  std::vector<Act> allowed;
  for (const ActInfo& act : acts()) {
    if (options.acts.empty() || std::ranges::find(options.acts, act.name) != options.acts.end())
      allowed.push_back(act.id);
  }
  std::vector<dyield_workload> workloads(storms().begin(), storms().end());
  if (!options.workload.empty()) workloads = {find_workload(options.workload).id};
  const KvmSystem system;
  require_pause_exits();
  for (const dyield_workload workload : workloads) require_way(system, workload_info(workload));

  // In the threads of the rounds, too; asked for between the rounds.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);

  std::optional<KernelLog> kernel_log;
  if (!options.no_kernel_log) kernel_log.emplace();
  if (kernel_log && !kernel_log->obstacle().empty())
    spdlog::warn("Reports of the kernel will not be seen: {}.", kernel_log->obstacle());
  keep_capabilities({});
  const std::chrono::nanoseconds limit(static_cast<std::int64_t>(options.limit * 1e9));
  RaceCounts counts;
  std::string ended;
  ExitCode code = ExitCode::kFailed;
  for (std::uint64_t i = 0; i < options.rounds && ended.empty(); i++) {
    const RoundPlan plan = plan_round(options.seed + i, options.vcpus, allowed, workloads);
    spdlog::debug("seed {}: {}, {} vCPUs", plan.seed, workload_info(plan.workload).name,
                  plan.vcpus);
    for (const RaceStep& step : plan.steps) {
      spdlog::debug("  after {} us: {} vCPU {}", step.after.count(),
                    acts()[static_cast<std::size_t>(step.act)].name, step.vcpu);
    }
    try {
      race(system, payload, plan, limit, counts);
    } catch (const Error& error) {
      // The rounds before are not this one's fault.
      ended = fmt::format("at seed {}: {}", plan.seed, error.what());
      code = error.code();
      break;
    }
    if (const std::string defect = kernel_log ? kernel_defect(kernel_log->drain()) : "";
        !defect.empty()) {
      ended = fmt::format("at seed {}, the kernel logged: {}", plan.seed, defect);
    } else if (interrupted()) {
      ended = "interrupted";
    }
  }
  const Json result = to_json(options, counts, ended);
  if (options.json) {
    fmt::print("{}\n", result.dump(2));
  } else {
    print_table(result);
  }
  if (ended.empty()) return ExitCode::kOk;
  spdlog::error("Ended after {} rounds: {}", counts.rounds, ended);
  return code;
}

}  // namespace

void add_races_command(CLI::App& app,
                       const std::function<void(std::function<ExitCode()>)>& select) {
  auto options = std::make_shared<RacesOptions>();
  CLI::App* command = app.add_subcommand(
      "races", "Reset, rearrange and destroy VMs in the middle of a storm of IPIs");
  command->add_option("--rounds", options->rounds, "VMs, one after the other")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of the first round; each has the next one")
      ->check(not_negative())
      ->capture_default_str();
  command->add_option("--vcpus", options->vcpus, "Most vCPUs that a VM begins with")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  command->add_option("--workload", options->workload, "The storm (default: any of these)")
      ->check(CLI::IsMember(storm_names()));
  command->add_option("--act", options->acts, "Do only these things to the VM")
      ->delimiter(',')
      ->check(CLI::IsMember(names(acts())));
  command->add_option("--limit", options->limit, "Seconds for one round, until it is a hang")
      ->check(number_between(0.1, 3600))
      ->capture_default_str();
  command->add_option("--payload", options->payload, "Guest image to use")->type_name("FILE");
  command->add_flag("--no-kernel-log", options->no_kernel_log,
                    "Leave the kernel's log alone: somebody else reads it");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(footer());
  command->callback([options, select] { select([options] { return races(*options); }); });
}

}  // namespace dyield
