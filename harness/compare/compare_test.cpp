// SPDX-License-Identifier: GPL-2.0-only
#include "compare/compare.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "base/error.h"
#include "compare/compare_command.h"
#include "compare/table.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

Run run(std::uint64_t seed, Counts counts) {
  Run r;
  r.seed = seed;
  r.counts = std::move(counts);
  return r;
}

Run broken(std::uint64_t seed, RunStatus status) {
  Run r;
  r.seed = seed;
  r.status = status;
  r.reason = "a reason";
  return r;
}

Result result(const std::string& kernel, std::vector<Run> runs,
              const std::string& workload = "unicast", int vcpus = 4) {
  Result r;
  r.tool_version = "0.1";
  r.command = {"dyield", "run"};
  r.kernel = kernel;
  r.environment = {{"cpu_model", "X"}, {"lab", {{"emulated", true}, {"machine", "qemu-tcg-svm"}}}};
  r.dimensions = {
      {"workload", workload}, {"vcpus", vcpus}, {"vms", 1}, {"cpus", 2}, {"pin", "none"}};
  r.runs = std::move(runs);
  return r;
}

// Runs of seeds 1 to n whose counts are `mean` with a spread of 2 percent.
Result noisy(const std::string& kernel, double mean, int n = 12) {
  std::mt19937_64 random(std::hash<std::string>{}(kernel));
  std::normal_distribution<double> normal(mean, 0.02 * mean);
  std::vector<Run> runs;
  for (int seed = 1; seed <= n; ++seed) {
    const auto draw = [&] { return static_cast<std::uint64_t>(normal(random)); };
    runs.push_back(run(static_cast<std::uint64_t>(seed),
                       {{"shootdowns", draw()}, {"work", 1000}, {"pause_exits", 100 * draw()}}));
  }
  return result(kernel, std::move(runs));
}

Input input(std::vector<Result> results, const std::string& source = "dir") {
  Input in{source, {}};
  for (Result& r : results) {
    const std::string name = fmt::format("{}/{}.json", source, in.results.size());
    in.results.push_back({name, std::move(r)});
  }
  return in;
}

Comparison compared(std::vector<Result> a, std::vector<Result> b) {
  return compare(input(std::move(a), "a"), input(std::move(b), "b"), {.common_only = true});
}

const MetricComparison& row(const Comparison& c, std::string_view name, std::size_t cell = 0) {
  const auto& rows = c.cells.at(cell).metrics;
  const auto it = std::ranges::find_if(rows, [&](const auto& r) { return r.metric->name == name; });
  if (it == rows.end()) throw std::out_of_range(std::string(name));
  return *it;
}

std::vector<std::uint64_t> seeds(const Cell& cell) {
  std::vector<std::uint64_t> found;
  for (const RunPair& run : cell.runs) found.push_back(run.seed);
  return found;
}

// Runs of seeds 1 to n, all with the same counts.
Result constant(const Counts& counts, std::uint64_t n = 8) {
  std::vector<Run> runs;
  for (std::uint64_t seed = 1; seed <= n; ++seed) runs.push_back(run(seed, counts));
  return result("k", std::move(runs));
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage) << error.what();
    return error.what();
  }
  return "no error";
}

TEST(Compare, PairsBySeedNotByPosition) {
  const auto c =
      compared({result("base", {run(1, {{"shootdowns", 10}}), run(2, {{"shootdowns", 100}})})},
               {result("new", {run(2, {{"shootdowns", 200}}), run(1, {{"shootdowns", 20}})})});
  const auto& shootdowns = row(c, "shootdowns");
  EXPECT_THAT(seeds(c.cells[0]), ElementsAre(1, 2));
  EXPECT_DOUBLE_EQ(shootdowns.stats.effect->value, 2);
  EXPECT_EQ(shootdowns.verdict, Verdict::kTooFew);
  EXPECT_EQ(shootdowns.pairs[1].values, (Pair{100, 200}));
}

