// SPDX-License-Identifier: GPL-2.0-only
#include "replay/replay_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "base/printable.h"
#include "replay/replay.h"

namespace dyield {
namespace {

constexpr const char* kFooter =
    R"(Asks each policy whom it would have chosen in every recorded situation, and compares that with
what was recorded. A policy is kvm_vcpu_on_spin() of a kernel and what it calls, cut out of that
kernel's source when dyield was built: mainline, series (the patched kernel), and the peers that
the lab compares (patches/lab/peers.patch): vector-pending and pending also let pass whoever has
the IPI's vector or any interrupt pending; pending is the first patch of the series, and receivers
the series without it; irr-any takes whoever has any interrupt pending for a receiver; hold is the
series, but stays for a receiver that runs; strict is the series without its
last resort, a vCPU that it has refused; oracle is told by the guest whom it awaits.
Peers are absent where the series is a backport. Any patch in patches/lab/NAME.patch becomes a
policy by scripts/harness with DYIELD_POLICIES="mainline:mainline;mine:NAME".

  yields     decisions that yield to somebody
  same       share of the decisions that are the same as those recorded
  hit        share of the yields judged whose target had yet to take the spinning vCPU's IPI
  precision  of the yields of a vCPU that awaited somebody, those to one it awaited
  recall     of the decisions with an awaited vCPU that waited for a CPU, those that yield to an
             awaited one
The last two need a guest of `dyield run`, which publishes whom it awaits.

Each situation is judged by itself: a policy that chose better would have met other situations.
A yield to a vCPU that waits for a CPU is taken to succeed. APIC IDs are taken to be the vCPUs'
indexes, as most VMMs choose them.

Examples:
  dyield replay yields.rec
  dyield replay --policy series --json yields.rec)";

struct ReplayOptions {
  std::string file;
  std::vector<std::string> policies;
  bool json = false;
};

std::string share(std::optional<double> value) {
  return value ? fmt::format("{:.3f}", *value) : "-";
}

std::optional<double> share_of(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return std::nullopt;
  return static_cast<double>(part) / static_cast<double>(whole);
}

nlohmann::ordered_json to_json(const Outcome& outcome) {
  const auto number = [](std::optional<double> value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
  };
  return {{"policy", outcome.name},
          {"decisions", outcome.decisions},
          {"yields", outcome.yields},
          {"same", outcome.same},
          {"hits", outcome.hits},
          {"misses", outcome.misses},
          {"yields_while_waiting", outcome.while_waiting},
          {"yields_to_awaited", outcome.to_awaited},
          {"starved", outcome.starved},
          {"starved_to_awaited", outcome.starved_to_awaited},
          {"precision", number(outcome.precision())},
          {"recall", number(outcome.recall())}};
}

ExitCode run_replay(const ReplayOptions& options) {
  const ReadRecording recording = read_recording(options.file);
  if (policies().empty()) {
    throw Error(ExitCode::kEnvironment,
                "This dyield was built without a kernel's source, so it has no policies; run "
                "scripts/setup, then scripts/harness.");
  }
  std::vector<Outcome> outcomes{recorded(recording)};
  for (const dyield_policy* policy : policies()) {
    const auto& wanted = options.policies;
    if (wanted.empty() || std::ranges::find(wanted, policy_name(*policy)) != wanted.end()) {
      outcomes.push_back(replay(recording, *policy));
    }
  }
  std::set<std::uint64_t> vms;
  std::uint64_t known = 0;
  for (std::size_t i = 0; i < recording.size(); i++) {
    const dyield_decision decision = recording[i];
    vms.insert(decision.vm);
    known += decision.known;
  }
  const dyield_recording& head = recording.head;
  if (options.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Outcome& outcome : outcomes) list.push_back(to_json(outcome));
    const nlohmann::ordered_json document = {{"schema", "dyield.replay/1"},
                                             {"kernel", recording.kernel},
                                             {"emulated", head.emulated != 0},
                                             {"vms", vms.size()},
                                             {"decisions", std::uint64_t{head.decisions}},
                                             {"one_in", head.one_in},
                                             {"lost", std::uint64_t{head.lost}},
                                             {"not_kept", std::uint64_t{head.not_kept}},
                                             {"with_awaited_known", known},
                                             {"outcomes", std::move(list)}};
    fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return ExitCode::kOk;
  }
  fmt::print("{} decisions{} of {} VMs on kernel {}{}; lost {}, beyond the limit {}\n\n",
             std::uint64_t{head.decisions},
             head.one_in > 1 ? fmt::format(", one in {},", head.one_in) : "", vms.size(),
             printable_name(recording.kernel), head.emulated != 0 ? " (emulated)" : "",
             std::uint64_t{head.lost}, std::uint64_t{head.not_kept});
  if (head.lost + head.not_kept > 0) {
    fmt::print(
        "INCOMPLETE: what is missing is not missing at random, so neither are the shares.\n\n");
  }
  fmt::print("{:<14} {:>10} {:>7} {:>7} {:>10} {:>7}\n", "policy", "yields", "same", "hit",
             "precision", "recall");
  for (const Outcome& o : outcomes) {
    fmt::print("{:<14} {:>10} {:>7} {:>7} {:>10} {:>7}\n", o.name, o.yields,
               share(share_of(o.same, o.decisions)), share(share_of(o.hits, o.hits + o.misses)),
               share(o.precision()), share(o.recall()));
  }
  return ExitCode::kOk;
}

}  // namespace

void add_replay_command(CLI::App& app,
                        const std::function<void(std::function<ExitCode()>)>& select) {
  auto options = std::make_shared<ReplayOptions>();
  std::vector<std::string> names;
  for (const dyield_policy* policy : policies()) names.push_back(policy_name(*policy));
  CLI::App* command =
      app.add_subcommand("replay", "Ask kernels' policies whom they would have yielded to");
  command->add_option("recording", options->file, "what dyield record has written")->required();
  command->add_option("--policy", options->policies, "Only this one; repeatable (default: all)")
      ->check(CLI::IsMember(names));
  command->add_flag("--json", options->json, "Print JSON (dyield.replay/1)");
  command->footer(kFooter);
  command->callback([options, select] { select([options] { return run_replay(*options); }); });
}

}  // namespace dyield
