// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "result/metric.h"

namespace dyield {

// JSON whose objects keep the order in which they were written, so that equal
// data gives byte-identical files.
using Json = nlohmann::ordered_json;

inline constexpr std::string_view kResultSchema = "dyield.result/1";

enum class RunStatus {
  kComplete,  // ran from the start gun to its planned end: the only kind that is compared
  kPartial,   // ended early, its counts cover less than the planned time
  kFailed,    // its counts mean nothing
};

// One run, from one boot or restored snapshot: the unit of statistics.
struct Run {
  std::uint64_t seed = 0;  // pairs this run with the other kernel's run
  RunStatus status = RunStatus::kComplete;
  std::string reason;            // why it is not complete, else empty
  Counts counts;                 // names and units from the table of metrics
  Json detail = Json::object();  // free: per-target matrix, phases, per-vCPU counts ...
  std::vector<std::string> notes;

  bool operator==(const Run&) const = default;
};

// The runs of one kernel in one cell: one file.
struct Result {
  std::string tool_version;
  std::vector<std::string> command;  // argv of the dyield that ran it
  std::string kernel;                // label of the kernel, such as "base"
  // Free, with whatever is needed to repeat the run. `lab`, if present, is
  // {"emulated": bool, "machine": string, ...}. Nothing else in a result file
  // depends on the time of day.
  Json environment = Json::object();
  // Scalars. Must hold workload (string), vcpus a VM, vms and cpus (positive
  // integers); two runs are comparable only if all dimensions are equal.
  Json dimensions = Json::object();
  std::vector<Run> runs;

  bool operator==(const Result&) const = default;

  [[nodiscard]] bool emulated() const;
  // The machine of the lab, such as "qemu-tcg-svm"; empty outside the lab.
  [[nodiscard]] std::string machine() const;
};

struct LoadedResult {
  std::filesystem::path path;
  Result result;
};

// Text in the form of `kResultSchema`: units and derived metrics are added here.
// Throws Error (kFailed) for data that from_json() would not accept again.
std::string to_text(const Result& result);

// Parses and validates one result. Every violation throws Error (kUsage) with
// `file`, a JSON pointer, what was expected and what was found.
Result from_text(std::string_view text, const std::filesystem::path& file);

// Replaces the file atomically; see write_file_atomically().
void write_result(const std::filesystem::path& path, const Result& result);

// Loads one result file or, recursively and in the order of their paths, all
// result files of a folder (*.json; JSON of another kind is passed over with a
// debug message). Throws Error (kUsage) if a file is damaged or none is found.
std::vector<LoadedResult> load_results(const std::filesystem::path& path);

}  // namespace dyield