TEST(Compare, CountsWhatItLeavesOut) {
  const auto c = compared(
      {result("base", {run(1, {{"work", 5}}), run(2, {{"work", 5}}), run(2, {{"work", 5}}),
                       broken(3, RunStatus::kPartial), run(4, {{"work", 5}})})},
      {result("new",
              {run(1, {{"work", 5}}), run(7, {{"work", 5}}), broken(4, RunStatus::kFailed)})});
  const Cell& cell = c.cells.at(0);
  EXPECT_THAT(seeds(cell), ElementsAre(1));
  EXPECT_EQ(cell.base.partial, 1U);
  EXPECT_EQ(cell.base.repeated, 1U);
  EXPECT_THAT(cell.base.unpaired, ElementsAre(2, 4));
  EXPECT_EQ(cell.candidate.failed, 1U);
  EXPECT_THAT(cell.candidate.unpaired, ElementsAre(7));
  EXPECT_THAT(c.warnings, ElementsAre(HasSubstr("failed in 1 run(s) that the base completed"),
                                      HasSubstr("1 pair cannot show better or worse")));
  const std::string table = render_table(c, {});
  EXPECT_THAT(table, HasSubstr("left out of the base: 1 partial, 1 repeated, 2 without partner\n"));
  EXPECT_THAT(table, HasSubstr("left out of the candidate: 1 failed, 1 without partner\n"));
}

TEST(Compare, RunThatFailedAndWasRepeatedIsUsed) {
  const auto c = compared({result("base", {run(1, {{"work", 5}})})},
                          {result("new", {broken(1, RunStatus::kFailed), run(1, {{"work", 6}})})});
  EXPECT_THAT(seeds(c.cells[0]), ElementsAre(1));
  EXPECT_EQ(c.cells[0].candidate.failed, 1U);
  EXPECT_THAT(c.warnings, Not(::testing::Contains(HasSubstr("failed"))));
}

TEST(Compare, RunsThatNewlyFailAreARegression) {
  const dyield::Run failed = broken(2, RunStatus::kFailed);
  Result base = constant({{"work", 100}}), candidate = constant({{"work", 200}});
  candidate.runs[1] = failed;
  const auto c = compared({base}, {candidate});
  EXPECT_TRUE(c.regressed());
  const std::string sentence = "1 run failed that the base completed (seed 2) in unicast, 4 vCPUs";
  EXPECT_THAT(regressions(c), ElementsAre(HasSubstr(sentence)));
  EXPECT_THAT(render_table(c, {}),
              AllOf(HasSubstr("REGRESSED: " + sentence), Not(HasSubstr("No regression"))));
  const Json json = Json::parse(to_json_text(c));
  EXPECT_TRUE(json["regressed"]);
  EXPECT_TRUE(json["cells"][0]["regressed"]);
  EXPECT_EQ(json["cells"][0]["newly_failed"][0]["seed"], 2);
  // Also when no run is left to compare; but not what fails in the base, too, or by the way.
  EXPECT_TRUE(
      compared({result("base", {run(2, {{"work", 5}})})}, {result("new", {failed})}).regressed());
  EXPECT_FALSE(compared({candidate}, {candidate}).regressed());
  candidate.runs[1].status = RunStatus::kPartial;
  EXPECT_FALSE(compared({base}, {candidate}).regressed());
}

TEST(Compare, RefusesContradictingRunsOfOneSeed) {
  const Result one = result("base", {run(1, {{"work", 5}})});
  const Result other = result("base", {run(1, {{"work", 6}})});
  EXPECT_THAT(error_of([&] {
                compared({one, other}, {one});
              }),
              AllOf(HasSubstr("Seed 1"), HasSubstr("a/0.json"), HasSubstr("a/1.json")));
  EXPECT_THAT(error_of([&] {
                compared({one}, {result("x", {run(1, {{"work", 5}}), run(1, {{"work", 6}})})});
              }),
              HasSubstr("the same file"));
}

TEST(Compare, CellsAreEqualDimensions) {
  Result integer = result("base", {run(1, {{"work", 5}})});
  integer.dimensions["duration_s"] = 2;
  Result same;  // the same dimensions in another order, 2 written as 2.0
  same = result("new", {run(1, {{"work", 5}})});
  same.dimensions = Json::object();
  same.dimensions["duration_s"] = 2.0;
  for (const auto& [key, value] : integer.dimensions.items())
    if (key != "duration_s") same.dimensions[key] = value;
  const auto c = compared({integer, result("base", {run(1, {{"work", 1}})}, "all")},
                          {same, result("new", {run(1, {{"work", 1}})}, "unicast", 8)});
  ASSERT_EQ(c.cells.size(), 1U);
  EXPECT_EQ(c.only_base.at(0)["workload"], "all");
  EXPECT_EQ(c.only_candidate.at(0)["vcpus"], 8);
  EXPECT_THAT(
      render_table(c, {}),
      AllOf(
          HasSubstr("only in the base: all, 4 vCPUs x 1 VM on 2 CPUs = 2:1, pin none\n"),
          HasSubstr("only in the candidate: unicast, 8 vCPUs x 1 VM on 2 CPUs = 4:1, pin none\n")));
}

