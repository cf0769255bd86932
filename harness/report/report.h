// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "compare/compare.h"

namespace dyield {

// One comparison for each candidate, all with the same base. Not empty.
using Comparisons = std::vector<Comparison>;

// Every form ends in a newline, names the lab if a run was emulated, and leads
// from each number to its samples and to the commands that made them.

// For a mail: the table of `dyield compare`, then yield calls and shootdowns by overcommit.
std::string render_text(const Comparisons& comparisons);
// The same in the layout of the kernel test robot: %stddev, %change, %stddev.
std::string render_lkml(const Comparisons& comparisons);
std::string render_markdown(const Comparisons& comparisons);
// One page without scripts and without anything from outside.
std::string render_html(const Comparisons& comparisons);
// KTAP version 1 (Documentation/dev-tools/ktap.rst): a subtest for each cell, a test
// for each gating metric, and one that fails for runs that newly failed. Inconclusive is a
// skip that says so.
std::string render_ktap(const Comparisons& comparisons);
// kcidb's schema 5.0: a checkout and a build for each candidate kernel, a test for
// each metric of each cell, with `number`, and one that FAILs for runs that newly failed. Gating
// metrics PASS or FAIL; what is inconclusive or not gating is DONE, a measurement without
// judgement.
std::string render_kcidb(const Comparisons& comparisons);

struct ReportFormat {
  std::string_view name;
  std::string (*render)(const Comparisons& comparisons);
};
inline constexpr std::array kReportFormats = {
    ReportFormat{"text", render_text},         ReportFormat{"lkml", render_lkml},
    ReportFormat{"markdown", render_markdown}, ReportFormat{"html", render_html},
    ReportFormat{"ktap", render_ktap},         ReportFormat{"kcidb", render_kcidb}};

// ---- What the forms share ----

// The row of that metric, or nullptr.
const MetricComparison* find_row(const Cell& cell, std::string_view metric);

// A file's command as one would type it, quoted for a POSIX shell.
std::string command_text(const SourceFile& file);

// The two lab_note()s of the candidates in one: the first that is not empty.
std::string lab_note(const Comparisons& comparisons);

// The reviewers' table: of each cell the calls of kvm_vcpu_yield_to() and the
// shootdowns of a run, before and after, as mean and as median.
inline constexpr std::array<std::string_view, 8> kOvercommitColumns = {
    "workload",    "overcommit",   "runs",         "of them",
    "yields base", "yields cand.", "shootd. base", "shootd. cand."};
std::vector<std::array<std::string, kOvercommitColumns.size()>> overcommit_rows(
    const Comparison& comparison);

}  // namespace dyield
