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

// The schema that is written, published as schema/result-2.schema.json.
inline constexpr std::string_view kResultSchema = "dyield.result/2";
// Read as well: without series, base, arguments, volatile and ended.
inline constexpr std::string_view kOldResultSchema = "dyield.result/1";

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
  bool go_on = false;  // it is not complete, but the next one may be; in no file

  bool operator==(const Run&) const = default;
};

// The runs of one kernel in one cell: one file, or one run directory.
struct Result {
  std::string tool_version;
  std::vector<std::string> command;  // argv of the dyield that ran it
  Json arguments = Json::object();   // every option of `dyield run` with its value, defaults too
  std::string kernel;                // label of the kernel, such as "base"
  std::string series;                // hash of the patches in that kernel; empty if unknown
  std::string base;                  // what they apply to; empty if unknown
  // Free, with whatever is needed to repeat the run. `lab`, if present, is
  // {"emulated": bool, "machine": string, ...}. The same on every run on the
  // machine.
  Json environment = Json::object();
  // Free: date, load, free memory. Nothing else depends on the moment of a run.
  Json volatile_facts = Json::object();
  std::string ended;  // why no more runs follow, a sentence; empty if nothing ended them yet
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

// Names of the files in a run directory: all of a result but its runs, and the
// runs, one a line.
inline constexpr std::string_view kHeaderFile = "run.json";
inline constexpr std::string_view kSamplesFile = "samples.ndjson";

// Text in the form of `kResultSchema`: units and derived metrics are added here.
// Throws Error (kFailed) for data that from_text() would not accept again.
std::string to_text(const Result& result);

// The same without the runs: the text of kHeaderFile.
std::string to_header_text(const Result& result);
// One run as a line of kSamplesFile, with its newline.
std::string to_line(const Run& run);

// Parses and validates one result. Every violation throws Error (kUsage) with
// `file`, a JSON pointer, what was expected and what was found.
Result from_text(std::string_view text, const std::filesystem::path& file);

// Replaces the file atomically; see write_file_atomically().
void write_result(const std::filesystem::path& path, const Result& result);

// Loads one result file or, recursively and in the order of their paths, all
// results of a folder: result files (*.json; JSON of another kind is passed over
// with a debug message) and run directories. A last line of kSamplesFile
// without a newline is what a kill left of a write, and is passed over. Throws
// Error (kUsage) if a file is damaged or none is found.
std::vector<LoadedResult> load_results(const std::filesystem::path& path);

}  // namespace dyield