TEST(Compare, NoPairAtAllIsAnError) {
  EXPECT_THAT(error_of([] {
                compared({result("base", {run(1, {{"work", 5}})})},
                         {result("new", {run(2, {{"work", 5}})})});
              }),
              HasSubstr("no pair of complete runs"));
}

TEST(Compare, PairsByBlockToo) {
  const auto in_block = [](std::uint64_t block, std::uint64_t work) {
    dyield::Run r = run(1, {{"work", work}});
    r.detail["block"] = block;
    return r;
  };
  const auto c = compared({result("base", {in_block(0, 10), in_block(1, 100)})},
                          {result("new", {in_block(1, 300), in_block(0, 30)})});
  EXPECT_DOUBLE_EQ(row(c, "work").stats.effect->value, 3);
  EXPECT_EQ(c.cells[0].runs[1].block, 1U);
}

TEST(Compare, RefusesDifferentDimensionsUnlessToldOtherwise) {
  const auto refused = [](const Result& a, const Result& b) {
    return error_of([&] { compare(input({a}, "a"), input({b}, "b"), {}); });
  };
  const Result one = noisy("base", 100);
  Result other = noisy("new", 100);
  other.dimensions["vcpus"] = 8;
  EXPECT_THAT(refused(one, other), HasSubstr("vcpus is 4 in the base, 8 in the candidate;"));
  other.dimensions["vcpus"] = 4.0;
  EXPECT_EQ(refused(one, other), "no error");
  other.dimensions["think"] = 2;
  EXPECT_THAT(refused(one, other), HasSubstr("think is absent in the base, 2 in the candidate"));
  EXPECT_THAT(error_of([&] {
                compare(input({one, other}, "a"), input({one}, "b"), {});
              }),
              HasSubstr("think is 2 in the base, absent in the candidate"));
}

TEST(Compare, RefusesDifferentHostsAndAccelerators) {
  const auto refused = [](const std::function<void(Json&)>& change) {
    Result b = noisy("new", 100);
    change(b.environment);
    return error_of([&] { compared({noisy("base", 100)}, {b}); });
  };
  EXPECT_THAT(refused([](Json& e) { e["cpu_model"] = "Y"; }),
              HasSubstr("different hosts: /cpu_model is \"X\" in the base and \"Y\""));
  EXPECT_THAT(refused([](Json& e) { e["lab"]["machine"] = "qemu-kvm"; }),
              HasSubstr("different accelerators: /lab/machine"));
  EXPECT_THAT(refused([](Json& e) { e.erase("lab"); }), HasSubstr("different accelerators"));
  EXPECT_THAT(refused([](Json& e) {
                e["modules"] = {{"kvm_intel", {{"ept", "Y"}}}};
              }),
              HasSubstr("the KVM module"));
  EXPECT_EQ(refused([](Json&) {}), "no error");
  // Settings of one and the same machine.
  EXPECT_EQ(refused([](Json& e) {
              e["topology"]["cpufreq_governor"] = "powersave";
              e["cpu"]["microcode"] = "0x2";
            }),
            "no error");
  // A kernel with both vendors' modules built in drives the same hardware.
  Result b = noisy("new", 100), a = noisy("base", 100);
  for (Result* result : {&a, &b}) result->environment["cpu"]["vendor_id"] = "GenuineIntel";
  a.environment["modules"] = {{"kvm_intel", {{"ept", "Y"}}}};
  b.environment["modules"] = {{"kvm_amd", {{"npt", "Y"}}}, {"kvm_intel", {{"ept", "Y"}}}};
  EXPECT_EQ(error_of([&] { compared({a}, {b}); }), "no error");
}

