// SPDX-License-Identifier: GPL-2.0-only
//
// The forms that other programs read: KTAP and kcidb.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "compare/table.h"
#include "compare/words.h"
#include "report/report.h"

namespace dyield {
namespace {

// In a KTAP description # begins a directive.
std::string description(std::string text) {
  std::ranges::replace(text, '#', '_');
  return printable(std::move(text));
}

std::string samples_text(const Cell& cell, const MetricComparison& row) {
  std::string out;
  for (const Sample& sample : row.pairs)
    out += fmt::format(" {}:{:.6g}/{:.6g}", cell.runs[sample.run].seed, sample.values.a,
                       sample.values.b);
  return out;
}

std::string ktap_metric(const Cell& cell, const MetricComparison& row, std::size_t number) {
  const bool decided = row.verdict == Verdict::kBetter || row.verdict == Verdict::kWorse ||
                       row.verdict == Verdict::kNoChange;
  std::string out = fmt::format("  # {} {} {}, n {}, {}; seed:base/candidate{}\n", row.metric->name,
                                effect_text(row.stats.effect), interval_text(row.stats.effect),
                                row.stats.n, words(row.verdict).table, samples_text(cell, row));
  if (number == 0) return out;
  return out + fmt::format("  {} {} {}{}\n", row.regressed() ? "not ok" : "ok", number,
                           row.metric->name,
                           decided ? "" : fmt::format(" # SKIP {}", words(row.verdict).table));
}

// The test that fails if runs newly failed.
constexpr std::string_view kCompletion = "completion";

std::string ktap_cell(const Cell& cell, std::size_t number, const std::string& name) {
  const auto gating = static_cast<std::size_t>(std::ranges::count_if(
      cell.metrics, [](const MetricComparison& row) { return row.metric->gating; }));
  const bool broken = !cell.newly_failed.empty();
  std::string out =
      fmt::format("  KTAP version 1\n  # Subtest: {}\n  1..{}\n", name, gating + (broken ? 1 : 0));
  std::size_t tests = 0;
  bool decided = false;
  for (const MetricComparison& row : cell.metrics) {
    out += ktap_metric(cell, row, row.metric->gating ? ++tests : 0);
    decided |=
        row.metric->gating && (row.verdict == Verdict::kBetter || row.verdict == Verdict::kWorse ||
                               row.verdict == Verdict::kNoChange);
  }
  if (broken)
    out += fmt::format("  # {}\n  not ok {} {}\n", newly_failed_text(cell), ++tests, kCompletion);
  return out + fmt::format("{} {} {}{}\n", cell.regressed() ? "not ok" : "ok", number, name,
                           decided || broken ? "" : " # SKIP no gating metric was decided");
}

// ---- kcidb ----

constexpr std::string_view kOrigin = "dyield";

// A part of a test path: [a-zA-Z0-9_-]+.
std::string path_part(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    out += plain ? c : '_';
  }
  return out.empty() ? "_" : out;
}

std::string kernel_fact(const SourceFile& file, const char* name) {
  const auto kernel = file.environment.find("kernel");
  if (kernel == file.environment.end() || !kernel->is_object()) return "";
  const auto fact = kernel->find(name);
  return fact != kernel->end() && fact->is_string() ? fact->get<std::string>() : "";
}

// With the kernel's hash where it is known, as labels repeat from day to day; and with the label,
// as one kernel has several where a policy of it is a side.
std::string kernel_id(const SourceFile& file) {
  const std::string hash = kernel_fact(file, "image_sha256");
  return fmt::format("{}:{}{}{}", kOrigin, hash, hash.empty() ? "" : ":", path_part(file.kernel));
}

std::string_view status(const MetricComparison& row) {
  if (!row.metric->gating) return "DONE";
  switch (row.verdict) {
    case Verdict::kWorse:
      return "FAIL";
    case Verdict::kBetter:
    case Verdict::kNoChange:
      return "PASS";
    default:
      return "DONE";
  }
}

Json effect_misc(const std::optional<Effect>& effect) {
  if (!effect) return Json::object();
  Json misc{{effect->is_ratio() ? "ratio" : "difference", effect->value}};
  if (effect->interval)
    misc["interval_95"] = Json::array({effect->interval->low, effect->interval->high});
  return misc;
}

// A test of the candidate that ran from `file`, without its `misc`.
Json test_json(const Comparison& comparison, const Cell& cell, const SourceFile& file,
               std::string_view name, std::string_view said, std::string_view status) {
  const std::string note = comparison.lab_note();
  std::string dimensions;
  for (const auto& [key, value] : cell.dimensions.items())
    dimensions += fmt::format("{}{}={}", dimensions.empty() ? "" : ",", key, value.dump());
  return Json{
      {"build_id", kernel_id(file)},
      {"id", fmt::format("{}/{}/{}/{}", kernel_id(file), fmt::join(comparison.base.kernels, ","),
                         dimensions, name)},
      {"origin", kOrigin},
      {"environment",
       Json{{"comment", note.empty() ? file.environment.value("cpu_model", "") : note},
            {"misc", Json{{"emulated", !note.empty()}}}}},
      {"path", fmt::format("dyield.{}.{}",
                           path_part(cell.dimensions.at("workload").get<std::string>()), name)},
      {"comment", printable(fmt::format("{}: {}", title(cell.dimensions, {}), said))},
      {"status", status}};
}

Json sample_json(const Comparison& comparison, const RunPair& run) {
  return Json{{"seed", run.seed},
              {"base_command", command_text(comparison.base.files[run.base_file])},
              {"candidate_command", command_text(comparison.candidate.files[run.candidate_file])}};
}

Json metric_test(const Comparison& comparison, const Cell& cell, const MetricComparison& row) {
  Json samples = Json::array();
  for (const Sample& sample : row.pairs) {
    Json& last = samples.emplace_back(sample_json(comparison, cell.runs[sample.run]));
    last["base"] = sample.values.a;
    last["candidate"] = sample.values.b;
  }
  Json misc{{"verdict", words(row.verdict).json},
            {"base_kernels", comparison.base.kernels},
            {"base_mean", row.stats.a ? Json(row.stats.a->mean) : Json("absent")},
            {"effect", effect_misc(row.stats.effect)},
            {"dimensions", Json(cell.dimensions)},
            {"samples", std::move(samples)}};
  if (row.adjusted_p) misc["p_adjusted"] = *row.adjusted_p;
  Json test =
      test_json(comparison, cell, comparison.candidate.files.at(cell.runs.front().candidate_file),
                row.metric->name,
                fmt::format("{} {} {}, {}", row.metric->name, effect_text(row.stats.effect),
                            interval_text(row.stats.effect), words(row.verdict).table),
                status(row));
  test["misc"] = std::move(misc);
  if (row.stats.b) test["number"] = Json{{"value", row.stats.b->mean}, {"unit", row.metric->unit}};
  return test;
}

Json completion_test(const Comparison& comparison, const Cell& cell) {
  Json test = test_json(comparison, cell,
                        comparison.candidate.files.at(cell.newly_failed.front().candidate_file),
                        kCompletion, newly_failed_text(cell), "FAIL");
  Json samples = Json::array();
  for (const RunPair& run : cell.newly_failed) samples.push_back(sample_json(comparison, run));
  test["misc"] = Json{{"base_kernels", comparison.base.kernels},
                      {"dimensions", Json(cell.dimensions)},
                      {"samples", std::move(samples)}};
  return test;
}

}  // namespace

