// SPDX-License-Identifier: GPL-2.0-only
//
// The forms that other programs read: KTAP and kcidb.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

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

std::string ktap_cell(const Cell& cell, std::size_t number, const std::string& name) {
  const auto gating = static_cast<std::size_t>(std::ranges::count_if(
      cell.metrics, [](const MetricComparison& row) { return row.metric->gating; }));
  std::string out = fmt::format("  KTAP version 1\n  # Subtest: {}\n  1..{}\n", name, gating);
  std::size_t tests = 0;
  bool failed = false;
  bool decided = false;
  for (const MetricComparison& row : cell.metrics) {
    out += ktap_metric(cell, row, row.metric->gating ? ++tests : 0);
    failed |= row.regressed();
    decided |=
        row.metric->gating && (row.verdict == Verdict::kBetter || row.verdict == Verdict::kWorse ||
                               row.verdict == Verdict::kNoChange);
  }
  return out + fmt::format("{} {} {}{}\n", failed ? "not ok" : "ok", number, name,
                           decided ? "" : " # SKIP no gating metric was decided");
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

// The kernel's hash where it is known: labels repeat from day to day.
std::string kernel_id(const SourceFile& file) {
  const std::string hash = kernel_fact(file, "image_sha256");
  return fmt::format("{}:{}", kOrigin, hash.empty() ? path_part(file.kernel) : hash);
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

Json test_json(const Comparison& comparison, const Cell& cell, const MetricComparison& row) {
  const SourceFile& file = comparison.candidate.files.at(cell.runs.front().candidate_file);
  const std::string workload = cell.dimensions.at("workload").get<std::string>();
  Json samples = Json::array();
  for (const Sample& sample : row.pairs) {
    const RunPair& run = cell.runs[sample.run];
    samples.push_back(
        Json{{"seed", run.seed},
             {"base", sample.values.a},
             {"candidate", sample.values.b},
             {"base_command", command_text(comparison.base.files[run.base_file])},
             {"candidate_command", command_text(comparison.candidate.files[run.candidate_file])}});
  }
  Json misc{{"verdict", words(row.verdict).json},
            {"base_kernels", comparison.base.kernels},
            {"base_mean", row.stats.a ? Json(row.stats.a->mean) : Json("absent")},
            {"effect", effect_misc(row.stats.effect)},
            {"dimensions", Json(cell.dimensions)},
            {"samples", std::move(samples)}};
  if (row.adjusted_p) misc["p_adjusted"] = *row.adjusted_p;
  const std::string note = comparison.lab_note();
  std::string dimensions;
  for (const auto& [key, value] : cell.dimensions.items())
    dimensions += fmt::format("{}{}={}", dimensions.empty() ? "" : ",", key, value.dump());
  Json test{
      {"build_id", kernel_id(file)},
      {"id", fmt::format("{}/{}/{}/{}", kernel_id(file), fmt::join(comparison.base.kernels, ","),
                         dimensions, row.metric->name)},
      {"origin", kOrigin},
      {"environment",
       Json{{"comment", note.empty() ? file.environment.value("cpu_model", "") : note},
            {"misc", Json{{"emulated", !note.empty()}}}}},
      {"path", fmt::format("dyield.{}.{}", path_part(workload), row.metric->name)},
      {"comment",
       printable(fmt::format("{}: {} {} {}, {}", title(cell.dimensions, {}), row.metric->name,
                             effect_text(row.stats.effect), interval_text(row.stats.effect),
                             words(row.verdict).table))},
      {"status", status(row)},
      {"misc", std::move(misc)}};
  if (row.stats.b) test["number"] = Json{{"value", row.stats.b->mean}, {"unit", row.metric->unit}};
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
      if (cell.runs.empty()) continue;
      for (const MetricComparison& row : cell.metrics)
        tests.push_back(test_json(comparison, cell, row));
    }
  }
  const Json document{{"version", Json{{"major", 5}, {"minor", 0}}},
                      {"checkouts", std::move(checkouts)},
                      {"builds", std::move(builds)},
                      {"tests", std::move(tests)}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace dyield