TEST(Compare, ACellWithoutACompletePairIsNotCleared) {
  Result base = constant({{"work", 100}}), candidate = constant({{"work", 100}});
  for (dyield::Run& run : candidate.runs) run.status = RunStatus::kPartial;
  const Result other = result("other", {run(1, {{"work", 5}})}, "all-to-all");
  const std::string text = render_table(compared({base, other}, {candidate, other}), {});
  EXPECT_THAT(text,
              HasSubstr("Not tested for regression: 1 cell without a pair of complete runs."));
  EXPECT_THAT(render_table(compared({base}, {base}), {}), Not(HasSubstr("without a pair")));
}

TEST(Compare, FewPairsHaveNoVerdict) {
  const auto c = compared({noisy("base", 1000, 5)}, {noisy("new", 10, 5)});
  EXPECT_EQ(row(c, "shootdowns").verdict, Verdict::kTooFew);
  EXPECT_FALSE(c.regressed());
  EXPECT_THAT(
      render_table(c, {}),
      AllOf(HasSubstr("too few"),
            HasSubstr("Not tested for regression: 2 rows with fewer than 6 pairs.\n"),
            HasSubstr("5 pairs cannot show better or worse in any of the 2 tests of gating")));
  // Six are enough for an interval, but not for two tests.
  const auto six = compared({noisy("base", 1000, 6)}, {noisy("new", 10, 6)});
  EXPECT_EQ(row(six, "shootdowns").verdict, Verdict::kInconclusive);
  EXPECT_THAT(six.warnings[0], HasSubstr("run at least 7"));
  EXPECT_EQ(row(compared({noisy("base", 1000, 7)}, {noisy("new", 10, 7)}), "shootdowns").verdict,
            Verdict::kWorse);
}

TEST(Compare, OnlyGatingMetricsRegress) {
  const auto fewer = compared({noisy("base", 1000)}, {noisy("new", 500)});
  EXPECT_EQ(row(fewer, "shootdowns").verdict, Verdict::kWorse);
  EXPECT_EQ(row(fewer, "pause_exits").verdict, Verdict::kBetter);
  EXPECT_EQ(row(fewer, "work").verdict, Verdict::kNoChange);
  EXPECT_TRUE(fewer.regressed());
  EXPECT_THAT(render_table(fewer, {}), HasSubstr("REGRESSED: shootdowns x0."));
  const auto more = compared({noisy("base", 500)}, {noisy("new", 1000)});
  EXPECT_EQ(row(more, "shootdowns").verdict, Verdict::kBetter);
  EXPECT_EQ(row(more, "pause_exits").verdict, Verdict::kWorse);
  EXPECT_FALSE(more.regressed());
  EXPECT_THAT(render_table(more, {}), HasSubstr("No regression shown beyond the margin of 0.01"));
}

TEST(Compare, MarginIsTolerated) {
  const auto verdict = [](std::uint64_t a, std::uint64_t b) {
    return row(compared({constant({{"work", a}})}, {constant({{"work", b}})}), "work").verdict;
  };
  EXPECT_EQ(verdict(1000, 1000), Verdict::kNoChange);
  EXPECT_EQ(verdict(1000, 995), Verdict::kNoChange);
  EXPECT_EQ(verdict(1000, 1005), Verdict::kNoChange);
  EXPECT_EQ(verdict(1000, 985), Verdict::kWorse);
  EXPECT_EQ(verdict(1000, 0), Verdict::kWorse);
  EXPECT_EQ(verdict(1000, 1015), Verdict::kBetter);
  EXPECT_EQ(verdict(0, 7), Verdict::kBetter);
}

// A candidate with 12 noisy pairs that is clear on its own is not clear among
// many: Holm's correction counts every cell.
TEST(Compare, EveryCellCountsInTheCorrection) {
  std::vector<Result> a, b;
  const auto p_of = [&] { return *row(compared(a, b), "shootdowns").adjusted_p; };
  a.push_back(noisy("base", 1000, 8));
  b.push_back(noisy("new", 700, 8));
  EXPECT_DOUBLE_EQ(p_of(), 2 * smallest_p(8));  // shootdowns and work
  for (int vcpus = 5; vcpus < 10; ++vcpus) {
    a.push_back(a[0]);
    a.back().dimensions["vcpus"] = vcpus;
    b.push_back(a.back());
  }
  EXPECT_DOUBLE_EQ(p_of(), 12 * smallest_p(8));
  EXPECT_EQ(row(compared(a, b), "shootdowns").verdict, Verdict::kInconclusive);
}

