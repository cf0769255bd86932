// SPDX-License-Identifier: GPL-2.0-only
#include "compare/report_options.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <ostream>

#include "base/error.h"
#include "base/numbers.h"
#include "result/atomic_file.h"

namespace dyield {

void add_report_options(CLI::App& command, Criteria& criteria, std::string& output) {
  command
      .add_option("--margin", criteria.margin,
                  "fraction of the base, like 0.02 or 2%, up to which a change counts as none")
      ->transform(from_percent())
      ->check(number_between(0, 1))
      ->type_name("FRACTION")
      ->capture_default_str();
  command.add_flag("--common", criteria.common_only, "leave out cells that one side lacks");
  command.add_option("-o,--output", output, "write to this file, atomically")->type_name("FILE");
}

void check(const Criteria& criteria) {
  if (!(criteria.margin >= 0 && criteria.margin <= 1)) {
    throw Error(ExitCode::kUsage,
                "The margin is not a fraction; give --margin a number from 0 to 1.");
  }
}

void write_report(const std::string& report, const std::string& output, std::ostream& out) {
  if (!output.empty()) {
    write_file_atomically(output, report);
  } else if (!(out << report << std::flush)) {
    throw Error(ExitCode::kEnvironment,
                "Cannot write the report to standard output; write it to a file with -o FILE.");
  }
}

}  // namespace dyield
