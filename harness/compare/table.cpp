// SPDX-License-Identifier: GPL-2.0-only
#include "compare/table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "compare/words.h"

namespace dyield {
namespace {

// ---- Words ----

std::string_view name_of(EffectMethod method) {
  switch (method) {
    case EffectMethod::kShiftOfLogs:
      return "hodges_lehmann_ratio";
    case EffectMethod::kRatioOfMeans:
      return "ratio_of_means";
    case EffectMethod::kShift:
      return "hodges_lehmann_shift";
  }
  return "";
}

std::string_view name_of(Better better) {
  switch (better) {
    case Better::kHigher:
      return "higher";
    case Better::kLower:
      return "lower";
    case Better::kNeither:
      return "neither";
  }
  return "";
}

// ---- Cells ----

std::string left_out_text(const LeftOut& left_out) {
  std::string text;
  const auto add = [&](std::size_t count, std::string_view what) {
    if (count > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, what);
  };
  add(left_out.failed, "failed");
  add(left_out.partial, "partial");
  add(left_out.repeated, "repeated");
  add(left_out.unpaired.size(), "without partner");
  return text;
}

// By side, what of a cell is not compared.
std::vector<std::pair<std::string_view, std::string>> left_out_of(const Cell& cell) {
  std::vector<std::pair<std::string_view, std::string>> sides;
  for (const auto& [side, left_out] :
       {std::pair("base", &cell.base), std::pair("candidate", &cell.candidate)}) {
    if (std::string text = left_out_text(*left_out); !text.empty())
      sides.emplace_back(side, std::move(text));
  }
  return sides;
}

std::string row_text(std::string_view name, std::string_view base, std::string_view candidate,
                     std::string_view effect, std::string_view interval, std::string_view n,
                     std::string_view verdict) {
  std::string line = fmt::format("  {:<25}{:>11}{:>11}{:>10}{:>23}{:>4}  {}", name, base, candidate,
                                 effect, interval, n, verdict);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

constexpr std::string_view kRegressed = "REGRESSED";
constexpr std::string_view kRegressedColor = "\x1b[1;31m";

std::string colored(std::string_view text, std::string_view color, bool wanted) {
  return wanted && !color.empty() ? fmt::format("{}{}\x1b[0m", color, text) : std::string(text);
}

std::string metric_row(const MetricComparison& row, bool color) {
  const VerdictWords& verdict = words(row.verdict);
  return row_text(row.metric->name, mean_text(row.stats.a), mean_text(row.stats.b),
                  effect_text(row.stats.effect), interval_text(row.stats.effect),
                  std::to_string(row.stats.n),
                  row.regressed() ? colored(kRegressed, kRegressedColor, color)
                                  : colored(verdict.table, verdict.color, color));
}

// The ratio of a metric that is compared by difference, unless its base is zero.
std::string ratio_row(const MetricComparison& row) {
  if (row.metric->comparing != Comparing::kDifference || !row.stats.a || row.stats.a->mean <= 0)
    return "";
  return row_text("  as ratio", "", "", effect_text(row.ratio), interval_text(row.ratio),
                  std::to_string(row.stats.n), "");
}

std::string cell_block(const Cell& cell, const Scalars& common, const TableOptions& options) {
  std::string out = wrapped("", title(cell.dimensions, common));
  if (cell.runs.empty()) out += "  no pair of complete runs\n";
  for (const MetricComparison& row : cell.metrics)
    if (options.all || row.metric->headline) out += metric_row(row, options.color) + ratio_row(row);
  for (const auto& [side, text] : left_out_of(cell))
    out += wrapped(fmt::format("  left out of the {}: ", side), text);
  return out + "\n";
}

// Cells that one side lacks.
std::vector<std::pair<std::string_view, std::string>> unmatched(const Comparison& comparison) {
  const Scalars common = common_dimensions(comparison);
  std::vector<std::pair<std::string_view, std::string>> cells;
  for (const auto& [side, all] : {std::pair("base", &comparison.only_base),
                                  std::pair("candidate", &comparison.only_candidate)}) {
    for (const auto& dimensions : *all) cells.emplace_back(side, title(dimensions, common));
  }
  return cells;
}

std::string side_line(std::string_view head, const Side& side) {
  return wrapped(
      head, printable(fmt::format("{} ({}, {} file{})", fmt::join(side.kernels, ", "), side.source,
                                  side.files.size(), side.files.size() == 1 ? "" : "s")));
}

// What the signs in the table mean, as far as they occur in it.
std::string legend(const Comparison& comparison, bool all) {
  bool of_means = false;
  bool difference = false;
  const auto see = [&](const Effect& effect) {
    of_means |= effect.method == EffectMethod::kRatioOfMeans;
    difference |= !effect.is_ratio();
  };
  for (const Cell& cell : comparison.cells) {
    for (const MetricComparison& row : cell.metrics) {
      if (!all && !row.metric->headline) continue;
      if (row.stats.effect) see(*row.stats.effect);
      if (row.ratio) see(*row.ratio);
    }
  }
  std::string text = "x: Hodges-Lehmann shift of log(candidate / base), as a ratio.";
  if (of_means) text += " ~x: ratio of means.";
  if (difference) text += " No x: shift of candidate - base.";
  text += fmt::format(
      " n: pairs. better, worse: sign-flip test, p <= {:g} after Holm's correction, and a shift "
      "beyond the margin of {:g} %. no change: the interval is inside the margin.",
      kAlpha, 100 * comparison.margin);
  return wrapped("", text);
}

// A gating metric with too few pairs cannot regress, nor be cleared of it.
std::string untested_text(const Comparison& comparison) {
  std::size_t untested = 0, empty = 0;
  bool undefined = false;
  for (const Cell& cell : comparison.cells) {
    empty += cell.runs.empty() && cell.newly_failed.empty() ? 1 : 0;
    for (const MetricComparison& row : cell.metrics) {
      const bool few = row.stats.n < kMinPairs;
      if (!row.metric->gating || (!few && row.verdict != Verdict::kTooFew)) continue;
      untested++;
      undefined |= !few;
    }
  }
  std::string out;
  if (untested > 0) {
    out +=
        fmt::format("Not tested for regression: {} row{} with fewer than {} pairs{}.\n", untested,
                    untested == 1 ? "" : "s", kMinPairs, undefined ? " or no interval" : "");
  }
  if (empty > 0) {
    out += fmt::format("Not tested for regression: {} cell{} without a pair of complete runs.\n",
                       empty, empty == 1 ? "" : "s");
  }
  return out;
}

// The last lines of the table before the lab note.
std::string verdict_text(const Comparison& comparison, bool color) {
  std::string out;
  for (const std::string& regression : regressions(comparison)) {
    std::string line = wrapped(fmt::format("{}: ", kRegressed), regression);
    line.replace(0, kRegressed.size(), colored(kRegressed, kRegressedColor, color));
    out += line;
  }
  if (out.empty()) {
    out = fmt::format("No regression shown beyond the margin of {:g} in a gating metric.\n",
                      comparison.margin);
  }
  return out + untested_text(comparison);
}

// ---- JSON ----

Json summary_json(const std::optional<Summary>& summary) {
  if (!summary) return nullptr;
  return Json{{"mean", summary->mean},
              {"median", summary->median},
              {"stddev", summary->stddev ? Json(*summary->stddev) : Json()},
              {"min", summary->min},
              {"max", summary->max}};
}

Json effect_json(const std::optional<Effect>& effect) {
  if (!effect) return nullptr;
  Json interval;
  if (effect->interval) {
    interval = Json{{"confidence", kConfidence},
                    {"low", effect->interval->low},
                    {"high", effect->interval->high}};
  }
  return Json{
      {"method", name_of(effect->method)}, {"value", effect->value}, {"interval", interval}};
}

Json metric_json(const MetricComparison& row, const std::vector<RunPair>& runs) {
  Json pairs = Json::array();
  for (const Sample& sample : row.pairs)
    pairs.push_back(Json{{"seed", runs[sample.run].seed},
                         {"block", runs[sample.run].block},
                         {"base", sample.values.a},
                         {"candidate", sample.values.b}});
  const auto number = [](const std::optional<double>& p) { return p ? Json(*p) : Json(); };
  return Json{
      {"name", row.metric->name},
      {"unit", row.metric->unit},
      {"better", name_of(row.metric->better)},
      {"gating", row.metric->gating},
      {"n", row.stats.n},
      {"base", summary_json(row.stats.a)},
      {"candidate", summary_json(row.stats.b)},
      {"effect", effect_json(row.stats.effect)},
      {"ratio", effect_json(row.stats.effect && row.stats.effect->is_ratio() ? row.stats.effect
                                                                             : row.ratio)},
      {"p", number(row.stats.p)},
      {"p_adjusted", number(row.adjusted_p)},
      {"verdict", words(row.verdict).json},
      {"pairs", pairs}};
}

Json left_out_json(const LeftOut& left_out) {
  return Json{{"failed", left_out.failed},
              {"partial", left_out.partial},
              {"repeated", left_out.repeated},
              {"unpaired_seeds", left_out.unpaired}};
}

Json runs_json(const std::vector<RunPair>& pairs) {
  Json runs = Json::array();
  for (const RunPair& run : pairs)
    runs.push_back(Json{{"seed", run.seed},
                        {"block", run.block},
                        {"base_file", run.base_file},
                        {"candidate_file", run.candidate_file}});
  return runs;
}

Json cell_json(const Cell& cell) {
  Json rows = Json::array();
  for (const MetricComparison& row : cell.metrics) rows.push_back(metric_json(row, cell.runs));
  return Json{{"dimensions", Json(cell.dimensions)},
              {"regressed", cell.regressed()},
              {"newly_failed", runs_json(cell.newly_failed)},
              {"runs", runs_json(cell.runs)},
              {"left_out", Json{{"base", left_out_json(cell.base)},
                                {"candidate", left_out_json(cell.candidate)}}},
              {"metrics", rows}};
}

Json side_json(const Side& side) {
  Json files = Json::array();
  for (const SourceFile& file : side.files)
    files.push_back(Json{{"path", file.path}, {"kernel", file.kernel}, {"command", file.command}});
  return Json{{"source", side.source},
              {"files", std::move(files)},
              {"kernels", side.kernels},
              {"emulated", !side.machines.empty()},
              {"lab_machines", side.machines}};
}

}  // namespace

std::vector<std::string> regressions(const Comparison& comparison) {
  const Scalars common = common_dimensions(comparison);
  std::vector<std::string> sentences;
  for (const Cell& cell : comparison.cells) {
    if (const std::string text = newly_failed_text(cell); !text.empty())
      sentences.push_back(fmt::format("{} in {}", text, title(cell.dimensions, common)));
    for (const MetricComparison& row : cell.metrics) {
      if (!row.regressed()) continue;
      sentences.push_back(
          fmt::format("{} {} {} in {}", row.metric->name, effect_text(row.stats.effect),
                      interval_text(row.stats.effect), title(cell.dimensions, common)));
    }
  }
  return sentences;
}

std::vector<std::string> left_out(const Comparison& comparison) {
  const Scalars common = common_dimensions(comparison);
  std::vector<std::string> sentences;
  for (const Cell& cell : comparison.cells) {
    for (const auto& [side, text] : left_out_of(cell)) {
      sentences.push_back(
          fmt::format("left out of the {}: {} in {}", side, text, title(cell.dimensions, common)));
    }
  }
  for (const auto& [side, cell] : unmatched(comparison))
    sentences.push_back(fmt::format("only in the {}: {}", side, cell));
  return sentences;
}

std::string render_table(const Comparison& comparison, const TableOptions& options) {
  const Scalars common = common_dimensions(comparison);
  std::string out =
      side_line("base       ", comparison.base) + side_line("candidate  ", comparison.candidate);
  if (!common.empty()) out += wrapped("all cells  ", list(common));
  out += "\n" +
         row_text("metric", "base mean", "cand. mean", "effect", "95 % interval", "n", "verdict");
  for (const Cell& cell : comparison.cells) out += cell_block(cell, common, options);
  for (const auto& [side, cell] : unmatched(comparison))
    out += wrapped(fmt::format("only in the {}: ", side), cell);
  for (const std::string& warning : comparison.warnings)
    out += wrapped("warning: ", printable(warning));
  out += legend(comparison, options.all) + verdict_text(comparison, options.color);
  const std::string note = comparison.lab_note();
  return note.empty() ? out : out + printable(note) + "\n";
}

std::string to_json_text(const Comparison& comparison) {
  Json cells = Json::array();
  for (const Cell& cell : comparison.cells) cells.push_back(cell_json(cell));
  const std::string note = comparison.lab_note();
  const Json document{{"schema", kCompareSchema},
                      {"lab", note.empty() ? Json() : Json(note)},
                      {"base", side_json(comparison.base)},
                      {"candidate", side_json(comparison.candidate)},
                      {"margin", comparison.margin},
                      {"alpha", kAlpha},
                      {"regressed", comparison.regressed()},
                      {"warnings", comparison.warnings},
                      {"cells", std::move(cells)},
                      {"unmatched", Json{{"base", comparison.only_base},
                                         {"candidate", comparison.only_candidate}}}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace dyield