TEST(Compare, PrecisionIsADifferenceAndMayBeAbsent) {
  const auto with = [](std::uint64_t hits, std::uint64_t waiting) {
    const Counts counts = {{"yields_to_awaited", hits}, {"yields_while_waiting", waiting}};
    return constant(counts);
  };
  const auto c = compared({with(0, 100)}, {with(75, 100)});
  EXPECT_FALSE(row(c, "precision").stats.effect->is_ratio());
  EXPECT_DOUBLE_EQ(row(c, "precision").stats.effect->value, 0.75);
  const auto half = compared({with(0, 0)}, {with(75, 100)});
  EXPECT_EQ(row(half, "precision").stats.n, 0U);
  EXPECT_THAT(render_table(half, {}), HasSubstr("precision"));
  EXPECT_FALSE(row(half, "precision").ratio);
}

TEST(Compare, PrecisionIsARatioToo) {
  const auto with = [](std::vector<std::uint64_t> hits) {
    std::vector<dyield::Run> runs;
    for (const std::uint64_t h : hits)
      runs.push_back(
          run(runs.size() + 1, {{"yields_to_awaited", h}, {"yields_while_waiting", 100}}));
    return result("k", std::move(runs));
  };
  const auto c = compared({with({20, 25, 30, 20, 25, 30})}, {with({80, 90, 95, 80, 90, 95})});
  const auto& precision = row(c, "precision");
  EXPECT_EQ(precision.ratio->method, EffectMethod::kRatioOfMeans);
  EXPECT_NEAR(precision.ratio->value, 265.0 / 75, 1e-12);
  EXPECT_LT(precision.ratio->interval->low, 265.0 / 75);
  const std::string table = render_table(c, {});
  EXPECT_THAT(table, AllOf(HasSubstr("+0.6"), HasSubstr("as ratio"), HasSubstr("~x3.533"),
                           HasSubstr("~x: ratio of means"), HasSubstr("No x:")));
  const Json json = Json::parse(to_json_text(c))["cells"][0]["metrics"][0];
  EXPECT_EQ(json["effect"]["method"], "hodges_lehmann_shift");
  EXPECT_EQ(json["ratio"]["method"], "ratio_of_means");
  // Without a base there is nothing to divide by; a base near zero bounds nothing.
  EXPECT_THAT(render_table(compared({with({0, 0})}, {with({80, 90})}), {}),
              Not(HasSubstr("as ratio")));
}

TEST(Compare, SwappedSidesInvertEveryEffect) {
  const auto there = compared({noisy("base", 1000)}, {noisy("new", 700)});
  const auto back = compared({noisy("new", 700)}, {noisy("base", 1000)});
  ASSERT_EQ(there.cells[0].metrics.size(), back.cells[0].metrics.size());
  for (std::size_t i = 0; i < there.cells[0].metrics.size(); ++i) {
    const Effect one = *there.cells[0].metrics[i].stats.effect;
    const Effect other = *back.cells[0].metrics[i].stats.effect;
    EXPECT_NEAR(one.value * other.value, 1, 1e-12);
    EXPECT_NEAR(one.interval->low * other.interval->high, 1, 1e-6);
  }
}

TEST(Compare, WarnsWhereEnvironmentsDiffer) {
  Result a = noisy("base", 100);
  Result b = noisy("new", 100);
  for (const auto* expected : {"uname", "cgroup", "kernel"}) {
    a.environment[expected] = "1";
    b.environment[expected] = "2";
  }
  EXPECT_THAT(compared({a}, {b}).warnings, IsEmpty());
  b.environment["clocksource"] = "Y";
  b.environment["modules"] = {{"kvm", {{"halt_poll_ns", 0}}}};
  EXPECT_THAT(compared({a}, {b}).warnings,
              ElementsAre(HasSubstr("/clocksource: base nothing, candidate \"Y\""),
                          HasSubstr("/modules/kvm/halt_poll_ns: base nothing, candidate 0")));
}

TEST(Compare, RefusesMachinesOfOneModelUnlessOneIsNotTold) {
  Result a = noisy("base", 100), b = noisy("new", 100);
  a.environment["machine"] = "1";
  EXPECT_THAT(compared({a}, {b}).warnings, IsEmpty());
  b.environment["machine"] = "2";
  try {
    (void)compared({a}, {b});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("different hosts: /machine"));
  }
}

