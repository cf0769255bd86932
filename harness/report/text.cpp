// SPDX-License-Identifier: GPL-2.0-only
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "compare/table.h"
#include "compare/words.h"
#include "report/report.h"

namespace dyield {
namespace {

constexpr std::size_t kMailWidth = 76;

std::string kernels(const Side& side) {
  return printable(fmt::format("{}", fmt::join(side.kernels, ", ")));
}

// Kernel by kernel, before each candidate's part.
std::string heading(const Comparison& comparison) {
  return fmt::format("{} against {}", kernels(comparison.candidate), kernels(comparison.base));
}

std::string aligned_table(const Comparison& comparison) {
  const auto rows = overcommit_rows(comparison);
  std::array<std::size_t, kOvercommitColumns.size()> widths{};
  for (std::size_t i = 0; i < widths.size(); ++i) {
    widths[i] = kOvercommitColumns[i].size();
    for (const auto& row : rows) widths[i] = std::max(widths[i], row[i].size());
  }
  const auto line = [&](const auto& row) {
    std::string out;
    for (std::size_t i = 0; i < widths.size(); ++i)
      out += i == 0 ? fmt::format("{:<{}}", row[i], widths[i])
                    : fmt::format("  {:>{}}", row[i], widths[i]);
    return out + "\n";
  };
  std::string out =
      "Yield calls and shootdowns of a run, by overcommit:\n" + line(kOvercommitColumns);
  for (const auto& row : rows) out += line(row);
  return out;
}

std::string values_text(const MetricComparison& row, double Pair::*side) {
  std::string out;
  for (const Sample& sample : row.pairs)
    out += fmt::format("{}{:.6g}", out.empty() ? "" : " ", sample.values.*side);
  return out;
}

// Every sample of the metrics that the report shows, in the order of the seeds, and the
// commands. Those of all metrics, or of the headlines and of the table by overcommit.
std::string appendix(const Comparison& comparison, bool all) {
  std::string out = "Samples, in the order of the seeds:\n";
  const Scalars common = common_dimensions(comparison);
  for (const Cell& cell : comparison.cells) {
    std::string seeds;
    for (const RunPair& run : cell.runs) seeds += fmt::format("{} ", run.seed);
    out += wrapped("", title(cell.dimensions, common), kMailWidth) +
           wrapped("  seeds  ", seeds, kMailWidth);
    for (const MetricComparison& row : cell.metrics) {
      if (!all && !row.metric->headline && row.metric->name != "yields_tried") continue;
      out += fmt::format("  {} ({})\n", row.metric->name, row.metric->unit);
      out += wrapped("    base       ", values_text(row, &Pair::a), kMailWidth);
      out += wrapped("    candidate  ", values_text(row, &Pair::b), kMailWidth);
    }
  }
  out += "Commands:\n";
  for (const Side* side : {&comparison.base, &comparison.candidate})
    for (const SourceFile& file : side->files)
      out += printable(fmt::format("  {}: {}", file.path, command_text(file))) + "\n";
  return out;
}

// ---- The layout of the kernel test robot ----

std::string mean_and_spread(const std::optional<Summary>& summary) {
  if (!summary) return fmt::format("{:>18}", "-");
  const bool spread = summary->stddev && summary->mean != 0;
  return fmt::format(
      "{:>11} {:<6}", number_text(summary->mean),
      spread ? fmt::format("± {:.0f}%", 100 * *summary->stddev / std::abs(summary->mean)) : "");
}

// Of the means, as the robot does; a fraction's change is not a percentage of it.
std::string change_text(const MetricComparison& row) {
  if (!row.stats.a) return "-";
  const double difference = row.stats.b->mean - row.stats.a->mean;
  if (row.metric->comparing == Comparing::kDifference || row.stats.a->mean == 0)
    return fmt::format("{:+.2g}", difference);
  return fmt::format("{:+.1f}%", 100 * difference / row.stats.a->mean);
}

std::string robot_cell(const Comparison& comparison, const Cell& cell) {
  std::string out(kMailWidth, '=');
  out += "\n" + wrapped("testcase: ", title(cell.dimensions, {}), kMailWidth);
  out += fmt::format("\ncommit:\n  {}\n  {}\n\n", kernels(comparison.base),
                     kernels(comparison.candidate));
  out += "         %stddev     %change         %stddev\n";
  out += "             \\          |                \\\n";
  for (const MetricComparison& row : cell.metrics) {
    const std::string_view verdict = words(row.verdict).table;
    out += fmt::format("{} {:>10} {}  {}{}\n", mean_and_spread(row.stats.a), change_text(row),
                       mean_and_spread(row.stats.b), row.metric->name,
                       verdict.empty() ? "" : fmt::format(" ({})", verdict));
  }
  return out + "\n";
}

std::string note_line(const Comparisons& comparisons) {
  const std::string note = lab_note(comparisons);
  return note.empty() ? "" : printable(note) + "\n";
}

std::string verdict_lines(const Comparison& comparison) {
  std::string out;
  for (const std::string& regression : regressions(comparison))
    out += wrapped("REGRESSED: ", regression, kMailWidth);
  for (const std::string& line : left_out(comparison)) out += wrapped("", line, kMailWidth);
  for (const std::string& warning : comparison.warnings)
    out += wrapped("warning: ", printable(warning), kMailWidth);
  if (!comparison.regressed())
    out += fmt::format("No regression shown beyond the margin of {:g} in a gating metric.\n",
                       comparison.margin);
  return out;
}

// ---- Markdown ----

std::string markdown_cell(std::string text) {
  text = printable(std::move(text));
  std::string out;
  for (const char c : text) {
    if (std::string_view("|\\`*_<>[]").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string markdown_row(const auto& cells) {
  std::string out = "|";
  for (const auto& cell : cells) out += " " + markdown_cell(std::string(cell)) + " |";
  return out + "\n";
}

std::string markdown_rule(std::size_t columns) {
  std::string out = "|";
  for (std::size_t i = 0; i < columns; ++i) out += i == 0 ? " --- |" : " ---: |";
  return out + "\n";
}

}  // namespace

const MetricComparison* find_row(const Cell& cell, std::string_view metric) {
  const auto it = std::ranges::find_if(
      cell.metrics, [&](const MetricComparison& row) { return row.metric->name == metric; });
  return it == cell.metrics.end() ? nullptr : &*it;
}

std::string command_text(const SourceFile& file) {
  std::string out;
  for (const std::string& word : file.command) {
    constexpr std::string_view kPlain =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%";
    if (!out.empty()) out += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      out += word;
      continue;
    }
    out += '\'';
    for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    out += '\'';
  }
  return out;
}

std::string lab_note(const Comparisons& comparisons) {
  for (const Comparison& comparison : comparisons)
    if (std::string note = comparison.lab_note(); !note.empty()) return note;
  return "";
}

std::vector<std::array<std::string, kOvercommitColumns.size()>> overcommit_rows(
    const Comparison& comparison) {
  std::vector<std::array<std::string, kOvercommitColumns.size()>> rows;
  const auto text = [](const MetricComparison* row, std::optional<Summary> PairedStats::*side,
                       double Summary::*statistic) {
    return row != nullptr && row->stats.*side ? number_text((*(row->stats.*side)).*statistic)
                                              : std::string("-");
  };
  const Scalars common = common_dimensions(comparison);
  for (const Cell& cell : comparison.cells) {
    const auto named_alike = [&](const Cell& other) {
      return other.dimensions.at("workload") == cell.dimensions.at("workload") &&
             overcommit(other.dimensions) == overcommit(cell.dimensions);
    };
    const bool alone = std::ranges::count_if(comparison.cells, named_alike) == 1;
    const std::string name_of_row =
        alone ? printable(cell.dimensions.at("workload").get<std::string>())
              : title(cell.dimensions, common);
    const MetricComparison* yields = find_row(cell, "yields_tried");
    const MetricComparison* shootdowns = find_row(cell, "shootdowns");
    for (const auto& [name, statistic] :
         {std::pair("mean", &Summary::mean), std::pair("median", &Summary::median)}) {
      rows.push_back({name_of_row, overcommit(cell.dimensions), std::to_string(cell.runs.size()),
                      name, text(yields, &PairedStats::a, statistic),
                      text(yields, &PairedStats::b, statistic),
                      text(shootdowns, &PairedStats::a, statistic),
                      text(shootdowns, &PairedStats::b, statistic)});
    }
  }
  return rows;
}

std::string render_text(const Comparisons& comparisons) {
  std::string out;
  for (const Comparison& comparison : comparisons) {
    out += heading(comparison) + "\n\n" + render_table(comparison, {}) + "\n" +
           aligned_table(comparison) + "\n" + appendix(comparison, false) + "\n";
  }
  return out + note_line(comparisons);
}

std::string render_lkml(const Comparisons& comparisons) {
  std::string out = note_line(comparisons);
  for (const Comparison& comparison : comparisons) {
    out += "\n" + heading(comparison) + "\n\n";
    for (const Cell& cell : comparison.cells) out += robot_cell(comparison, cell);
    out += verdict_lines(comparison) + "\n" + aligned_table(comparison) + "\n" +
           appendix(comparison, true);
  }
  return out;
}

std::string render_markdown(const Comparisons& comparisons) {
  std::string out = "# dyield report\n";
  if (const std::string note = lab_note(comparisons); !note.empty())
    out += "\n**" + markdown_cell(note) + "**\n";
  for (const Comparison& comparison : comparisons) {
    const Scalars common = common_dimensions(comparison);
    out += "\n## " + markdown_cell(heading(comparison)) + "\n\n```\n" + verdict_lines(comparison) +
           "```\n";
    if (!common.empty()) out += "\nAll cells: " + markdown_cell(list(common)) + "\n";
    for (const Cell& cell : comparison.cells) {
      constexpr std::array<std::string_view, 8> kColumns = {
          "metric",     "base mean", "candidate mean", "effect", "95 % interval",
          "adjusted p", "n",         "verdict"};
      out += "\n### " + markdown_cell(title(cell.dimensions, common)) + "\n\n" +
             markdown_row(kColumns) + markdown_rule(kColumns.size());
      for (const MetricComparison& row : cell.metrics) {
        out += markdown_row(std::array<std::string, 8>{
            std::string(row.metric->name), mean_text(row.stats.a), mean_text(row.stats.b),
            effect_text(row.stats.effect), interval_text(row.stats.effect),
            row.adjusted_p ? fmt::format("{:.2g}", *row.adjusted_p) : "-",
            std::to_string(row.stats.n),
            row.regressed() ? "REGRESSED" : std::string(words(row.verdict).table)});
      }
    }
    out += "\n### Yield calls and shootdowns of a run, by overcommit\n\n" +
           markdown_row(kOvercommitColumns) + markdown_rule(kOvercommitColumns.size());
    for (const auto& row : overcommit_rows(comparison)) out += markdown_row(row);
    // Four spaces make a block that nothing in it can end.
    out += "\n### Samples and commands\n\n";
    const std::string block = appendix(comparison, true);
    for (std::size_t begin = 0; begin < block.size();) {
      const std::size_t end = block.find('\n', begin) + 1;
      out += "    " + block.substr(begin, end - begin);
      begin = end;
    }
  }
  return out;
}

}  // namespace dyield
