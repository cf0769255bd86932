// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "result/metric.h"
#include "result/result.h"
#include "stats/paired.h"

namespace dyield {

// Of a metric that has a better side, from its shift, the shift's 95 % interval, and
// the p-value of the sign-flip test after Holm's correction. A shift is beyond the
// margin if it is more than `margin` times the base's value.
enum class Verdict {
  kNone,          // the metric has no better side
  kTooFew,        // fewer than kMinPairs pairs: no interval
  kInconclusive,  // none of the following: more pairs can decide
  kNoChange,      // the whole interval is inside the margin
  kBetter,        // p <= kAlpha, the interval excludes "no change", the shift is beyond the margin
  kWorse,         // the same on the other side; in a gating metric, a regression
};

// The chance, at most, of any better or worse in a family when nothing changed.
inline constexpr double kAlpha = 0.05;

// What Holm's correction counts together, over all cells. The families are apart
// because a test more takes power from every other test of its family.
enum class Family { kGating, kHeadline, kOther };
Family family_of(const MetricInfo& metric);

// Two runs that are compared with each other.
struct RunPair {
  std::uint64_t seed = 0;
  std::uint64_t block = 0;                        // of an alternating order of sides; 0 without one
  std::size_t base_file = 0, candidate_file = 0;  // in Side::files
};

struct Sample {
  std::size_t run = 0;  // in Cell::runs
  Pair values;
};

// One metric in one cell.
struct MetricComparison {
  const MetricInfo* metric = nullptr;  // a row of metrics()
  std::vector<Sample> pairs;           // raw, in the order of Cell::runs
  PairedStats stats;
  std::optional<Effect> ratio;       // of means, beside a difference; absent where it is undefined
  std::optional<double> adjusted_p;  // after Holm's correction; absent without a better side
  Verdict verdict = Verdict::kNone;

  [[nodiscard]] bool regressed() const { return metric->gating && verdict == Verdict::kWorse; }
};

// Runs of one side of a cell that are not compared.
struct LeftOut {
  std::size_t failed = 0;
  std::size_t partial = 0;
  std::size_t repeated = 0;             // complete, with counts that another file has as well
  std::vector<std::uint64_t> unpaired;  // complete, without a complete run of the same seed
};

// All runs whose dimensions are equal.
struct Cell {
  nlohmann::json dimensions;  // in the order of their names
  std::vector<RunPair> runs;  // in the order of seeds and blocks
  // Runs that the base completed and that failed in the candidate: no ratio shows them.
  std::vector<RunPair> newly_failed;
  LeftOut base, candidate;
  std::vector<MetricComparison> metrics;  // those that a paired run has, in the order of metrics()

  // Is a gating metric worse, or has a run newly failed?
  [[nodiscard]] bool regressed() const;
};

// Where a run comes from.
struct SourceFile {
  std::string path;
  std::string kernel;
  std::vector<std::string> command;  // argv
  Json environment;
};

// What the files of one side have in common.
struct Side {
  std::string source;             // as the user named it
  std::vector<SourceFile> files;  // in the order of their paths
  std::set<std::string> kernels;
  std::set<std::string> machines;  // of the lab, empty on hardware
};

struct Comparison {
  Side base, candidate;
  double margin = 0;
  std::vector<Cell> cells;
  std::vector<nlohmann::json> only_base, only_candidate;  // dimensions of cells without other side
  std::vector<std::string> warnings;

  [[nodiscard]] bool regressed() const;
  // The sentence that must go with every lab number; empty if all is hardware.
  [[nodiscard]] std::string lab_note() const;
};

// The files of one side with the name that the user gave for them.
struct Input {
  std::string source;
  std::vector<LoadedResult> results;
};

struct Criteria {
  // The fraction of the base's value up to which a change counts as none.
  double margin = 0.01;
  // Leave out cells that only one side has, where they are refused otherwise.
  bool common_only = false;
};

// Pairs complete runs of equal dimensions, seed and block (`block` in a run's detail).
// Throws Error (kUsage), naming what differs, if the sides ran on different hosts or
// accelerators or in different dimensions, if there is no pair at all and no run that
// newly failed, or if one side has complete runs of equal dimensions, seed and block with different
// counts. Does not depend on the order of results and runs.
Comparison compare(const Input& base, const Input& candidate, const Criteria& criteria);

}  // namespace dyield
