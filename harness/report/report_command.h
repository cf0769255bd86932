// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "base/error.h"
#include "compare/compare.h"

namespace dyield {

struct ReportOptions {
  std::string base{};
  std::vector<std::string> candidates{};
  std::string format = "text";
  std::string output{};  // file; empty for standard output
  Criteria criteria{};
};

// Compares each candidate with the base and writes the report to `out` or the
// output file. Returns kOk whatever the verdicts are: `compare` judges. Throws Error.
ExitCode run_report(const ReportOptions& options, std::ostream& out);

// Registers `report`, as add_compare_command() does.
void add_report_command(CLI::App& app, std::function<void(std::function<ExitCode()>)> select);

}  // namespace dyield