TEST(Compare, WarnsOfRunsThatShareABoot) {
  Result a = noisy("base", 100), b = noisy("new", 100);
  for (dyield::Run& run : a.runs) run.detail["machine"]["boot_id"] = std::to_string(run.seed);
  for (dyield::Run& run : b.runs) run.detail["machine"]["boot_id"] = std::to_string(run.seed / 7);
  EXPECT_THAT(compared({a}, {b}).warnings,
              ElementsAre(HasSubstr("12 runs of the candidate come from 2 boots")));
}

TEST(Compare, LabNumbersAreMarked) {
  const std::string note = "Lab: emulated (qemu-tcg-svm); virtual time, not bare-metal time";
  const auto lab = compared({noisy("base", 100)}, {noisy("new", 100)});
  EXPECT_TRUE(render_table(lab, {}).ends_with(note + "\n"));
  EXPECT_EQ(Json::parse(to_json_text(lab))["lab"], note);
  Result a = noisy("base", 100);
  Result b = noisy("new", 100);
  a.environment.erase("lab");
  b.environment.erase("lab");
  EXPECT_THAT(render_table(compared({a}, {b}), {}), Not(HasSubstr("Lab:")));
  EXPECT_TRUE(Json::parse(to_json_text(compared({a}, {b})))["lab"].is_null());
}

TEST(Compare, OutputDoesNotDependOnOrder) {
  std::vector<Result> results = {noisy("base", 100), result("base", {run(1, {{"work", 5}})}, "z"),
                                 result("base", {run(1, {{"work", 5}})}, "a", 12)};
  Input a = input(results, "a");
  const Input b = input(results, "b");
  const auto expected = compare(a, b, {.common_only = true});
  std::mt19937_64 random(3);
  for (int i = 0; i < 10; ++i) {
    std::ranges::shuffle(a.results, random);
    for (auto& file : a.results) std::ranges::shuffle(file.result.runs, random);
    const auto again = compare(a, b, {.common_only = true});
    EXPECT_EQ(render_table(again, {.all = true}), render_table(expected, {.all = true}));
    EXPECT_EQ(to_json_text(again), to_json_text(expected));
  }
}

TEST(Compare, TableFitsATerminalAndCannotControlIt) {
  Result a = noisy("evil\x1b[2Jkernel", 1e12);
  Result b = noisy("new", 1e-3 * 1e12);
  for (Result* r : {&a, &b}) {
    r->dimensions["note\n"] = "\x1b]0;title\x07 \u009b2J";
    for (int i = 0; i < 30; ++i) r->dimensions[fmt::format("dimension_{}", i)] = i;
    for (auto& x : r->runs) {
      x.counts["ipis"] = x.seed % 2;
      x.counts["pauses"] = r == &a ? 0 : x.seed << 50;
      x.counts["yields_tried"] = r == &b ? 0 : x.seed * 123456789;
      x.counts["yields_made"] = r == &a ? 0 : x.seed * 12345678;
    }
  }
  std::istringstream table(render_table(compared({a}, {b}), {.all = true}));
  for (std::string line; std::getline(table, line);) {
    EXPECT_LE(line.size(), 100U) << line;
    EXPECT_TRUE(std::ranges::none_of(line, [](char ch) { return ch >= 0 && ch < 0x20; })) << line;
    EXPECT_THAT(line, Not(HasSubstr("\u009b")));
  }
  EXPECT_THAT(render_table(compared({a}, {b}), {.color = true}), HasSubstr("\x1b[1;31mREGRESSED"));
}

TEST(Compare, JsonHasRawPairsAndUnits) {
  const Json json = Json::parse(to_json_text(compared({noisy("base", 100)}, {noisy("new", 100)})));
  EXPECT_EQ(json["schema"], kCompareSchema);
  const Json& metric = json["cells"][0]["metrics"][0];
  EXPECT_EQ(metric["name"], "shootdowns");
  EXPECT_EQ(metric["unit"], "count");
  EXPECT_EQ(metric["pairs"].size(), 12U);
  EXPECT_EQ(metric["effect"]["method"], "hodges_lehmann_ratio");
  EXPECT_LT(metric["effect"]["interval"]["low"], metric["effect"]["interval"]["high"]);
}

