// SPDX-License-Identifier: GPL-2.0-only
//
// The page. Plots hold shapes only, without text, so that they can be stretched to
// any width; what they show stands in the table row beside or below them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "compare/table.h"
#include "compare/words.h"
#include "report/report.h"

namespace dyield {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--fg:#1c2024;--bg:#fff;--soft:#5b6570;--line:#c9d0d8;--band:#eef1f4;
--base:#2a6fdb;--cand:#c2410c;--good:#18733a;--bad:#b4231a}
@media(prefers-color-scheme:dark){:root{--fg:#e6e9ec;--bg:#14171a;--soft:#9aa5b1;--line:#3b434b;
--band:#22272c;--base:#7fb0ff;--cand:#ff9d66;--good:#62d08b;--bad:#ff8b80}}
body{font:16px/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:72rem;
margin:0 auto;padding:1rem}
h1{font-size:1.5rem}h2{font-size:1.25rem;margin-top:2rem}h3{font-size:1.05rem;margin-top:2rem}
a{color:inherit}
.lab{border:2px solid var(--bad);padding:.5rem .75rem;font-weight:600}
.soft,caption{color:var(--soft);font-size:.875rem}
caption{text-align:left;padding:.25rem 0}
th[scope=row]{max-width:18rem;overflow-wrap:break-word}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:middle}
td{white-space:nowrap}
th:first-child,td:first-child{text-align:left}
th[scope=row]{font-weight:600}
td.plot{min-width:9rem}
svg{display:block;width:100%}
.forest{height:1.4rem}.pairs{height:12rem;max-width:28rem}
.band{fill:var(--band)}.zero{stroke:var(--soft);stroke-width:1}
.ci{stroke:var(--fg);stroke-width:3}.dot{stroke:var(--cand);stroke-width:9;stroke-linecap:round}
.link{stroke:var(--line);stroke-width:1.5}
.b{stroke:var(--base);stroke-width:8;stroke-linecap:round}
.c{stroke:var(--cand);stroke-width:8;stroke-linecap:round}
.kb{color:var(--base)}.kc{color:var(--cand)}
line{vector-effect:non-scaling-stroke}
.better{color:var(--good);font-weight:600}.worse,.regressed{color:var(--bad);font-weight:600}
details{margin:.5rem 0}summary{cursor:pointer;padding:.25rem 0}
pre,code{font-size:.85rem;overflow-wrap:anywhere;white-space:pre-wrap}
:target{outline:2px solid var(--base)}
@media(max-width:71rem){td{white-space:normal}
.stack thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.stack,.stack tbody,.stack tr,.stack th,.stack td{display:block}
.stack tr{border-bottom:2px solid var(--line);padding:.5rem 0}
.stack th,.stack td{border:0;text-align:left;padding:.1rem 0}
.stack td{display:flex;justify-content:space-between;gap:1rem}
.stack td::before{content:attr(data-label);color:var(--soft)}
.stack td span{text-align:right}
.stack td.plot::before{content:none}
td.plot{min-width:0}}
)";

std::string escaped(std::string_view raw) {
  std::string out;
  for (const char c : printable(std::string(raw))) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string cell_html(std::string_view label, std::string_view html) {
  return fmt::format("<td data-label=\"{}\">{}</td>", label, html);
}

// ---- The plot of a cell's effects ----

// A logarithmic axis of ratios, common to the rows of a table.
struct Axis {
  double low = 0.9;
  double high = 1.1;
  static constexpr double kEdge = 5;  // half a dot in the narrowest plot

  [[nodiscard]] double position(double ratio) const {
    const double clamped = std::clamp(ratio, low, high);
    return kEdge + (100 - 2 * kEdge) * (std::log(clamped) - std::log(low)) /
                       (std::log(high) - std::log(low));
  }
};

const std::optional<Effect>& as_ratio(const MetricComparison& row) {
  return row.stats.effect && row.stats.effect->is_ratio() ? row.stats.effect : row.ratio;
}

Axis axis_of(const std::vector<MetricComparison>& rows) {
  Axis axis;
  const auto see = [&](double ratio) {
    if (!(ratio > 0)) return;
    axis.low = std::clamp(ratio, 1e-3, axis.low);
    axis.high = std::clamp(ratio, axis.high, 1e3);
  };
  for (const MetricComparison& row : rows) {
    const std::optional<Effect>& effect = as_ratio(row);
    if (!effect || row.metric->better == Better::kNeither) continue;
    see(effect->value);
    if (effect->interval) see(effect->interval->low);
    if (effect->interval) see(effect->interval->high);
  }
  return axis;
}

std::string forest_plot(const MetricComparison& row, const Axis& axis, double margin) {
  const std::optional<Effect>& effect = as_ratio(row);
  if (!effect || row.metric->better == Better::kNeither) return "";
  const double left = axis.position(1 - margin);
  std::string out = fmt::format(
      "<svg class=\"forest\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" role=\"img\" "
      "aria-label=\"{} {}\"><rect class=\"band\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" "
      "height=\"10\"/>"
      "<line class=\"zero\" x1=\"{:.2f}\" x2=\"{:.2f}\" y1=\"0\" y2=\"10\"/>",
      effect_text(effect), interval_text(effect), left, axis.position(1 + margin) - left,
      axis.position(1), axis.position(1));
  if (effect->interval)
    out += fmt::format("<line class=\"ci\" x1=\"{:.2f}\" x2=\"{:.2f}\" y1=\"5\" y2=\"5\"/>",
                       axis.position(effect->interval->low), axis.position(effect->interval->high));
  const double x = axis.position(effect->value);
  return out +
         fmt::format("<line class=\"dot\" x1=\"{:.2f}\" x2=\"{:.2f}\" y1=\"5\" y2=\"5\"/></svg>", x,
                     x);
}

std::string metric_html(const MetricComparison& row, const Axis& axis, double margin,
                        const std::string& anchor) {
  const std::string verdict(words(row.verdict).table);
  const std::string_view style = row.regressed() ? "regressed" : words(row.verdict).json;
  const auto linked = [&](const std::string& text) {
    return row.pairs.empty() ? text : fmt::format("<a href=\"#{}\">{}</a>", anchor, text);
  };
  return fmt::format("<tr><th scope=\"row\">{}</th>", row.metric->name) +
         fmt::format("<td class=\"plot\">{}</td>", forest_plot(row, axis, margin)) +
         cell_html("base mean", linked(mean_text(row.stats.a))) +
         cell_html("candidate mean", linked(mean_text(row.stats.b))) +
         cell_html("effect", linked(effect_text(row.stats.effect))) +
         cell_html("95 % interval", linked(interval_text(row.stats.effect))) +
         cell_html("adjusted p", row.adjusted_p ? fmt::format("{:.2g}", *row.adjusted_p) : "-") +
         cell_html("pairs", std::to_string(row.stats.n)) +
         cell_html("verdict", fmt::format("<span class=\"{}\">{}</span>", style,
                                          row.regressed()   ? "REGRESSED"
                                          : verdict.empty() ? "-"
                                                            : verdict)) +
         "</tr>\n";
}

// ---- Samples ----

// One line from base to candidate for each pair.
std::string pairs_plot(const MetricComparison& row) {
  double low = row.pairs.front().values.a;
  double high = low;
  for (const Sample& sample : row.pairs) {
    low = std::min({low, sample.values.a, sample.values.b});
    high = std::max({high, sample.values.a, sample.values.b});
  }
  const auto y = [&](double value) {
    return high > low ? 95 - 90 * (value - low) / (high - low) : 50;
  };
  std::string links, dots;
  for (const auto& [run, values] : row.pairs) {
    links += fmt::format("<line class=\"link\" x1=\"15\" x2=\"85\" y1=\"{:.2f}\" y2=\"{:.2f}\"/>",
                         y(values.a), y(values.b));
    dots += fmt::format("<line class=\"b\" x1=\"15\" x2=\"15\" y1=\"{0:.2f}\" y2=\"{0:.2f}\"/>",
                        y(values.a));
    dots += fmt::format("<line class=\"c\" x1=\"85\" x2=\"85\" y1=\"{0:.2f}\" y2=\"{0:.2f}\"/>",
                        y(values.b));
  }
  return fmt::format(
      "<p class=\"soft\">Each line is a pair: <span class=\"kb\">base, left</span>, <span "
      "class=\"kc\">candidate, "
      "right</span>; from {} (bottom) to {} (top) {}. The table below has the same numbers.</p>"
      "<svg class=\"pairs\" viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\" role=\"img\" "
      "aria-label=\"{} pairs of {}\">{}{}</svg>",
      number_text(low), number_text(high), row.metric->unit, row.pairs.size(), row.metric->name,
      links, dots);
}

std::string samples_html(const Cell& cell, const MetricComparison& row, const std::string& anchor,
                         std::size_t comparison) {
  if (row.pairs.empty()) return "";
  std::string out = fmt::format(
      "<details><summary>Samples of {0}</summary><div id=\"{1}\"><p "
      "class=\"soft\">{2}</p>{3}\n<table><caption>"
      "{0} in {4}, by pair</caption><thead><tr><th scope=\"col\">seed</th><th "
      "scope=\"col\">base</th><th "
      "scope=\"col\">candidate</th></tr></thead><tbody>\n",
      row.metric->name, anchor, escaped(row.metric->meaning), pairs_plot(row), row.metric->unit);
  for (const Sample& sample : row.pairs) {
    const RunPair& run = cell.runs[sample.run];
    out += fmt::format(
        "<tr><td>{}{}</td><td><a href=\"#b{}\">{:.6g}</a></td><td><a "
        "href=\"#c{}-{}\">{:.6g}</a></td></tr>\n",
        run.seed, run.block == 0 ? "" : fmt::format(" (block {})", run.block), run.base_file,
        sample.values.a, comparison, run.candidate_file, sample.values.b);
  }
  return out + "</tbody></table></div></details>\n";
}

constexpr std::string_view kMetricHead =
    "<table class=\"stack\"><thead><tr><th scope=\"col\">metric</th><th scope=\"col\">plot</th><th "
    "scope=\"col\">base mean</th><th scope=\"col\">candidate mean</th><th "
    "scope=\"col\">effect</th><th "
    "scope=\"col\">95 % interval</th><th scope=\"col\">adjusted p</th><th "
    "scope=\"col\">pairs</th><th scope=\"col\">verdict</th></tr></thead><tbody>\n";
constexpr std::string_view kTableEnd = "</tbody></table>\n";

std::string cell_section(const Comparison& comparison, const Cell& cell, const std::string& id,
                         std::size_t number) {
  // An axis for each table: the counts behind a headline can differ a thousandfold.
  const auto axis_for = [&](bool headline) {
    std::vector<MetricComparison> rows;
    std::ranges::copy_if(cell.metrics, std::back_inserter(rows), [&](const MetricComparison& row) {
      return row.metric->headline == headline;
    });
    return axis_of(rows);
  };
  const Axis axis = axis_for(true), other_axis = axis_for(false);
  std::string headline, others, samples;
  std::size_t more = 0;
  for (const MetricComparison& row : cell.metrics) {
    const std::string anchor = fmt::format("{}-{}", id, row.metric->name);
    const std::string html =
        metric_html(row, row.metric->headline ? axis : other_axis, comparison.margin, anchor);
    (row.metric->headline ? headline : others) += html;
    if (!row.metric->headline) more++;
    samples += samples_html(cell, row, anchor, number);
  }
  std::string out = fmt::format(
      "<h3 id=\"{}\">{}</h3>\n<p class=\"soft\">The plot shows candidate / base with its 95 % "
      "interval, from x{:.2g} to x{:.3g}, logarithmic; the line is no change, the band the margin. "
      "Numbers link to their samples.</p>\n{}{}{}",
      id, escaped(title(cell.dimensions, common_dimensions(comparison))), axis.low, axis.high,
      kMetricHead, headline, kTableEnd);
  if (more > 0)
    out += fmt::format(
        "<details><summary>{} more metrics</summary>\n<p class=\"soft\">Here the plot shows "
        "x{:.2g} "
        "to x{:.3g}.</p>\n{}{}{}</details>\n",
        more, other_axis.low, other_axis.high, kMetricHead, others, kTableEnd);
  return out + "<details><summary>Samples</summary>\n" + samples + "</details>\n";
}

// What a cell comes to: the first metric that gates, and what explains it.
std::vector<const MetricComparison*> summary_of(const Cell& cell) {
  std::vector<const MetricComparison*> rows;
  for (const MetricComparison& row : cell.metrics)
    if (row.metric->gating && rows.empty()) rows.push_back(&row);
  for (const MetricComparison& row : cell.metrics)
    if (!row.metric->gating && row.metric->headline) rows.push_back(&row);
  return rows;
}

// One line a cell: the whole matrix at a glance.
std::string overview_html(const Comparison& comparison, std::size_t number) {
  if (comparison.cells.size() < 2) return "";
  std::vector<MetricComparison> firsts;
  for (const Cell& cell : comparison.cells)
    for (const MetricComparison* row : summary_of(cell))
      if (row->metric->gating) firsts.push_back(*row);
  const Axis axis = axis_of(firsts);
  std::string out = fmt::format(
      "<h3>All cells</h3>\n<p class=\"soft\">Of each cell its own measure of progress, with the "
      "plot from x{:.2g} to x{:.3g}, and what explains it. Each links to its section.</p>\n<table "
      "class=\"stack\"><thead><tr><th scope=\"col\">cell</th><th scope=\"col\">plot</th><th "
      "scope=\"col\">progress</th><th scope=\"col\">effect</th><th scope=\"col\">95 % "
      "interval</th><th scope=\"col\">explained by</th><th "
      "scope=\"col\">verdict</th></tr></thead><tbody>\n",
      axis.low, axis.high);
  for (std::size_t i = 0; i < comparison.cells.size(); ++i) {
    const Cell& cell = comparison.cells[i];
    const auto rows = summary_of(cell);
    const MetricComparison* first =
        rows.empty() || !rows.front()->metric->gating ? nullptr : rows.front();
    // Without any pair of runs, as all of the candidate's failed, it regressed all the same.
    if (first == nullptr && !cell.regressed()) continue;
    std::string why;
    for (const MetricComparison* row : rows) {
      if (row == first || !row->stats.effect) continue;
      why += fmt::format("{}{} {}", why.empty() ? "" : "<br>", row->metric->name,
                         effect_text(row->stats.effect));
    }
    out += fmt::format("<tr><th scope=\"row\"><a href=\"#k{}-{}\">{}</a></th>", number, i,
                       escaped(title(cell.dimensions, common_dimensions(comparison)))) +
           fmt::format("<td class=\"plot\">{}</td>",
                       first == nullptr ? "" : forest_plot(*first, axis, comparison.margin)) +
           cell_html("progress", first == nullptr ? "-" : first->metric->name) +
           cell_html("effect", first == nullptr ? "-" : effect_text(first->stats.effect)) +
           cell_html("95 % interval", first == nullptr ? "-" : interval_text(first->stats.effect)) +
           cell_html("explained by", why.empty() ? "-" : fmt::format("<span>{}</span>", why)) +
           cell_html("verdict", cell.regressed() ? "<span class=\"regressed\">REGRESSED</span>"
                                                 : fmt::format("<span class=\"{}\">{}</span>",
                                                               words(first->verdict).json,
                                                               words(first->verdict).table)) +
           "</tr>\n";
  }
  return out + std::string(kTableEnd);
}

std::string overcommit_html(const Comparison& comparison, std::size_t number) {
  std::string out =
      "<h3>By overcommit</h3>\n<p class=\"soft\">Calls of kvm_vcpu_yield_to() and shootdowns of a "
      "run</p>\n<table class=\"stack\"><thead><tr>";
  for (const std::string_view column : kOvercommitColumns)
    out += fmt::format("<th scope=\"col\">{}</th>", column);
  out += "</tr></thead><tbody>\n";
  const auto rows = overcommit_rows(comparison);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto& row = rows[r];
    // Two rows a cell, whose section has the samples.
    out += fmt::format("<tr><th scope=\"row\"><a href=\"#k{}-{}\">{}</a></th>", number, r / 2,
                       escaped(row[0]));
    for (std::size_t i = 1; i < row.size(); ++i)
      out += cell_html(kOvercommitColumns[i], escaped(row[i]));
    out += "</tr>\n";
  }
  return out + "</tbody></table>\n";
}

std::string commands_html(const Side& side, const std::string& name, const std::string& prefix) {
  std::string out = fmt::format("<details><summary>Commands of the {} ({} files)</summary>\n", name,
                                side.files.size());
  for (std::size_t i = 0; i < side.files.size(); ++i) {
    const SourceFile& file = side.files[i];
    out += fmt::format("<div id=\"{}{}\"><code>{}</code>, kernel {}<pre>{}</pre></div>\n", prefix,
                       i, escaped(file.path), escaped(file.kernel), escaped(command_text(file)));
  }
  return out + "</details>\n";
}

std::string names(const Side& side) {
  return escaped(fmt::format("{}", fmt::join(side.kernels, ", ")));
}

}  // namespace

