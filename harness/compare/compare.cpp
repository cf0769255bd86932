// SPDX-License-Identifier: GPL-2.0-only
#include "compare/compare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
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
  std::size_t index;  // of the file in by_path()
};

// What pairs two runs.
struct Key {
  std::uint64_t seed = 0;
  std::uint64_t block = 0;
  auto operator<=>(const Key&) const = default;
};

Key key_of(const Run& run) {
  const auto block = run.detail.find("block");
  const bool given = block != run.detail.end() && block->is_number_unsigned();
  return {run.seed, given ? block->get<std::uint64_t>() : 0};
}

// The runs of one side in one cell.
struct CellSide {
  std::map<Key, Source> complete;
  std::map<Key, Source> failed;
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
    side.failed.emplace(key_of(run), source);
  } else if (const auto [it, added] = side.complete.emplace(key_of(run), source); !added) {
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
  const auto files = by_path(input);
  for (std::size_t i = 0; i < files.size(); ++i) {
    CellSide& side = cells[Dimensions(files[i]->result.dimensions)];
    for (const Run& run : files[i]->result.runs) add_run({&run, files[i], i}, side);
  }
  return cells;
}

Side describe(const Input& input) {
  Side side{input.source, {}, {}, {}};
  for (const LoadedResult* file : by_path(input)) {
    const Result& result = file->result;
    side.files.push_back({file->path.string(), result.kernel, result.command, result.environment});
    side.kernels.insert(result.kernel);
    if (result.emulated()) side.machines.insert(result.machine());
  }
  return side;
}

// ---- Verdict ----

Verdict judge(const MetricComparison& row, double margin) {
  if (!row.adjusted_p) return Verdict::kNone;
  const Effect& effect = *row.stats.effect;
  if (!effect.interval) return Verdict::kTooFew;
  // Turned so that higher is better, and "no change" is 0.
  const double sign = row.metric->better == Better::kHigher ? 1 : -1;
  const double neutral = effect.is_ratio() ? 1 : 0;
  const double allowed = margin * (effect.is_ratio() ? 1 : std::abs(row.stats.a->mean));
  const double value = sign * (effect.value - neutral);
  double low = sign * (effect.interval->low - neutral);
  double high = sign * (effect.interval->high - neutral);
  if (low > high) std::swap(low, high);
  if (low >= -allowed && high <= allowed) return Verdict::kNoChange;
  const bool significant = *row.adjusted_p <= kAlpha;
  if (significant && low > 0 && value > allowed) return Verdict::kBetter;
  if (significant && high < 0 && value < -allowed) return Verdict::kWorse;
  return Verdict::kInconclusive;
}

// The rows of one family that are tested, over all cells.
std::vector<MetricComparison*> tested_rows(std::vector<Cell>& cells, Family family) {
  std::vector<MetricComparison*> rows;
  for (Cell& cell : cells) {
    for (MetricComparison& row : cell.metrics) {
      if (row.metric->better != Better::kNeither && row.stats.p && family_of(*row.metric) == family)
        rows.push_back(&row);
    }
  }
  return rows;
}

// Says so where even the clearest difference could not become better or worse.
void warn_of_few_pairs(const std::vector<MetricComparison*>& rows, Family family,
                       std::vector<std::string>& warnings) {
  std::size_t most = 0;
  for (const MetricComparison* row : rows) most = std::max(most, row->stats.n);
  const auto tests = static_cast<double>(rows.size());
  std::size_t needed = kMinPairs;
  while (needed <= kExactPairs && smallest_p(needed) * tests > kAlpha) ++needed;
  if (rows.empty() || (most >= kMinPairs && smallest_p(most) * tests <= kAlpha)) return;
  constexpr std::array<std::string_view, 3> kNames = {"gating", "headline", "other"};
  warnings.push_back(fmt::format(
      "{} pair{} cannot show better or worse in any of the {} tests of {} metrics: run at least {}",
      most, most == 1 ? "" : "s", rows.size(), kNames.at(static_cast<std::size_t>(family)),
      needed));
}

