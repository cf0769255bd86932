// SPDX-License-Identifier: GPL-2.0-only
//
// What `compare` and `report` have in common on the command line.
#pragma once

#include <CLI/App.hpp>
#include <iosfwd>
#include <string>

#include "compare/compare.h"

namespace dyield {

// Adds --margin, --common and -o to `command`; what it is given goes into `criteria`
// and `output`, which must outlive the parsing.
void add_report_options(CLI::App& command, Criteria& criteria, std::string& output);

// Throws Error (kUsage) if the margin is not a fraction from 0 to 1.
void check(const Criteria& criteria);

// To the file `output`, atomically, or if that is empty to `out`. Throws Error.
void write_report(const std::string& report, const std::string& output, std::ostream& out);

}  // namespace dyield
