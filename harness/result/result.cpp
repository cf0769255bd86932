// SPDX-License-Identifier: GPL-2.0-only
#include "result/result.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "base/read_file.h"
#include "result/atomic_file.h"
#include "result/json_reader.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::pair<RunStatus, std::string_view>, 3> kStatuses = {{
    {RunStatus::kComplete, "complete"},
    {RunStatus::kPartial, "partial"},
    {RunStatus::kFailed, "failed"},
}};

std::string_view name_of(RunStatus status) {
  return std::ranges::find(kStatuses, status, &decltype(kStatuses)::value_type::first)->second;
}

Json quantity(Json value, std::string_view unit) {
  return Json{{"value", std::move(value)}, {"unit", unit}};
}

// Units come from the table of metrics. A count that is not in the table has
// none, which the validation in to_text() reports.
Json run_to_json(const Run& run) {
  Json counts = Json::object();
  for (const auto& [name, value] : run.counts) {
    const MetricInfo* metric = find_metric(name);
    counts[name] = quantity(value, metric ? metric->unit : "");
  }
  Json derived = Json::object();
  for (const MetricInfo& metric : metrics()) {
    if (metric.source != MetricSource::kDerived) continue;
    if (const auto value = metric_value(metric, run.counts))
      derived[std::string(metric.name)] = quantity(*value, metric.unit);
  }
  return Json{{"seed", run.seed},     {"status", name_of(run.status)},
              {"reason", run.reason}, {"counts", counts},
              {"metrics", derived},   {"detail", run.detail},
              {"notes", run.notes}};
}

// JSON has no NaN and no infinity; nlohmann::json would silently write null.
bool all_finite(const Json& value) {
  if (value.is_number_float()) return std::isfinite(value.get<double>());
  return !value.is_structured() || std::ranges::all_of(value, all_finite);
}

RunStatus read_status(const JsonReader& json) {
  const std::string text = json.text();
  const auto it = std::ranges::find(kStatuses, text, &decltype(kStatuses)::value_type::second);
  if (it == kStatuses.end()) json.fail("\"complete\", \"partial\" or \"failed\"");
  return it->first;
}

// The row of the metric at `json`, whose source and unit must be right.
const MetricInfo& read_metric(const std::string& name, MetricSource source,
                              const JsonReader& json) {
  const MetricInfo* metric = find_metric(name);
  if (!metric || metric->source != source) {
    json.fail(source == MetricSource::kCount
                  ? "the name of a count that this version of dyield knows"
                  : "the name of a derived metric that this version of dyield knows");
  }
  json.allow_only({"value", "unit"});
  if (json.at("unit").text() != metric->unit)
    json.at("unit").fail(fmt::format("the unit \"{}\"", metric->unit));
  return *metric;
}

// Derived metrics are in the file for its other readers. They must follow from
// the counts, or somebody has edited one of them.
void check_derived(const JsonReader& json, const Counts& counts) {
  for (const auto& [name, quantity] : json.members()) {
    const MetricInfo& metric = read_metric(name, MetricSource::kDerived, quantity);
    const auto expected = metric_value(metric, counts);
    if (!expected) quantity.fail("nothing (the counts do not determine it)");
    const double found = quantity.at("value").number();
    if (std::abs(found - *expected) > 1e-9 * std::abs(*expected))
      quantity.at("value").fail(fmt::format("{} (it follows from the counts)", *expected));
  }
}

Run read_run(const JsonReader& json) {
  json.allow_only({"seed", "status", "reason", "counts", "metrics", "detail", "notes"});
  Run run;
  run.seed = json.at("seed").unsigned_integer();
  run.status = read_status(json.at("status"));
  run.reason = json.at("reason").text();
  const bool complete = run.status == RunStatus::kComplete;
  if (complete != run.reason.empty())
    json.at("reason").fail(complete ? "an empty string in a complete run"
                                    : "the reason why the run is not complete");
  for (const auto& [name, count] : json.at("counts").members()) {
    read_metric(name, MetricSource::kCount, count);
    run.counts[name] = count.at("value").unsigned_integer();
  }
  if (complete && run.counts.empty()) json.at("counts").fail("the counts of a complete run");
  check_derived(json.at("metrics"), run.counts);
  run.detail = json.at("detail").object();
  run.notes = json.at("notes").texts();
  return run;
}

void check_environment(const JsonReader& json) {
  if (json.has("cpu_model")) static_cast<void>(json.at("cpu_model").text());
  if (json.has("cpu") && json.at("cpu").has("vendor_id"))
    static_cast<void>(json.at("cpu").at("vendor_id").text());
  if (!json.has("lab")) return;
  static_cast<void>(json.at("lab").at("emulated").boolean());
  static_cast<void>(json.at("lab").at("machine").nonempty_text());
}

void check_dimensions(const JsonReader& json) {
  for (const auto& [key, value] : json.members()) static_cast<void>(value.scalar());
  static_cast<void>(json.at("workload").nonempty_text());
  for (const auto* key : {"vcpus", "vms", "cpus"}) {
    if (json.at(key).unsigned_integer() == 0) json.at(key).fail("an integer above 0");
  }
}