std::string render_html(const Comparisons& comparisons) {
  const Side& base = comparisons.front().base;
  std::vector<std::string> candidates;
  for (const Comparison& comparison : comparisons)
    candidates.push_back(names(comparison.candidate));
  const std::string heading =
      fmt::format("{} against {}", fmt::join(candidates, ", "), names(base));
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>dyield: "
      "{0}</title>\n<style>{1}</style></head><body><main>\n<h1>dyield: {0}</h1>\n",
      heading, kStyle);
  if (const std::string note = lab_note(comparisons); !note.empty())
    out += fmt::format("<p class=\"lab\">{}</p>\n", escaped(note));
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    const Comparison& comparison = comparisons[i];
    out += "<section>";
    if (comparisons.size() > 1)
      out += fmt::format("<h2>{} against {}</h2>\n", candidates[i], names(base));
    for (const std::string& regression : regressions(comparison))
      out += fmt::format("<p class=\"regressed\">REGRESSED: {}</p>\n", escaped(regression));
    if (!comparison.regressed())
      out += "<p class=\"soft\">No regression shown in a gating metric.</p>\n";
    out += fmt::format(
        "<p class=\"soft\">All cells: {}. Margin {:g} %. better and worse: sign-flip test, p at "
        "most {:g} after Holm&#39;s correction, and a shift beyond the margin; no change: the "
        "interval is inside the margin.</p>\n",
        escaped(list(common_dimensions(comparison))), 100 * comparison.margin, kAlpha);
    for (const std::string& warning : comparison.warnings)
      out += fmt::format("<p class=\"worse\">Warning: {}</p>\n", escaped(warning));
    for (const std::string& line : left_out(comparison))
      out += fmt::format("<p class=\"soft\">{}</p>\n", escaped(line));
    out += overview_html(comparison, i);
    for (std::size_t cell = 0; cell < comparison.cells.size(); ++cell)
      out += cell_section(comparison, comparison.cells[cell], fmt::format("k{}-{}", i, cell), i);
    out += overcommit_html(comparison, i);
    out += commands_html(comparison.candidate, "candidate " + names(comparison.candidate),
                         fmt::format("c{}-", i));
    out += "</section>\n";
  }
  return out + commands_html(base, "base " + names(base), "b") + "</main></body></html>\n";
}

}  // namespace dyield
