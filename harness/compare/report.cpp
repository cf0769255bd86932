// SPDX-License-Identifier: GPL-2.0-only
#include "compare/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>

namespace dyield {
namespace {

constexpr std::size_t kWidth = 100;

// ---- Words shared by both forms ----

struct VerdictWords {
  std::string_view table, json, color;
};

const VerdictWords& words(Verdict verdict) {
  static constexpr std::array kWords = {
      VerdictWords{"", "none", ""},
      VerdictWords{"one pair", "no_interval", ""},
      VerdictWords{"unclear", "unclear", ""},
      VerdictWords{"better", "better", "\x1b[32m"},
      VerdictWords{"worse", "worse", "\x1b[33m"},
      VerdictWords{"REGRESSED", "regressed", "\x1b[1;31m"},
  };
  return kWords.at(static_cast<std::size_t>(verdict));
}

std::string_view name_of(EffectMethod method) {
  switch (method) {
    case EffectMethod::kGeometricMeanRatio:
      return "geometric_mean_ratio";
    case EffectMethod::kRatioOfMeans:
      return "ratio_of_means";
    case EffectMethod::kMeanDifference:
      return "mean_difference";
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

// ---- Text ----

std::string scalar_text(const nlohmann::json& value) {
  if (value.is_string()) return printable(value.get<std::string>());
  if (value.is_number_float()) return fmt::format("{}", value.get<double>());
  return value.dump();
}

// At most 10 characters, for sizes up to 1e99.
std::string number_text(double value) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size >= 1e9 || size < 1e-3) return fmt::format("{:.3e}", value);
  if (size >= 1e4) return fmt::format("{:.0f}", value);
  return fmt::format("{:.{}f}", value, size >= 100 ? 1 : 3);
}

std::string ratio_text(double ratio) {
  if (ratio == 0) return "0";
  if (ratio >= 1e5 || ratio < 1e-3) return fmt::format("{:.2e}", ratio);
  return fmt::format("{:.{}f}", ratio, ratio >= 100 ? 1 : ratio < 0.02 ? 4 : 3);
}

std::string difference_text(double difference) {
  return (difference > 0 ? "+" : "") + number_text(difference);
}

std::string effect_text(const std::optional<Effect>& effect) {
  if (!effect) return "-";
  if (!effect->is_ratio()) return difference_text(effect->value);
  const bool of_means = effect->method == EffectMethod::kRatioOfMeans;
  return fmt::format("{}x{}", of_means ? "~" : "", ratio_text(effect->value));
}

// At most 24 characters.
std::string interval_text(const std::optional<Effect>& effect) {
  if (!effect || !effect->interval) return "-";
  const auto text = effect->is_ratio() ? ratio_text : difference_text;
  return fmt::format("[{}, {}]", text(effect->interval->low), text(effect->interval->high));
}

std::string mean_text(const std::optional<Summary>& summary) {
  return summary ? number_text(summary->mean) : "-";
}

// Words after `head`, wrapped at kWidth and indented below it.
std::string wrapped(std::string_view head, std::string_view text) {
  std::string out;
  std::string line(head);
  bool first = true;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (!first && line.size() + 1 + word.size() > kWidth) {
      out += line + "\n";
      line.assign(head.size(), ' ');
      first = true;
    }
    if (!first) line += ' ';
    line += word;
    first = false;
  }
  return out + line + "\n";
}

// ---- Cells ----

// "unicast, 6 vCPUs x 2 VMs on 4 CPUs = 3:1, pin none".
std::string headline(const nlohmann::json& dimensions) {
  const auto number = [&](const char* key) { return dimensions.at(key).get<std::uint64_t>(); };
  const auto counted = [&](const char* key, std::string_view unit) {
    return fmt::format("{} {}{}", number(key), unit, number(key) == 1 ? "" : "s");
  };
  const double overcommit = static_cast<double>(number("vcpus")) *
                            static_cast<double>(number("vms")) /
                            static_cast<double>(number("cpus"));
  return fmt::format("{}, {} x {} on {} = {:.3g}:1{}", scalar_text(dimensions.at("workload")),
                     counted("vcpus", "vCPU"), counted("vms", "VM"), counted("cpus", "CPU"),
                     overcommit,
                     dimensions.contains("pin") ? ", pin " + scalar_text(dimensions["pin"]) : "");
}

bool in_headline(std::string_view key) {
  constexpr std::array<std::string_view, 6> kKeys = {"workload", "vcpus",      "vms",
                                                     "cpus",     "overcommit", "pin"};
  return std::ranges::find(kKeys, key) != kKeys.end();
}

using Scalars = std::map<std::string, std::string>;

Scalars other_dimensions(const nlohmann::json& dimensions) {
  Scalars others;
  for (const auto& [key, value] : dimensions.items())
    if (!in_headline(key)) others[printable(key)] = scalar_text(value);
  return others;
}

std::string list(const Scalars& scalars) {
  std::string text;
  for (const auto& [key, value] : scalars)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
  return text;
}

// The dimensions that all cells share are said once, above the table.
Scalars common_dimensions(const Comparison& comparison) {
  std::optional<Scalars> common;
  const auto intersect = [&](const nlohmann::json& dimensions) {
    const Scalars others = other_dimensions(dimensions);
    if (!common) common = others;
    std::erase_if(*common, [&](const auto& scalar) {
      const auto it = others.find(scalar.first);
      return it == others.end() || it->second != scalar.second;
    });
  };
  for (const Cell& cell : comparison.cells) intersect(cell.dimensions);
  for (const auto& dimensions : comparison.only_base) intersect(dimensions);
  for (const auto& dimensions : comparison.only_candidate) intersect(dimensions);
  return common.value_or(Scalars{});
}

std::string title(const nlohmann::json& dimensions, const Scalars& common) {
  Scalars own = other_dimensions(dimensions);
  std::erase_if(own, [&](const auto& scalar) { return common.contains(scalar.first); });
  return headline(dimensions) + (own.empty() ? "" : ", " + list(own));
}

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

std::string row_text(std::string_view name, std::string_view base, std::string_view candidate,
                     std::string_view effect, std::string_view interval, std::string_view n,
                     std::string_view verdict) {
  std::string line = fmt::format("  {:<25}{:>11}{:>11}{:>11}{:>25}{:>4}  {}", name, base, candidate,
                                 effect, interval, n, verdict);
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string metric_row(const MetricComparison& row, bool color) {
  const VerdictWords& verdict = words(row.verdict);
  const bool colored = color && !verdict.color.empty();
  return row_text(
      row.metric->name, mean_text(row.stats.a), mean_text(row.stats.b),
      effect_text(row.stats.effect), interval_text(row.stats.effect), std::to_string(row.stats.n),
      colored ? fmt::format("{}{}\x1b[0m", verdict.color, verdict.table) : verdict.table);
}

// The ratio of a metric that is compared by difference, unless its base is zero.
std::string ratio_row(const MetricComparison& row) {
  if (row.metric->comparing != Comparing::kDifference || !row.stats.a || row.stats.a->mean <= 0)
    return "";
  return row_text("  as ratio", "", "", effect_text(row.ratio),
                  row.ratio ? interval_text(row.ratio) : "unbounded", std::to_string(row.stats.n),
                  "");
}

std::string cell_block(const Cell& cell, const Scalars& common, const TableOptions& options) {
  std::string out = wrapped("", title(cell.dimensions, common));
  if (cell.seeds.empty()) out += "  no pair of complete runs\n";
  for (const MetricComparison& row : cell.metrics)
    if (options.all || row.metric->headline) out += metric_row(row, options.color) + ratio_row(row);
  for (const auto& [side, left_out] :
       {std::pair("base", &cell.base), std::pair("candidate", &cell.candidate)}) {
    if (const std::string text = left_out_text(*left_out); !text.empty())
      out += wrapped(fmt::format("  left out of the {}: ", side), text);
  }
  return out + "\n";
}

std::string side_line(std::string_view head, const Side& side) {
  return wrapped(head, printable(fmt::format("{} ({}, {} file{})", fmt::join(side.kernels, ", "),
                                             side.source, side.files, side.files == 1 ? "" : "s")));
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
  std::string text = "x: geometric mean of candidate / base.";
  if (of_means) text += " ~x: ratio of means.";
  if (difference) text += " No x: candidate - base.";
  return wrapped("", text + " n: pairs.");
}

// A gating metric with fewer than two pairs cannot regress, nor be cleared of it.
std::string untested_text(const Comparison& comparison) {
  std::size_t untested = 0;
  for (const Cell& cell : comparison.cells) {
    untested += static_cast<std::size_t>(std::ranges::count_if(
        cell.metrics, [](const auto& row) { return row.metric->gating && row.stats.n < 2; }));
  }
  if (untested == 0) return "";
  return fmt::format("Not tested for regression: {} row{} with fewer than two pairs.\n", untested,
                     untested == 1 ? "" : "s");
}

// The last lines of the table before the lab note.
std::string verdict_text(const Comparison& comparison, bool color) {
  const VerdictWords& verdict = words(Verdict::kRegressed);
  std::string out;
  for (const std::string& regression : regressions(comparison)) {
    std::string line = wrapped(fmt::format("{}: ", verdict.table), regression);
    if (color)
      line.replace(0, verdict.table.size(),
                   fmt::format("{}{}\x1b[0m", verdict.color, verdict.table));
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

Json metric_json(const MetricComparison& row) {
  Json pairs = Json::array();
  for (const SeedPair& pair : row.pairs)
    pairs.push_back(
        Json{{"seed", pair.seed}, {"base", pair.values.a}, {"candidate", pair.values.b}});
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
      {"verdict", words(row.verdict).json},
      {"pairs", pairs}};
}

Json left_out_json(const LeftOut& left_out) {
  return Json{{"failed", left_out.failed},
              {"partial", left_out.partial},
              {"repeated", left_out.repeated},
              {"unpaired_seeds", left_out.unpaired}};
}

Json cell_json(const Cell& cell) {
  Json rows = Json::array();
  for (const MetricComparison& row : cell.metrics) rows.push_back(metric_json(row));
  return Json{{"dimensions", Json(cell.dimensions)},
              {"seeds", cell.seeds},
              {"left_out", Json{{"base", left_out_json(cell.base)},
                                {"candidate", left_out_json(cell.candidate)}}},
              {"metrics", rows}};
}

Json side_json(const Side& side) {
  return Json{{"source", side.source},
              {"files", side.files},
              {"kernels", side.kernels},
              {"emulated", !side.machines.empty()},
              {"lab_machines", side.machines}};
}

}  // namespace

// Control characters are those of ASCII and U+0080 to U+009F, in UTF-8 C2 80 to C2 9F.
std::string printable(std::string text) {
  unsigned char before = 0;
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (before == 0xc2 && byte < 0xa0)) c = '?';
    before = byte;
  }
  return text;
}

std::vector<std::string> regressions(const Comparison& comparison) {
  const Scalars common = common_dimensions(comparison);
  std::vector<std::string> sentences;
  for (const Cell& cell : comparison.cells) {
    for (const MetricComparison& row : cell.metrics) {
      if (row.verdict != Verdict::kRegressed) continue;
      sentences.push_back(
          fmt::format("{} {} {} in {}", row.metric->name, effect_text(row.stats.effect),
                      interval_text(row.stats.effect), title(cell.dimensions, common)));
    }
  }
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
  for (const auto& dimensions : comparison.only_base)
    out += wrapped("only in the base: ", title(dimensions, common));
  for (const auto& dimensions : comparison.only_candidate)
    out += wrapped("only in the candidate: ", title(dimensions, common));
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
                      {"regressed", comparison.regressed()},
                      {"warnings", comparison.warnings},
                      {"cells", std::move(cells)},
                      {"unmatched", Json{{"base", comparison.only_base},
                                         {"candidate", comparison.only_candidate}}}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace dyield
