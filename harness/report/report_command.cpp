// SPDX-License-Identifier: GPL-2.0-only
#include "report/report_command.h"

#include <spdlog/spdlog.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>

#include "compare/report_options.h"
#include "compare/words.h"
#include "report/report.h"

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
The last two have a failed test "completion", too, where runs failed that the base completed.
Each form leads from a number to its samples and commands, and marks emulated runs.
Several candidates are corrected for their number of tests each on their own.

Examples:
  dyield report results/base results/patched
  dyield report --format lkml results/base results/patched
  dyield report --format html -o report.html results/base results/v1 results/v2)";

}  // namespace

ExitCode run_report(const ReportOptions& options, std::ostream& out) {
  const auto format = std::ranges::find(kReportFormats, options.format, &ReportFormat::name);
  if (format == kReportFormats.end()) {
    throw Error(ExitCode::kUsage, "Give --format one of the names in `dyield report --help`.");
  }
  check(options.criteria);
  const Input base{options.base, load_results(options.base)};
  Comparisons comparisons;
  for (const std::string& candidate : options.candidates) {
    comparisons.push_back(compare(base, {candidate, load_results(candidate)}, options.criteria));
    for (const std::string& warning : comparisons.back().warnings)
      spdlog::warn("{}", printable(warning));
  }
  write_report(format->render(comparisons), options.output, out);
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
  add_report_options(*command, options->criteria, options->output);
  command->footer(kFooter);
  command->callback([options, select = std::move(select)] {
    select([options] { return run_report(*options, std::cout); });
  });
}

}  // namespace dyield
