// SPDX-License-Identifier: GPL-2.0-only
#include "compare/compare_command.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <utility>

#include "compare/compare.h"
#include "compare/table.h"
#include "compare/words.h"
#include "result/atomic_file.h"

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

Exit code: 0 no regression, 1 a gating metric is worse, 2 nothing to compare, a refusal or
a damaged file.

Examples:
  dyield compare results/base results/patched
  dyield compare --all --margin 0.02 results/base results/patched
  dyield compare --json -o compare.json results/base results/patched)";

// https://no-color.org: any value that is not empty switches colour off.
bool want_color() {
  const char* no_color = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
}

void log_diagnostics(const Comparison& comparison) {
  for (const std::string& warning : comparison.warnings) spdlog::warn("{}", printable(warning));
  for (const std::string& regression : regressions(comparison))
    spdlog::error("regressed: {}", regression);
}

}  // namespace

ExitCode run_compare(const CompareOptions& options, std::ostream& out) {
  // "nan" passes CLI::Range.
  if (!(options.margin >= 0 && options.margin <= 1)) {
    throw Error(ExitCode::kUsage,
                "The margin is not a fraction; give --margin a number from 0 to 1.");
  }
  const Comparison comparison =
      compare({options.base, load_results(options.base)},
              {options.candidate, load_results(options.candidate)},
              {.margin = options.margin, .common_only = options.common_only});
  const bool color = options.color && options.output.empty();
  const std::string report = options.json
                                 ? to_json_text(comparison)
                                 : render_table(comparison, {.all = options.all, .color = color});
  if (options.json || !options.output.empty()) log_diagnostics(comparison);
  if (!options.output.empty()) {
    write_file_atomically(options.output, report);
  } else if (!(out << report << std::flush)) {
    throw Error(ExitCode::kEnvironment,
                "Cannot write the report to standard output; write it to a file with -o FILE.");
  }
  return comparison.regressed() ? ExitCode::kFailed : ExitCode::kOk;
}

void add_compare_command(CLI::App& app, std::function<void(std::function<ExitCode()>)> select) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand("compare", "Compare the results of two kernels");
  command->add_option("A", options->base, "results of the base kernel")->required();
  command->add_option("B", options->candidate, "results of the candidate kernel")->required();
  command->add_flag("--json", options->json, "print JSON (dyield.compare/2) with the raw pairs");
  command->add_flag("--all", options->all, "show every metric in the table");
  command
      ->add_option("--margin", options->margin,
                   "fraction of the base, from 0 to 1, up to which a change counts as none")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("FRACTION")
      ->capture_default_str();
  command->add_flag("--common", options->common_only, "leave out cells that one side lacks");
  command->add_option("-o,--output", options->output, "write to this file, atomically")
      ->type_name("FILE");
  command->footer(kFooter);
  command->callback([options, select = std::move(select)] {
    options->color = want_color();
    select([options] { return run_compare(*options, std::cout); });
  });
}

}  // namespace dyield
