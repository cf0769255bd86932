// SPDX-License-Identifier: GPL-2.0-only
#include "cli/session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/read_file.h"
#include "cli/kernel_log.h"
#include "cli/progress.h"
#include "result/run_directory.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

// What must not change between runs that are averaged. Memory and cgroup differ
// a little from login to login and boot to boot.
void check_same_machine(const Result& before, const Result& now, const std::string& where) {
  for (const char* key : {"uname", "kernel", "cpu_model", "cpus_online", "mitigations", "modules",
                          "scheduler", "lab"}) {
    const Json a = before.environment.value(key, Json()), b = now.environment.value(key, Json());
    if (a == b) continue;
    const Json change = Json::diff(a, b).at(0);
    const std::string path = change["path"];
    throw Error(
        ExitCode::kEnvironment,
        fmt::format(
            "The machine is not as it was in the runs{} so far: {}{} was {}, now it "
            "is {}; restore it, or begin anew in another folder.",
            where, key, path,
            a.contains(Json::json_pointer(path)) ? a.at(Json::json_pointer(path)).dump() : "absent",
            change.contains("value") ? change["value"].dump() : "absent"));
  }
}

// One side's results and where they go.
class SideResults {
 public:
  SideResults(std::string name, fs::path output, bool resume)
      : name_(std::move(name)), output_(std::move(output)) {
    if (!resume || !is_there(output_ / kHeaderFile)) return;
    result_ = load_results(output_ / kHeaderFile).at(0).result;
    started_ = true;
    directory_ = RunDirectory::reopen(output_);
    for (const Run& run : result_.runs) note(run);
  }

  [[nodiscard]] bool started() const { return started_; }
  [[nodiscard]] bool has(std::uint64_t seed) const { return complete_.contains(seed); }
  [[nodiscard]] const std::map<std::uint64_t, Counts>& complete() const { return complete_; }
  [[nodiscard]] const Result& result() const { return result_; }

  // At each switch to this side: `now` describes the machine.
  void enter(Result now) {
    if (!name_.empty()) now.kernel = name_;
    if (started_) {
      check_same_machine(result_, now, name_.empty() ? "" : " of side " + name_);
      return;
    }
    result_ = std::move(now);
    started_ = true;
    if (is_run_directory(output_)) directory_ = RunDirectory::create(output_, result_);
  }

  void add(Run run) {
    if (directory_) directory_->append(run);
    note(run);
    result_.runs.push_back(std::move(run));
    if (!directory_ && !output_.empty()) write_result(output_, result_);
  }

  void end(const std::string& why) {
    if (!started_) return;
    result_.ended = why;
    if (directory_) {
      directory_->write_header(result_);
    } else if (!output_.empty()) {
      write_result(output_, result_);
    }
  }

 private:
  void note(const Run& run) {
    if (run.status == RunStatus::kComplete) complete_[run.seed] = run.counts;
  }

  std::string name_;
  fs::path output_;
  Result result_;
  bool started_ = false;
  std::map<std::uint64_t, Counts> complete_;
  std::optional<RunDirectory> directory_;
};

std::vector<SideResults> make_sides(const Session& session) {
  std::vector<SideResults> sides;
  if (session.sides.empty()) sides.emplace_back("", session.output, session.resume);
  for (const SideSpec& spec : session.sides) {
    sides.emplace_back(spec.name, session.output.empty() ? "" : session.output / spec.name,
                       session.resume);
  }
  return sides;
}

// The values of the metric, of the seeds that every side has.
std::vector<Pair> values(const std::vector<SideResults>& sides, const MetricInfo& metric) {
  std::vector<Pair> all;
  for (const auto& [seed, counts] : sides.front().complete()) {
    const auto other = sides.back().complete().find(seed);
    if (other == sides.back().complete().end()) continue;
    const auto a = metric_value(metric, counts), b = metric_value(metric, other->second);
    if (a && b) all.push_back({*a, *b});
  }
  return all;
}

// The metric whose interval is to be narrow: the one asked for, or else what the workload gets
// done; nullptr if no run is complete. Throws if no run has it: it would never be narrow.
const MetricInfo* metric_of(const std::vector<SideResults>& sides, const MetricInfo* wanted) {
  bool runs = false;
  for (const MetricInfo& metric : metrics()) {
    if (wanted != nullptr ? &metric != wanted : !metric.gating) continue;
    for (const SideResults& side : sides) {
      for (const auto& [seed, counts] : side.complete()) {
        if (metric_value(metric, counts)) return &metric;
        runs = true;
      }
    }
  }
  if (!runs) return nullptr;
  throw Error(ExitCode::kUsage,
              fmt::format("--until-ci: no run has the metric {}; name one with --ci-metric that "
                          "this workload has, in its results under \"counts\" and \"metrics\".",
                          wanted != nullptr ? wanted->name : "that it would take by itself"));
}

