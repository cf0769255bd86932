// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/sequence.h"
#include "result/result.h"

namespace dyield {

inline constexpr std::string_view kPlanSchema = "dyield.plan/1";
inline constexpr std::string_view kPlanFile = "plan.json";
inline constexpr std::string_view kKernelLogFile = "dmesg.log";
inline constexpr std::string_view kConsoleFile = "console.log";

// A series of runs: what is done, in which order, and when it is enough.
struct Session {
  std::string title;            // for the progress line
  std::vector<SideSpec> sides;  // none: the machine as it is, without a name
  Order order = Order::kAbba;
  std::uint64_t first_seed = 1;
  std::uint64_t seeds = 1;                   // at least
  std::uint64_t max_seeds = 1;               // at most, while `until` is not reached
  std::optional<double> until;               // relative_half_width() of `metric`
  const MetricInfo* metric = nullptr;        // nullptr: the first gating one that the runs have
  std::chrono::duration<double> run_time{};  // of one, at the least; for the estimate
  // Nowhere if empty; else a run directory or, with named sides, a folder of
  // them by their names; or a single file that ends in ".json".
  std::filesystem::path output;
  bool resume = false;  // go on with `output`
};

// What a session needs from the world; a test has a world of its own.
struct World {
  std::function<void(const SideSpec&)> set_up;
  std::function<Result()> describe;  // this machine now, without runs
  // `last`: nothing is asked of the world after it.
  std::function<Run(std::uint64_t seed, bool last)> run;
  std::function<std::string()> kernel_log;  // its lines since the last call
};

struct SessionResult {
  std::vector<Result> sides;   // those that were begun, at least one
  bool complete = false;       // every run
  std::exception_ptr failure;  // what kept a run from starting, behind others that are kept
};

// Whether results go to a folder (and not to a single file or nowhere).
bool is_run_directory(const std::filesystem::path& output);

// Runs what is not done yet, up to a run that is not complete and does not say to go on.
// After each run everything so far is on disk.
// Throws Error: kEnvironment if the machine is not the one that a side's
// earlier runs were made on, kUsage if the runs have no `metric` that `until` is about,
// and what `World` throws.
SessionResult run_session(const Session& session, const World& world);

}  // namespace dyield