std::string render_ktap(const Comparisons& comparisons) {
  std::string tests;
  std::string notes;
  std::size_t number = 0;
  for (const Comparison& comparison : comparisons) {
    const std::string kernels = fmt::format("{}", fmt::join(comparison.candidate.kernels, "+"));
    for (const std::string& warning : comparison.warnings)
      notes += "# warning: " + printable(warning) + "\n";
    for (const std::string& line : left_out(comparison)) notes += "# " + printable(line) + "\n";
    for (const Side* side : {&comparison.base, &comparison.candidate})
      for (const SourceFile& file : side->files)
        notes += printable(fmt::format("# {}: {}", file.path, command_text(file))) + "\n";
    for (const Cell& cell : comparison.cells) {
      ++number;
      tests += ktap_cell(cell, number, description(kernels + ": " + title(cell.dimensions, {})));
    }
  }
  const std::string note = lab_note(comparisons);
  return fmt::format("KTAP version 1\n1..{}\n{}{}{}", number,
                     note.empty() ? "" : "# " + printable(note) + "\n", notes, tests);
}

std::string render_kcidb(const Comparisons& comparisons) {
  Json checkouts = Json::array();
  Json builds = Json::array();
  Json tests = Json::array();
  std::set<std::string> known;
  for (const Comparison& comparison : comparisons) {
    for (const SourceFile& file : comparison.candidate.files) {
      const std::string id = kernel_id(file);
      if (!known.insert(id).second) continue;
      Json checkout{{"id", id}, {"origin", kOrigin}, {"comment", printable(file.kernel)}};
      Json build{{"checkout_id", id},
                 {"id", id},
                 {"origin", kOrigin},
                 {"comment", printable(file.kernel)}};
      if (const std::string gcc = kernel_fact(file, "gcc"); !gcc.empty()) build["compiler"] = gcc;
      checkouts.push_back(std::move(checkout));
      builds.push_back(std::move(build));
    }
    for (const Cell& cell : comparison.cells) {
      for (const MetricComparison& row : cell.metrics)
        tests.push_back(metric_test(comparison, cell, row));
      if (!cell.newly_failed.empty()) tests.push_back(completion_test(comparison, cell));
    }
  }
  const Json document{{"version", Json{{"major", 5}, {"minor", 0}}},
                      {"checkouts", std::move(checkouts)},
                      {"builds", std::move(builds)},
                      {"tests", std::move(tests)}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace dyield
