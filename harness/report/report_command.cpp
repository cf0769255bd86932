// SPDX-License-Identifier: GPL-2.0-only
#include "report/report_command.h"

#include <spdlog/spdlog.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>

#include "compare/words.h"
#include "report/report.h"
#include "result/atomic_file.h"

namespace dyield {
namespace {

constexpr const char* kFooter =
    R"(Reads results as `dyield compare` does, and judges them alike; see its help.
  text      the table, and yield calls by overcommit, for a mail
  lkml      the layout of the kernel test robot: %stddev, %change, %stddev
  markdown  for an issue or a merge request
  html      one page with plots, nothing loaded from outside
  ktap      a test for each gating metric; inconclusive is a skip
  kcidb     schema 5.0: PASS and FAIL for gating metrics, DONE for all others
Each form leads from a number to its samples and commands, and marks emulated runs.
Several candidates are corrected for their number of tests each on their own.

Examples:
  dyield report results/base results/patched
  dyield report --format lkml results/base results/patched
  dyield report --format html -o report.html results/base results/v1 results/v2)";

}  // namespace

ExitCode run_report(const ReportOptions& options, std::ostream& out) {
  const auto format = std::ranges::find(kReportFormats, options.format, &ReportFormat::name);
  // "nan" passes CLI::Range.
  if (format == kReportFormats.end() || !(options.margin >= 0 && options.margin <= 1)) {
    throw Error(ExitCode::kUsage,
                "Give --format one of the names in `dyield report --help`, and --margin a number "
                "from 0 to 1.");
  }
  const Input base{options.base, load_results(options.base)};
  Comparisons comparisons;
  for (const std::string& candidate : options.candidates) {
    comparisons.push_back(compare(base, {candidate, load_results(candidate)},
                                  {.margin = options.margin, .common_only = options.common_only}));
    for (const std::string& warning : comparisons.back().warnings)
      spdlog::warn("{}", printable(warning));
  }
  const std::string report = format->render(comparisons);
  if (!options.output.empty()) {
    write_file_atomically(options.output, report);
  } else if (!(out << report << std::flush)) {
    throw Error(ExitCode::kEnvironment,
                "Cannot write the report to standard output; write it to a file with -o FILE.");
  }
  return ExitCode::kOk;
}

void add_report_command(CLI::App& app, std::function<void(std::function<ExitCode()>)> select) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = app.add_subcommand("report", "Write a report of a comparison");
  command->add_option("BASE", options->base, "results of the base kernel")->required();
  command->add_option("CANDIDATE", options->candidates, "results of each candidate kernel")
      ->required();
  std::vector<std::string> names;
  for (const ReportFormat& format : kReportFormats) names.emplace_back(format.name);
  command->add_option("--format", options->format, "form of the report")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
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
    select([options] { return run_report(*options, std::cout); });
  });
}

}  // namespace dyield
