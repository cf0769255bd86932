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

enum class Verdict {
  kNone,        // the metric has no better side
  kNoInterval,  // fewer than two pairs say nothing about chance
  kUnclear,     // the interval holds "no change"
  kBetter,      // the whole interval is on the better side of "no change"
  kWorse,       // the whole interval is on the worse side
  kRegressed,   // a gating metric that is worse by more than the margin
};

struct SeedPair {
  std::uint64_t seed = 0;
  Pair values;
};

// One metric in one cell.
struct MetricComparison {
  const MetricInfo* metric = nullptr;  // a row of metrics()
  std::vector<SeedPair> pairs;         // raw, in the order of seeds
  PairedStats stats;
  std::optional<Effect> ratio;  // of means, beside a difference; absent where it is undefined
  Verdict verdict = Verdict::kNone;
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
  nlohmann::json dimensions;         // in the order of their names
  std::vector<std::uint64_t> seeds;  // of the pairs
  LeftOut base, candidate;
  std::vector<MetricComparison> metrics;  // those that a paired run has, in the order of metrics()
};

// What the files of one side have in common.
struct Side {
  std::string source;  // as the user named it
  std::size_t files = 0;
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

// Pairs complete runs of equal dimensions and seed. `margin` is the fraction by
// which a gating metric may get worse without being a regression. Throws Error
// (kUsage) if there is no pair at all, or if one side has complete runs of equal
// dimensions and seed with different counts. Does not depend on the order of
// results and runs.
Comparison compare(const Input& base, const Input& candidate, double margin);

}  // namespace dyield