// A document without `runs` is that of a run directory.
Result read_result(const Json& document, const std::string& file) {
  const JsonReader json(document, file);
  const std::string schema = json.at("schema").text();
  const bool old = schema == kOldResultSchema;
  if (!old && schema != kResultSchema) {
    json.at("schema").fail(fmt::format("\"{}\" or \"{}\" (this version of dyield reads no other)",
                                       kResultSchema, kOldResultSchema));
  }
  if (old) {
    json.allow_only({"schema", "tool", "kernel", "environment", "dimensions", "runs"});
  } else {
    json.allow_only({"schema", "tool", "arguments", "kernel", "series", "base", "environment",
                     "volatile", "dimensions", "ended", "runs"});
  }
  json.at("tool").allow_only({"version", "command"});
  check_environment(json.at("environment"));
  check_dimensions(json.at("dimensions"));
  Result result{.tool_version = json.at("tool").at("version").nonempty_text(),
                .command = json.at("tool").at("command").texts(),
                .arguments = old ? Json::object() : json.at("arguments").object(),
                .kernel = json.at("kernel").nonempty_text(),
                .series = old ? "" : json.at("series").text(),
                .base = old ? "" : json.at("base").text(),
                .environment = json.at("environment").object(),
                .volatile_facts = old ? Json::object() : json.at("volatile").object(),
                .ended = old ? "" : json.at("ended").text(),
                .dimensions = json.at("dimensions").object(),
                .runs = {}};
  if (!old && !json.has("runs")) return result;
  for (const JsonReader& run : json.at("runs").elements()) result.runs.push_back(read_run(run));
  return result;
}

std::string read_text(const fs::path& path) {
  std::optional<std::string> text = read_file(path);
  if (!text) {
    const int error = errno;
    throw Error(code_of_unreadable(error),
                fmt::format("Cannot read \"{}\": {}; check the name and its permissions.",
                            path.string(), errno_text(error)));
  }
  return std::move(*text);
}

// The runs of a samples file; a missing one has none.
std::vector<Run> read_samples(const fs::path& path) {
  if (!is_there(path)) return {};
  const std::string text = read_text(path);
  std::vector<Run> runs;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    const std::string where = fmt::format("{}, line {}", path.string(), runs.size() + 1);
    const Json document = parse_json(std::string_view(text).substr(begin, end - begin), where);
    runs.push_back(read_run(JsonReader(document, where)));
  }
  return runs;
}

// A result file, or with its samples beside it the head of a run directory.
LoadedResult read_whole(const Json& document, const fs::path& file) {
  LoadedResult loaded{file, read_result(document, file.string())};
  if (!document.contains("runs"))
    loaded.result.runs = read_samples(file.parent_path() / kSamplesFile);
  return loaded;
}

bool is_result(const Json& document) {
  if (!document.is_object()) return false;
  const auto schema = document.find("schema");
  return schema != document.end() && schema->is_string() &&
         schema->get_ref<const std::string&>().starts_with("dyield.result/");
}

std::vector<fs::path> json_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code dangling;  // a symbolic link that leads nowhere, or to itself
    if (it->path().extension() == ".json" && it->is_regular_file(dangling))
      files.push_back(it->path());
  }
  if (error) {
    throw Error(ExitCode::kUsage, fmt::format("Cannot list \"{}\": {}; check its permissions.",
                                              folder.string(), error.message()));
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

bool Result::emulated() const {
  return environment.contains("lab") && environment["lab"].value("emulated", false);
}

std::string Result::machine() const {
  return environment.contains("lab") ? environment["lab"].value("machine", "") : "";
}

namespace {

Json header_to_json(const Result& result) {
  return Json{{"schema", kResultSchema},
              {"tool", Json{{"version", result.tool_version}, {"command", result.command}}},
              {"arguments", result.arguments},
              {"kernel", result.kernel},
              {"series", result.series},
              {"base", result.base},
              {"environment", result.environment},
              {"volatile", result.volatile_facts},
              {"dimensions", result.dimensions},
              {"ended", result.ended}};
}

// The text of what `read` accepts again. What the guest or the kernel said may
// not be UTF-8.
template <typename Read>
std::string to_valid_text(const Json& document, int indent, const Read& read) {
  if (!all_finite(document)) {
    throw Error(ExitCode::kFailed,
                "Cannot write the result: it holds a number that is not finite, which JSON cannot "
                "express (this is a bug in dyield).");
  }
  std::string text = document.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
  try {
    const std::string name = "the result to be written";
    const Json again = parse_json(text, name);
    read(again, name);
  } catch (const Error& error) {
    throw Error(ExitCode::kFailed, fmt::format("{} This is a bug in dyield.", error.what()));
  }
  return text;
}

}  // namespace

std::string to_text(const Result& result) {
  Json document = header_to_json(result);
  document["runs"] = Json::array();
  for (const Run& run : result.runs) document["runs"].push_back(run_to_json(run));
  return to_valid_text(document, 2, read_result);
}

std::string to_header_text(const Result& result) {
  return to_valid_text(header_to_json(result), 2, read_result);
}

std::string to_line(const Run& run) {
  return to_valid_text(run_to_json(run), -1, [](const Json& document, const std::string& name) {
    read_run(JsonReader(document, name));
  });
}

Result from_text(std::string_view text, const fs::path& file) {
  return read_result(parse_json(text, file.string()), file.string());
}

void write_result(const fs::path& path, const Result& result) {
  write_file_atomically(path, to_text(result));
}

std::vector<LoadedResult> load_results(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error))
    return {read_whole(parse_json(read_text(path), path.string()), path)};
  std::vector<LoadedResult> results;
  for (const fs::path& file : json_files(path)) {
    const Json document = parse_json(read_text(file), file.string());
    if (is_result(document))
      results.push_back(read_whole(document, file));
    else
      spdlog::debug("\"{}\" is JSON, but no dyield result; passed over", file.string());
  }
  if (results.empty()) {
    throw Error(
        ExitCode::kUsage,
        fmt::format("No dyield result in the folder \"{}\"; name a folder that `dyield run` "
                    "has written to.",
                    path.string()));
  }
  return results;
}

}  // namespace dyield
