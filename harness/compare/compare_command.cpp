// SPDX-License-Identifier: GPL-2.0-only
#include "compare/compare_command.h"

#include <spdlog/spdlog.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <iostream>
#include <memory>
#include <utility>

#include "base/color.h"
#include "compare/compare.h"
#include "compare/report_options.h"
#include "compare/table.h"
#include "compare/words.h"

namespace dyield {
namespace {

constexpr const char* kFooter =
    R"(A and B are result files or folders of them. Runs are paired by seed (and block) within
equal dimensions. Sides that ran on different hosts or accelerators are refused, and so are
sides with different dimensions, unless --common is given.

An effect is the Hodges-Lehmann shift of the pairs, of logarithms where a metric is a ratio,
with a 95 % bootstrap interval. A metric is
  better, worse  if the paired sign-flip test has p <= 0.05 after Holm's correction (over all
                 cells, for gating, headline and other metrics apart), the interval excludes
                 "no change", and the shift is beyond the margin
  no change      if the whole interval is inside the margin
  inconclusive   otherwise: more seeds can decide
Random numbers come from constant seeds: the same runs give the same table.

Exit code: 0 no regression, 1 a gating metric is worse, or a run failed that the base completed,
2 nothing to compare, a refusal or a damaged file.

Examples:
  dyield compare results/base results/patched
  dyield compare --all --margin 0.02 results/base results/patched
  dyield compare --json -o compare.json results/base results/patched)";

void log_diagnostics(const Comparison& comparison) {
  for (const std::string& warning : comparison.warnings) spdlog::warn("{}", printable(warning));
  for (const std::string& regression : regressions(comparison))
    spdlog::error("regressed: {}", regression);
}

}  // namespace

ExitCode run_compare(const CompareOptions& options, std::ostream& out) {
  check(options.criteria);
  const Comparison comparison =
      compare({options.base, load_results(options.base)},
              {options.candidate, load_results(options.candidate)}, options.criteria);
  const bool color = options.color && options.output.empty();
  const std::string report = options.json
                                 ? to_json_text(comparison)
                                 : render_table(comparison, {.all = options.all, .color = color});
  if (options.json || !options.output.empty()) log_diagnostics(comparison);
  write_report(report, options.output, out);
  return comparison.regressed() ? ExitCode::kFailed : ExitCode::kOk;
}

void add_compare_command(CLI::App& app, std::function<void(std::function<ExitCode()>)> select) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand("compare", "Compare the results of two kernels");
  command->add_option("A", options->base, "results of the base kernel")->required();
  command->add_option("B", options->candidate, "results of the candidate kernel")->required();
  command->add_flag("--json", options->json, "print JSON (dyield.compare/2) with the raw pairs");
  command->add_flag("--all", options->all, "show every metric in the table");
  add_report_options(*command, options->criteria, options->output);
  command->footer(kFooter);
  command->callback([options, select = std::move(select)] {
    options->color = want_color();
    select([options] { return run_compare(*options, std::cout); });
  });
}

}  // namespace dyield