void judge_all(Comparison& comparison) {
  for (const Family family : {Family::kGating, Family::kHeadline, Family::kOther}) {
    const std::vector<MetricComparison*> rows = tested_rows(comparison.cells, family);
    std::vector<double> p_values;
    for (const MetricComparison* row : rows) p_values.push_back(*row->stats.p);
    const std::vector<double> adjusted = holm(p_values);
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i]->adjusted_p = adjusted[i];
    warn_of_few_pairs(rows, family, comparison.warnings);
  }
  for (Cell& cell : comparison.cells)
    for (MetricComparison& row : cell.metrics) row.verdict = judge(row, comparison.margin);
}

MetricComparison compare_metric(const MetricInfo& metric, const std::vector<RunPair>& runs,
                                const CellSide& base, const CellSide& candidate) {
  MetricComparison row{&metric, {}, {}, {}, {}, Verdict::kNone};
  std::vector<Pair> values;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Key key{runs[i].seed, runs[i].block};
    const auto a = metric_value(metric, base.complete.at(key).run->counts);
    const auto b = metric_value(metric, candidate.complete.at(key).run->counts);
    if (!a || !b) continue;
    values.push_back({*a, *b});
    row.pairs.push_back({i, values.back()});
  }
  if (metric.comparing == Comparing::kRatio) {
    row.stats = compare_ratio(values);
  } else {
    row.stats = compare_difference(values);
    row.ratio = ratio_of_means(values);
  }
  return row;
}

bool has_metric(const MetricInfo& metric, const CellSide& side, const std::vector<RunPair>& runs) {
  return std::ranges::any_of(runs, [&](const RunPair& run) {
    const Key key{run.seed, run.block};
    return metric_value(metric, side.complete.at(key).run->counts).has_value();
  });
}

Cell compare_cell(const Dimensions& dimensions, const CellSide& base, const CellSide& candidate) {
  Cell cell{dimensions, {}, {}, base.left_out, candidate.left_out, {}};
  for (const auto& [key, source] : base.complete) {
    const auto paired = [&key = key, &source = source](const auto& partner) {
      return RunPair{key.seed, key.block, source.index, partner->second.index};
    };
    if (const auto partner = candidate.complete.find(key); partner != candidate.complete.end()) {
      cell.runs.push_back(paired(partner));
      continue;
    }
    cell.base.unpaired.push_back(key.seed);
    if (const auto failed = candidate.failed.find(key); failed != candidate.failed.end())
      cell.newly_failed.push_back(paired(failed));
  }
  for (const auto& [key, source] : candidate.complete)
    if (!base.complete.contains(key)) cell.candidate.unpaired.push_back(key.seed);
  for (const MetricInfo& metric : metrics()) {
    if (has_metric(metric, base, cell.runs) || has_metric(metric, candidate, cell.runs))
      cell.metrics.push_back(compare_metric(metric, cell.runs, base, candidate));
  }
  return cell;
}

// ---- Differing environments and dimensions ----

bool is_below(std::string_view pointer, std::string_view parent) {
  return pointer == parent || pointer.starts_with(fmt::format("{}/", parent));
}

