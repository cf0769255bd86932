// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compare/compare.h"

namespace dyield {

inline constexpr std::string_view kCompareSchema = "dyield.compare/2";

struct TableOptions {
  bool all = false;    // every metric, not only the headline ones
  bool color = false;  // ANSI colours for verdicts
};

// A table at most 100 columns wide: a block of rows for each cell, then
// what was left out, warnings, regressions and, for emulated runs, the lab note.
// Text from result files is stripped of control characters.
std::string render_table(const Comparison& comparison, const TableOptions& options);

// A line for each regression: the metric and its effect, or the runs that newly failed; and the
// cell.
std::vector<std::string> regressions(const Comparison& comparison);

// A line for what is not compared: runs of a cell by side, and cells that only one side has.
std::vector<std::string> left_out(const Comparison& comparison);

// Everything in the comparison with the raw pairs, as kCompareSchema. The same
// comparison gives the same text, which ends in a newline.
std::string to_json_text(const Comparison& comparison);

}  // namespace dyield
