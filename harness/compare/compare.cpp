// SPDX-License-Identifier: GPL-2.0-only
#include "compare/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <utility>

#include "base/error.h"

namespace dyield {
namespace {

// Objects ordered by key, for which 2 and 2.0 are the same number.
using Dimensions = nlohmann::json;

struct Source {
  const Run* run;
  const LoadedResult* file;
};

// The runs of one side in one cell.
struct CellSide {
  std::map<std::uint64_t, Source> complete;
  std::set<std::uint64_t> failed_seeds;
  LeftOut left_out;
};

using SideCells = std::map<Dimensions, CellSide>;

[[noreturn]] void fail_contradiction(const Source& one, const Source& other) {
  const bool same_file = one.file == other.file;
  throw Error(
      ExitCode::kUsage,
      fmt::format(
          "Seed {} was run twice in equal dimensions with different counts, in \"{}\" and "
          "{}; keep one of them, and each kernel's results in a folder of their own.",
          one.run->seed, one.file->path.string(),
          same_file ? "again in the same file" : fmt::format("\"{}\"", other.file->path.string())));
}

void add_run(const Source& source, CellSide& side) {
  const Run& run = *source.run;
  if (run.status == RunStatus::kPartial) {
    ++side.left_out.partial;
  } else if (run.status == RunStatus::kFailed) {
    ++side.left_out.failed;
    side.failed_seeds.insert(run.seed);
  } else if (const auto [it, added] = side.complete.emplace(run.seed, source); !added) {
    if (it->second.run->counts != run.counts) fail_contradiction(it->second, source);
    ++side.left_out.repeated;
  }
}

// In the order of paths, so that nothing depends on the order of loading.
std::vector<const LoadedResult*> by_path(const Input& input) {
  std::vector<const LoadedResult*> files;
  for (const LoadedResult& file : input.results) files.push_back(&file);
  std::ranges::sort(files, {}, &LoadedResult::path);
  return files;
}

SideCells group(const Input& input) {
  SideCells cells;
  for (const LoadedResult* file : by_path(input)) {
    CellSide& side = cells[Dimensions(file->result.dimensions)];
    for (const Run& run : file->result.runs) add_run({&run, file}, side);
  }
  return cells;
}

Side describe(const Input& input) {
  Side side{input.source, input.results.size(), {}, {}};
  for (const LoadedResult& file : input.results) {
    side.kernels.insert(file.result.kernel);
    if (file.result.emulated()) side.machines.insert(file.result.machine());
  }
  return side;
}

// ---- Verdict ----

Verdict judge(const MetricInfo& metric, const PairedStats& stats, double margin) {
  if (metric.better == Better::kNeither || !stats.effect) return Verdict::kNone;
  if (!stats.effect->interval) return Verdict::kNoInterval;
  // Turned so that higher is better. The margin of a difference is relative to
  // the mean of the base.
  const double sign = metric.better == Better::kHigher ? 1 : -1;
  const double neutral = stats.effect->is_ratio() ? 1 : 0;
  const double allowed = margin * (stats.effect->is_ratio() ? 1 : stats.a->mean);
  double low = sign * (stats.effect->interval->low - neutral);
  double high = sign * (stats.effect->interval->high - neutral);
  if (low > high) std::swap(low, high);
  if (metric.gating && high < -allowed) return Verdict::kRegressed;
  if (high < 0) return Verdict::kWorse;
  if (low > 0) return Verdict::kBetter;
  return Verdict::kUnclear;
}

MetricComparison compare_metric(const MetricInfo& metric, const CellSide& base,
                                const CellSide& candidate, double margin) {
  MetricComparison row{&metric, {}, {}, {}, Verdict::kNone};
  std::vector<Pair> values;
  for (const auto& [seed, a] : base.complete) {
    const auto b = candidate.complete.find(seed);
    if (b == candidate.complete.end()) continue;
    const auto value_a = metric_value(metric, a.run->counts);
    const auto value_b = metric_value(metric, b->second.run->counts);
    if (!value_a || !value_b) continue;
    values.push_back({*value_a, *value_b});
    row.pairs.push_back({seed, values.back()});
  }
  if (metric.comparing == Comparing::kRatio) {
    row.stats = compare_ratio(values);
  } else {
    row.stats = compare_difference(values);
    row.ratio = ratio_of_means(values);
  }
  row.verdict = judge(metric, row.stats, margin);
  return row;
}

bool has_metric(const MetricInfo& metric, const CellSide& side,
                const std::vector<std::uint64_t>& seeds) {
  return std::ranges::any_of(seeds, [&](std::uint64_t seed) {
    return metric_value(metric, side.complete.at(seed).run->counts).has_value();
  });
}

Cell compare_cell(const Dimensions& dimensions, const CellSide& base, const CellSide& candidate,
                  double margin) {
  Cell cell{dimensions, {}, base.left_out, candidate.left_out, {}};
  for (const auto& [seed, source] : base.complete)
    (candidate.complete.contains(seed) ? cell.seeds : cell.base.unpaired).push_back(seed);
  for (const auto& [seed, source] : candidate.complete)
    if (!base.complete.contains(seed)) cell.candidate.unpaired.push_back(seed);
  for (const MetricInfo& metric : metrics()) {
    if (has_metric(metric, base, cell.seeds) || has_metric(metric, candidate, cell.seeds))
      cell.metrics.push_back(compare_metric(metric, base, candidate, margin));
  }
  return cell;
}

// ---- Warnings ----

// What may differ between the sides: the kernel is what is being compared, and
// the cgroup's path has the number of the login session in it.
bool may_differ(std::string_view pointer) {
  constexpr std::array kExpected = {"/cgroup", "/kernel", "/uname"};
  return std::ranges::any_of(kExpected, [&](std::string_view expected) {
    return pointer == expected || pointer.starts_with(fmt::format("{}/", expected));
  });
}

// The environment's leaves by JSON pointer. An array is a leaf.
void flatten(const Json& value, const std::string& pointer,
             std::map<std::string, std::string>& leaves) {
  if (!value.is_object()) {
    leaves[pointer] = value.dump();
    return;
  }
  for (const auto& [key, member] : value.items())
    flatten(member, fmt::format("{}/{}", pointer, key), leaves);
}

using Leaves = std::map<std::string, std::string>;

Leaves environment_of(const LoadedResult& file) {
  Leaves leaves;
  flatten(file.result.environment, "", leaves);
  std::erase_if(leaves, [](const auto& leaf) { return may_differ(leaf.first); });
  return leaves;
}

std::string shortened(std::string text) {
  constexpr std::size_t kLongest = 80;
  if (text.size() <= kLongest) return text;
  text.resize(kLongest);
  while (!text.empty() && (text.back() & 0x80) != 0) text.pop_back();  // not half a character
  return text + "...";
}

// Differing leaves of the files whose runs are paired, with the files' number.
void warn_of_environments(const SideCells& base, const SideCells& candidate,
                          std::vector<std::string>& warnings) {
  std::set<std::pair<const LoadedResult*, const LoadedResult*>> file_pairs;
  for (const auto& [dimensions, side] : base) {
    const auto other = candidate.find(dimensions);
    if (other == candidate.end()) continue;
    for (const auto& [seed, source] : side.complete) {
      const auto partner = other->second.complete.find(seed);
      if (partner != other->second.complete.end())
        file_pairs.emplace(source.file, partner->second.file);
    }
  }
  std::map<std::tuple<std::string, std::string, std::string>, std::size_t> differences;
  std::size_t mixed = 0;
  for (const auto& [a, b] : file_pairs) {
    mixed += a->result.emulated() != b->result.emulated();
    Leaves left = environment_of(*a);
    Leaves right = environment_of(*b);
    for (const auto& [pointer, value] : left) right.try_emplace(pointer, "nothing");
    for (const auto& [pointer, value] : right) {
      const std::string& base_value = left.try_emplace(pointer, "nothing").first->second;
      if (base_value != value) ++differences[{pointer, base_value, value}];
    }
  }
  if (mixed > 0)
    warnings.push_back("emulated and hardware runs are paired: their numbers have no common scale");
  for (const auto& [difference, count] : differences) {
    const auto& [pointer, a, b] = difference;
    warnings.push_back(fmt::format("the environments differ in {}: base {}, candidate {}{}",
                                   pointer, shortened(a), shortened(b),
                                   count > 1 ? fmt::format(" ({} pairs of files)", count) : ""));
  }
}

void warn_of_kernels(const Side& side, std::string_view which, std::vector<std::string>& warnings) {
  if (side.kernels.size() > 1) {
    warnings.push_back(fmt::format("the {} mixes results of several kernels: {}", which,
                                   fmt::join(side.kernels, ", ")));
  }
}

// A candidate that fails where the base works cannot show up in any ratio.
void warn_of_failures(const SideCells& base, const SideCells& candidate,
                      std::vector<std::string>& warnings) {
  std::size_t failures = 0;
  for (const auto& [dimensions, side] : candidate) {
    const auto other = base.find(dimensions);
    if (other == base.end()) continue;
    failures +=
        static_cast<std::size_t>(std::ranges::count_if(side.failed_seeds, [&](std::uint64_t seed) {
          return other->second.complete.contains(seed) && !side.complete.contains(seed);
        }));
  }
  if (failures > 0) {
    warnings.push_back(
        fmt::format("the candidate failed in {} run(s) that the base completed", failures));
  }
}

// ---- Order of cells ----

auto display_order(const Dimensions& d) {
  return std::tuple(d.at("workload").get<std::string>(), d.at("cpus").get<std::uint64_t>(),
                    d.at("vcpus").get<std::uint64_t>(), d.at("vms").get<std::uint64_t>(), d);
}

}  // namespace

bool Comparison::regressed() const {
  return std::ranges::any_of(cells, [](const Cell& cell) {
    return std::ranges::any_of(cell.metrics, [](const MetricComparison& row) {
      return row.verdict == Verdict::kRegressed;
    });
  });
}

std::string Comparison::lab_note() const {
  std::set<std::string> machines = base.machines;
  machines.insert(candidate.machines.begin(), candidate.machines.end());
  if (machines.empty()) return "";
  return fmt::format("Lab: emulated ({}); virtual time, not bare-metal time",
                     fmt::join(machines, ", "));
}

Comparison compare(const Input& base, const Input& candidate, double margin) {
  const SideCells cells_a = group(base);
  const SideCells cells_b = group(candidate);
  Comparison comparison{.base = describe(base),
                        .candidate = describe(candidate),
                        .margin = margin,
                        .cells = {},
                        .only_base = {},
                        .only_candidate = {},
                        .warnings = {}};
  for (const auto& [dimensions, side] : cells_a) {
    const auto other = cells_b.find(dimensions);
    if (other == cells_b.end())
      comparison.only_base.push_back(dimensions);
    else
      comparison.cells.push_back(compare_cell(dimensions, side, other->second, margin));
  }
  for (const auto& [dimensions, side] : cells_b)
    if (!cells_a.contains(dimensions)) comparison.only_candidate.push_back(dimensions);
  if (std::ranges::all_of(comparison.cells, &std::vector<std::uint64_t>::empty, &Cell::seeds)) {
    throw Error(ExitCode::kUsage,
                fmt::format("\"{}\" and \"{}\" have no pair of complete runs with equal dimensions "
                            "and seed ({} cells on both sides, {} only in the base, {} only in the "
                            "candidate); run both kernels with the same options and seeds.",
                            base.source, candidate.source, comparison.cells.size(),
                            comparison.only_base.size(), comparison.only_candidate.size()));
  }
  std::ranges::sort(comparison.cells, {},
                    [](const Cell& c) { return display_order(c.dimensions); });
  std::ranges::sort(comparison.only_base, {}, display_order);
  std::ranges::sort(comparison.only_candidate, {}, display_order);
  warn_of_kernels(comparison.base, "base", comparison.warnings);
  warn_of_kernels(comparison.candidate, "candidate", comparison.warnings);
  warn_of_failures(cells_a, cells_b, comparison.warnings);
  warn_of_environments(cells_a, cells_b, comparison.warnings);
  return comparison;
}

}  // namespace dyield