// What may differ between the sides: the kernel is what is being compared, and
// the cgroup's path has the number of the login session in it.
bool may_differ(std::string_view pointer) {
  constexpr std::array kExpected = {"/build_ids", "/cgroup", "/kernel", "/uname"};
  return std::ranges::any_of(kExpected,
                             [&](std::string_view parent) { return is_below(pointer, parent); });
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

// Why a difference in this leaf forbids a comparison; empty if it does not.
std::string_view forbidding(std::string_view pointer) {
  constexpr std::array kHost = {"/cpu_model", "/cpu", "/cpus_online", "/machine", "/topology"};
  constexpr std::array kAccelerator = {"/lab"};
  // The same machine can have another of these.
  constexpr std::array kSettings = {"/cpu/microcode", "/topology/cpufreq_governor"};
  const auto below = [&](std::string_view parent) { return is_below(pointer, parent); };
  if (std::ranges::any_of(kSettings, below)) return "";
  if (std::ranges::any_of(kHost, below)) return "hosts";
  if (std::ranges::any_of(kAccelerator, below)) return "accelerators";
  return "";
}

// The module that drives the hardware, such as "kvm_amd".
std::string kvm_module(const Json& environment) {
  if (!environment.contains("modules") || !environment["modules"].is_object()) return "";
  const Json& modules = environment["modules"];
  // Both can be built into one kernel.
  if (modules.contains("kvm_amd") && modules.contains("kvm_intel") && environment.contains("cpu") &&
      environment["cpu"].is_object())
    return environment["cpu"].value("vendor_id", "") == "GenuineIntel" ? "kvm_intel" : "kvm_amd";
  for (const auto& [name, parameters] : modules.items())
    if (name.starts_with("kvm_")) return name;
  return "";
}

[[noreturn]] void refuse(std::string_view what, std::string_view where, std::string_view base,
                         std::string_view candidate) {
  throw Error(ExitCode::kUsage,
              fmt::format("The sides ran on different {}: {} is {} in the base and {} in the "
                          "candidate; run both kernels on one machine.",
                          what, where, base, candidate));
}

std::string shortened(std::string text) {
  constexpr std::size_t kLongest = 80;
  if (text.size() <= kLongest) return text;
  text.resize(kLongest);
  while (!text.empty() && (text.back() & 0x80) != 0) text.pop_back();  // not half a character
  return text + "...";
}

// Differing leaves of the files whose runs are paired, with the files' number.
// Throws if they tell of different machines.
void check_environments(const SideCells& base, const SideCells& candidate,
                        std::vector<std::string>& warnings) {
  std::set<std::pair<const LoadedResult*, const LoadedResult*>> file_pairs;
  for (const auto& [dimensions, side] : base) {
    const auto other = candidate.find(dimensions);
    if (other == candidate.end()) continue;
    for (const auto& [key, source] : side.complete) {
      for (const auto* runs : {&other->second.complete, &other->second.failed}) {
        if (const auto partner = runs->find(key); partner != runs->end())
          file_pairs.emplace(source.file, partner->second.file);
      }
    }
  }
  constexpr const char* kNothing = "nothing";
  std::map<std::tuple<std::string, std::string, std::string>, std::size_t> differences;
  for (const auto& [a, b] : file_pairs) {
    const std::string modules[] = {kvm_module(a->result.environment),
                                   kvm_module(b->result.environment)};
    if (modules[0] != modules[1]) refuse("accelerators", "the KVM module", modules[0], modules[1]);
    Leaves left = environment_of(*a);
    Leaves right = environment_of(*b);
    for (const auto& [pointer, value] : left) right.try_emplace(pointer, kNothing);
    for (const auto& [pointer, value] : right) {
      const std::string& base_value = left.try_emplace(pointer, kNothing).first->second;
      // Earlier versions did not say which machine it was.
      if (pointer == "/machine" && (base_value == kNothing || value == kNothing)) continue;
      if (base_value != value) ++differences[{pointer, base_value, value}];
    }
  }
  for (const auto& [difference, count] : differences) {
    const auto& [pointer, a, b] = difference;
    if (const std::string_view what = forbidding(pointer); !what.empty())
      refuse(what, pointer, shortened(a), shortened(b));
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

// What a boot leaves behind, such as when which CPU has its tick, decides about more than a seed
// does (docs/RESULTS.md): the interval over runs of one boot is that boot's.
void warn_of_shared_boots(const SideCells& cells, std::string_view which,
                          std::vector<std::string>& warnings) {
  std::size_t most = 0, boots = 0;
  for (const auto& [dimensions, side] : cells) {
    std::set<std::string> ids;
    std::size_t runs = 0;
    for (const auto& [key, source] : side.complete) {
      const auto facts = source.run->detail.find("machine");
      if (facts == source.run->detail.end() || !facts->contains("boot_id")) continue;
      ids.insert((*facts)["boot_id"].dump());
      runs++;
    }
    if (runs > ids.size() && runs > most) most = runs, boots = ids.size();
  }
  if (most == 0) return;
  warnings.push_back(fmt::format(
      "{} runs of the {} come from {} boot{}: the interval holds for {}, another boot can differ "
      "by more; boot anew between runs, in turn with the other side",
      most, which, boots, boots == 1 ? "" : "s", boots == 1 ? "that one" : "those"));
}

void warn_of_failures(const std::vector<Cell>& cells, std::vector<std::string>& warnings) {
  std::size_t failures = 0;
  for (const Cell& cell : cells) failures += cell.newly_failed.size();
  if (failures > 0) {
    warnings.push_back(
        fmt::format("the candidate failed in {} run(s) that the base completed", failures));
  }
}

// How a cell that only one side has differs from the other side's nearest cell.
std::string difference_of(const Dimensions& cell, std::string_view side, const SideCells& others,
                          std::string_view other_side) {
  std::vector<std::string> fewest;
  for (const auto& [dimensions, runs] : others) {
    std::vector<std::string> differing;
    Dimensions all = dimensions;
    all.update(cell);
    for (const auto& [key, value] : all.items()) {
      const auto text = [&key = key](const Dimensions& from) {
        return from.contains(key) ? from[key].dump() : std::string("absent");
      };
      if (text(cell) != text(dimensions) &&
          cell.value(key, Dimensions()) != dimensions.value(key, Dimensions()))
        differing.push_back(fmt::format("{} is {} in the {}, {} in the {}", key, text(cell), side,
                                        text(dimensions), other_side));
    }
    if (fewest.empty() || differing.size() < fewest.size()) fewest = std::move(differing);
  }
  return fmt::format("{}", fmt::join(fewest, "; "));
}

void refuse_unmatched(const SideCells& base, const SideCells& candidate) {
  const auto check = [](const SideCells& cells, std::string_view side, const SideCells& others,
                        std::string_view other_side) {
    for (const auto& [dimensions, runs] : cells) {
      if (others.contains(dimensions)) continue;
      throw Error(ExitCode::kUsage,
                  fmt::format("The sides' dimensions differ: {}; run both kernels with the same "
                              "options, or give --common to leave out what one side lacks.",
                              difference_of(dimensions, side, others, other_side)));
    }
  };
  check(base, "base", candidate, "candidate");
  check(candidate, "candidate", base, "base");
}

// ---- Order of cells ----

auto display_order(const Dimensions& d) {
  return std::tuple(d.at("workload").get<std::string>(), d.at("cpus").get<std::uint64_t>(),
                    d.at("vcpus").get<std::uint64_t>(), d.at("vms").get<std::uint64_t>(), d);
}

}  // namespace

Family family_of(const MetricInfo& metric) {
  if (metric.gating) return Family::kGating;
  return metric.headline ? Family::kHeadline : Family::kOther;
}

bool Cell::regressed() const {
  return !newly_failed.empty() || std::ranges::any_of(metrics, &MetricComparison::regressed);
}

bool Comparison::regressed() const {
  return std::ranges::any_of(cells, &Cell::regressed);
}

std::string Comparison::lab_note() const {
  std::set<std::string> machines = base.machines;
  machines.insert(candidate.machines.begin(), candidate.machines.end());
  if (machines.empty()) return "";
  return fmt::format("Lab: emulated ({}); virtual time, not bare-metal time",
                     fmt::join(machines, ", "));
}

Comparison compare(const Input& base, const Input& candidate, const Criteria& criteria) {
  const SideCells cells_a = group(base);
  const SideCells cells_b = group(candidate);
  Comparison comparison{.base = describe(base),
                        .candidate = describe(candidate),
                        .margin = criteria.margin,
                        .cells = {},
                        .only_base = {},
                        .only_candidate = {},
                        .warnings = {}};
  if (!criteria.common_only) refuse_unmatched(cells_a, cells_b);
  for (const auto& [dimensions, side] : cells_a) {
    const auto other = cells_b.find(dimensions);
    if (other == cells_b.end())
      comparison.only_base.push_back(dimensions);
    else
      comparison.cells.push_back(compare_cell(dimensions, side, other->second));
  }
  for (const auto& [dimensions, side] : cells_b)
    if (!cells_a.contains(dimensions)) comparison.only_candidate.push_back(dimensions);
  if (std::ranges::all_of(comparison.cells, [](const Cell& cell) {
        return cell.runs.empty() && cell.newly_failed.empty();
      })) {
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
  warn_of_shared_boots(cells_a, "base", comparison.warnings);
  warn_of_shared_boots(cells_b, "candidate", comparison.warnings);
  warn_of_failures(comparison.cells, comparison.warnings);
  check_environments(cells_a, cells_b, comparison.warnings);
  judge_all(comparison);
  return comparison;
}

}  // namespace dyield
