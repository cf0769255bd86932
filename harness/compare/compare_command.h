// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <iosfwd>
#include <string>

#include "base/error.h"
#include "compare/compare.h"

namespace dyield {

struct CompareOptions {
  std::string base{};
  std::string candidate{};
  std::string output{};  // file; empty for standard output
  Criteria criteria{};
  bool json = false;
  bool all = false;
  bool color = false;  // ignored for JSON and files
};

// Compares and writes the report to `out` or the output file; what a reader of
// the table on `out` would see, warnings and regressions, is logged if there is
// no such table. Returns kFailed if something regressed, else kOk. Throws Error.
ExitCode run_compare(const CompareOptions& options, std::ostream& out);

// Registers `compare`. When the command line selects it, `select` is called with
// the action to run after parsing. The subcommand belongs to `app`.
void add_compare_command(CLI::App& app, std::function<void(std::function<ExitCode()>)> select);

}  // namespace dyield