// Keeps the kernel's words; one that tells of a defect goes into the run.
void keep_kernel_log(const Session& session, const World& world, Run& run) {
  const std::string lines = world.kernel_log();
  if (lines.empty()) return;
  if (const std::string defect = kernel_defect(lines); !defect.empty()) {
    run.notes.push_back("the kernel logged: " + defect);
    spdlog::warn("seed {}: the kernel logged: {}", run.seed, defect);
  }
  if (is_run_directory(session.output)) append_to_file(session.output / kKernelLogFile, lines);
}

}  // namespace

bool is_run_directory(const fs::path& output) {
  return !output.empty() && output.extension() != ".json";
}

SessionResult run_session(const Session& session, const World& world) {
  std::vector<SideResults> sides = make_sides(session);
  Progress progress(session.run_time);
  std::optional<std::size_t> current;
  std::string ended;
  std::exception_ptr failure;
  bool complete = true;
  std::size_t partial = 0, made = 0;
  // What the machine logged before is not these runs'.
  static_cast<void>(world.kernel_log());
  for (std::uint64_t block = 0; ended.empty(); block++) {
    std::optional<double> width;
    const MetricInfo* metric =
        session.until && block > 0 ? metric_of(sides, session.metric) : nullptr;
    if (session.until && block >= session.seeds) {
      if (metric != nullptr) {
        width = relative_half_width(values(sides, *metric), sides.size() > 1);
      }
      const std::string interval = fmt::format(
          "the 95 % interval of {}{} after {} seeds is {}",
          metric != nullptr ? metric->name : "progress", sides.size() > 1 ? " as a ratio" : "",
          block, width ? fmt::format("+-{:.2f} %", *width * 100) : "not defined");
      if (width && *width <= *session.until) {
        ended =
            fmt::format("{}: as narrow as asked for ({:.2f} %)", interval, *session.until * 100);
      } else if (block >= session.max_seeds) {
        ended = fmt::format("the cap of {} seeds is reached; {}, wider than asked for ({:.2f} %)",
                            session.max_seeds, interval, *session.until * 100);
      }
    } else if (!session.until && block >= session.seeds) {
      ended = fmt::format("all {} seeds", session.seeds);
    }
    if (!ended.empty()) break;
    const std::uint64_t total = sides.size() * expected_runs(std::max(block, session.seeds), width,
                                                             session.until, session.max_seeds);
    std::uint64_t finished = block * sides.size();
    const auto steps = block_steps(session.order, sides.size(), session.first_seed, block);
    const bool last = block + 1 == (session.until ? session.max_seeds : session.seeds);
    for (const RunStep& step : steps) {
      SideResults& side = sides[step.side];
      if (side.has(step.seed)) {
        finished++;
        continue;
      }
      Run run;
      const bool entering = current != step.side;
      try {
        if (entering) {
          if (!session.sides.empty()) world.set_up(session.sides[step.side]);
          side.enter(world.describe());
          current = step.side;
        }
        progress.show(fmt::format("{}{}: seed {}", session.title,
                                  session.sides.empty() ? "" : " " + session.sides[step.side].name,
                                  step.seed),
                      finished++, total);
        run = world.run(step.seed, last && step == steps.back());
      } catch (const Error& error) {
        // What has been measured is not this one's fault. A wrong machine is known at the first.
        const bool nothing = entering ? made == 0 : std::ranges::all_of(sides, [](const auto& s) {
          return s.result().runs.empty();
        });
        if (nothing) throw;
        progress.clear();
        complete = false;
        ended = fmt::format("seed {}: {}", step.seed, error.what());
        failure = std::current_exception();
        break;
      }
      made++;
      progress.ran();
      progress.clear();
      keep_kernel_log(session, world, run);
      if (run.status != RunStatus::kComplete) {
        complete = false;
        const std::string why = fmt::format("seed {}: {}", run.seed, run.reason);
        if (run.go_on) {
          spdlog::warn("{}", why);
          partial++;
        } else {
          ended = why;
        }
      }
      side.add(std::move(run));
      if (!ended.empty()) break;
    }
  }
  if (partial > 0) ended += fmt::format("; {} of the runs are partial", partial);
  SessionResult result;
  result.complete = complete;
  result.failure = failure;
  for (SideResults& side : sides) {
    side.end(ended);
    if (side.started()) result.sides.push_back(side.result());
  }
  if (complete) spdlog::info("ended: {}", ended);
  return result;
}

}  // namespace dyield