class CompareCommand : public ::testing::Test {
 protected:
  CompareCommand() {
    std::string name = (fs::temp_directory_path() / "dyield-compare-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    for (const auto* side : {"a", "b", "empty"}) fs::create_directory(folder_ / side);
  }
  ~CompareCommand() override { fs::remove_all(folder_); }

  ExitCode compare_folders(CompareOptions options = {}) {
    options.base = folder_ / "a";
    options.candidate = folder_ / "b";
    return run_compare(options, out_);
  }

  fs::path folder_;
  std::ostringstream out_;
};

TEST_F(CompareCommand, ExitCodeTellsRegressions) {
  write_result(folder_ / "a/r.json", noisy("base", 1000));
  write_result(folder_ / "b/r.json", noisy("new", 900));
  EXPECT_EQ(compare_folders(), ExitCode::kFailed);
  EXPECT_EQ(compare_folders({.criteria = {.margin = 0.2}}), ExitCode::kOk);
  write_result(folder_ / "b/r.json", noisy("new", 1100));
  EXPECT_EQ(compare_folders(), ExitCode::kOk);
}

TEST_F(CompareCommand, WritesToAFileInstead) {
  write_result(folder_ / "a/r.json", noisy("base", 1000));
  write_result(folder_ / "b/r.json", noisy("new", 1000));
  compare_folders({.output = folder_ / "out.json", .json = true});
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(Json::parse(std::ifstream(folder_ / "out.json"))["schema"], kCompareSchema);
  compare_folders({.output = folder_ / "out.txt", .color = true});
  std::ostringstream text;
  text << std::ifstream(folder_ / "out.txt").rdbuf();
  EXPECT_THAT(text.str(), AllOf(HasSubstr("shootdowns"), Not(HasSubstr("\x1b"))));
}

TEST_F(CompareCommand, RegressionsAreLoggedWhereNoTableNamesThem) {
  write_result(folder_ / "a/r.json", noisy("base", 1000));
  write_result(folder_ / "b/r.json", noisy("new", 900));
  std::ostringstream log;
  const auto old = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  compare_folders();
  EXPECT_EQ(log.str(), "");
  compare_folders({.json = true});
  spdlog::set_default_logger(old);
  EXPECT_THAT(log.str(), HasSubstr("regressed: shootdowns x0."));
}

TEST_F(CompareCommand, HostileInputsAreNamed) {
  write_result(folder_ / "a/r.json", noisy("base", 1000));
  EXPECT_THAT(error_of([&] { compare_folders(); }), HasSubstr("/b\""));
  std::ofstream(folder_ / "b/cut.json") << to_text(noisy("new", 1000)).substr(0, 500);
  EXPECT_THAT(error_of([&] { compare_folders(); }), HasSubstr("cut.json"));
  std::ofstream(folder_ / "b/cut.json") << R"({"schema": "dyield.result/9"})";
  EXPECT_THAT(error_of([&] { compare_folders(); }), HasSubstr("dyield.result/9"));
  EXPECT_THAT(error_of([&] { compare_folders({.criteria = {.margin = std::stod("nan")}}); }),
              HasSubstr("margin"));
}

TEST_F(CompareCommand, FailingOutputIsAnError) {
  write_result(folder_ / "a/r.json", noisy("base", 1000));
  write_result(folder_ / "b/r.json", noisy("new", 1000));
  out_.setstate(std::ios::badbit);
  EXPECT_THROW(compare_folders(), Error);
}

TEST_F(CompareCommand, CommandLineSelectsTheAction) {
  const auto parse = [](const std::string& line) {
    CLI::App app;
    std::function<ExitCode()> action;
    add_compare_command(app, [&](std::function<ExitCode()> a) { action = std::move(a); });
    app.parse(line);
    return action != nullptr;
  };
  EXPECT_TRUE(parse("compare a b --json --all --common --margin 0.025 -o x.json"));
  EXPECT_FALSE(parse(""));
  EXPECT_THROW(parse("compare a"), CLI::ParseError);
  EXPECT_TRUE(parse("compare a b --margin 2.5%"));
  EXPECT_THROW(parse("compare a b --margin %"), CLI::ParseError);
  EXPECT_THROW(parse("compare a b --margin 200%"), CLI::ParseError);
  EXPECT_THROW(parse("compare a b --margin -1"), CLI::ParseError);
  EXPECT_THROW(parse("compare a b --margin 2"), CLI::ParseError);
}

}  // namespace
}  // namespace dyield
