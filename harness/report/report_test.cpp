// SPDX-License-Identifier: GPL-2.0-only
#include "report/report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <regex>
#include <sstream>

#include "report/report_command.h"

namespace dyield {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kNote =
    "Lab: emulated (qemu-tcg-svm); virtual time, not bare-metal time";

// Eight runs whose shootdowns are 100 to 107 times `factor`.
Result result(const std::string& kernel, std::uint64_t factor, bool lab = true) {
  Result r;
  r.tool_version = "0.1";
  r.command = {"dyield", "run", "it's <here>"};
  r.kernel = kernel;
  r.environment = {{"cpu_model", "X"},
                   {"kernel", {{"image_sha256", kernel == "new" ? "ab" : "cd"}}}};
  if (lab) r.environment["lab"] = {{"emulated", true}, {"machine", "qemu-tcg-svm"}};
  r.dimensions = {{"workload", "all-to-all"}, {"vcpus", 6}, {"vms", 1}, {"cpus", 2}};
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    dyield::Run run;
    run.seed = seed;
    run.counts = {{"shootdowns", factor * (99 + seed)}, {"work", 1000}, {"yields_tried", 7 * seed}};
    r.runs.push_back(run);
  }
  return r;
}

Comparisons compared(const Result& base, const Result& candidate) {
  return {compare({"a", {{"a/base.json", base}}}, {"b", {{"b/new.json", candidate}}}, {})};
}

// The base has three times the shootdowns.
Comparisons slower() {
  return compared(result("old", 3), result("new", 1));
}

TEST(Report, EveryFormNamesTheLabTheVerdictAndTheCommands) {
  for (const ReportFormat& format : kReportFormats) {
    const std::string text = format.render(slower());
    EXPECT_THAT(text, HasSubstr(kNote)) << format.name;
    EXPECT_THAT(text, HasSubstr("dyield run")) << format.name;
    EXPECT_TRUE(text.ends_with("\n")) << format.name;
    const std::string hardware =
        format.render(compared(result("old", 3, false), result("new", 1, false)));
    EXPECT_THAT(hardware, Not(HasSubstr("Lab:"))) << format.name;
  }
}

// Whatever metric a form has a line for, it has the samples of.
TEST(Report, EveryNumberLeadsBackToItsSamples) {
  dyield::Result base = result("old", 3), candidate = result("new", 1);
  for (dyield::Result* side : {&base, &candidate})  // of no table but the whole ones
    for (dyield::Run& run : side->runs) run.counts["pauses"] = run.seed;
  const Comparisons comparisons = compared(base, candidate);
  const std::string yields = "7 14 21 28 35 42 49 56";
  for (const ReportFormat& format : kReportFormats) {
    // HTML: see HtmlIsOnePageWhoseLinksLeadSomewhere.
    if (format.name == "html" || format.name == "ktap" || format.name == "kcidb") continue;
    const std::string text = format.render(comparisons);
    for (const MetricComparison& row : comparisons.front().cells.front().metrics) {
      if (row.pairs.empty() || text.find(row.metric->name) == std::string::npos) continue;
      EXPECT_THAT(text, HasSubstr(fmt::format("  {} ({})\n", row.metric->name, row.metric->unit)))
          << format.name;
    }
    EXPECT_THAT(text, HasSubstr("base       " + yields)) << format.name;
  }
}

TEST(Report, CommandsAreQuotedForAShell) {
  EXPECT_THAT(render_text(slower()), HasSubstr(R"(dyield run 'it'\''s <here>')"));
  EXPECT_THAT(render_html(slower()), HasSubstr(R"(&lt;here&gt;)"));
}

TEST(Report, RobotLayout) {
  const std::string text = render_lkml(slower());
  EXPECT_THAT(text,
              AllOf(HasSubstr("%stddev     %change         %stddev"), HasSubstr("-66.7%"),
                    HasSubstr("shootdowns (worse)"), HasSubstr("REGRESSED: shootdowns x0.333")));
}

TEST(Report, OvercommitTableHasMeanAndMedian) {
  const auto rows = overcommit_rows(slower().front());
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_THAT(rows[0], ::testing::ElementsAre("all-to-all", "3:1", "8", "mean", "31.500", "31.500",
                                              "310.5", "103.5"));
  EXPECT_EQ(rows[1][3], "median");
}

TEST(Report, RowsByOvercommitCanBeToldApartAndLeadToTheirCells) {
  const auto side = [](const std::string& folder, const std::string& kernel) {
    dyield::Input input{folder, {}};
    for (const char* pin : {"none", "each"}) {
      Result r = result(kernel, 3);
      r.dimensions["pin"] = pin;
      input.results.push_back({folder + "/" + pin + ".json", r});
    }
    return input;
  };
  const Comparisons comparisons = {compare(side("a", "old"), side("b", "new"), {})};
  const auto rows = overcommit_rows(comparisons.front());
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_NE(rows[0][0], rows[2][0]);
  EXPECT_THAT(rows[0][0], HasSubstr("pin each"));
  EXPECT_THAT(render_html(comparisons),
              HasSubstr(fmt::format(R"(<a href="#k0-1">{}</a></th>)", rows[2][0])));
}

TEST(Report, HtmlIsOnePageWhoseLinksLeadSomewhere) {
  Comparisons comparisons = slower();
  // A metric without a pair has no samples to lead to.
  dyield::Result no_work = result("new", 1);
  for (dyield::Run& run : no_work.runs) run.counts.erase("work");
  comparisons.push_back(compared(result("old", 3), no_work).front());
  comparisons.push_back(compared(result("old", 3), result("<script>", 3)).front());
  const std::string html = render_html(comparisons);
  EXPECT_THAT(html, AllOf(Not(HasSubstr("<script>")), Not(HasSubstr("src=")),
                          Not(HasSubstr("url(")), Not(HasSubstr("http"))));
  std::set<std::string> ids;
  const std::regex id(R"rx(id="([^"]+)")rx");
  for (std::sregex_iterator it(html.begin(), html.end(), id), end; it != end; ++it)
    EXPECT_TRUE(ids.insert((*it)[1]).second) << (*it)[1] << " occurs twice";
  const std::regex link(R"rx(href="#([^"]+)")rx");
  std::size_t links = 0;
  for (std::sregex_iterator it(html.begin(), html.end(), link), end; it != end; ++it, ++links)
    EXPECT_TRUE(ids.contains((*it)[1])) << (*it)[1];
  EXPECT_GT(links, 100U);
}

TEST(Report, KtapFailsGatingMetricsOnly) {
  const std::string worse = render_ktap(slower());
  EXPECT_TRUE(worse.starts_with("KTAP version 1\n1..1\n"));
  EXPECT_THAT(worse, AllOf(HasSubstr("\n  1..2\n"), HasSubstr("\n  not ok 1 shootdowns\n"),
                           HasSubstr("\n  ok 2 work\n"), HasSubstr("\nnot ok 1 new: all-to-all")));
  Result few = result("new", 1);
  few.runs.resize(3);
  EXPECT_THAT(render_ktap(compared(result("old", 3), few)),
              AllOf(HasSubstr("\n  ok 1 shootdowns # SKIP too few\n"),
                    HasSubstr("# SKIP no gating metric was decided\n")));
}

TEST(Report, RunsThatNewlyFailFailInEveryForm) {
  Result failing = result("new", 3);
  failing.runs[6].status = RunStatus::kFailed;
  failing.runs[6].reason = "a reason";
  const Comparisons some = compared(result("old", 3), failing);
  const std::string sentence = "1 run failed that the base completed (seed 7)";
  for (const ReportFormat& format : kReportFormats)
    EXPECT_THAT(format.render(some), HasSubstr(sentence)) << format.name;
  EXPECT_THAT(render_ktap(some),
              AllOf(HasSubstr("\n  1..3\n"), HasSubstr("\n  not ok 3 completion\n"),
                    HasSubstr("\nnot ok 1 new: all-to-all")));
  for (dyield::Run& run : failing.runs) {
    run.status = RunStatus::kFailed;
    run.reason = "a reason";
  }
  const Comparisons all = compared(result("old", 3), failing);
  EXPECT_THAT(render_ktap(all),
              AllOf(HasSubstr("\n  1..1\n"), HasSubstr("\n  not ok 1 completion\n")));
  const Json tests = Json::parse(render_kcidb(all))["tests"];
  ASSERT_EQ(tests.size(), 1U);
  EXPECT_EQ(tests[0]["path"], "dyield.all-to-all.completion");
  EXPECT_EQ(tests[0]["status"], "FAIL");
  EXPECT_EQ(tests[0]["misc"]["samples"].size(), 8U);
  // Among others, it is in the overview.
  Result base = result("old", 3), candidate = result("new", 3);
  base.dimensions["vcpus"] = candidate.dimensions["vcpus"] = 8;
  const std::string page =
      render_html({compare({"a", {{"a/base.json", result("old", 3)}, {"a/8.json", base}}},
                           {"b", {{"b/new.json", failing}, {"b/8.json", candidate}}}, {})});
  const auto overview = page.find("<h3>All cells</h3>");
  ASSERT_NE(overview, std::string::npos);
  EXPECT_THAT(page.substr(overview, page.find("</table>", overview) - overview),
              HasSubstr("REGRESSED"));
}

TEST(Report, WhatIsNotComparedIsSaid) {
  Result candidate = result("new", 3);
  candidate.runs[6].status = RunStatus::kPartial;
  candidate.runs[6].reason = "a reason";
  Result alone = result("new", 3);
  alone.dimensions["vcpus"] = 8;
  const Comparisons some = {compare({"a", {{"a/base.json", result("old", 3)}}},
                                    {"b", {{"b/new.json", candidate}, {"b/8.json", alone}}},
                                    {.common_only = true})};
  for (const ReportFormat& format : kReportFormats) {
    if (format.name == "kcidb") continue;  // tests that ran, by its schema
    const std::string text = format.render(some);
    EXPECT_THAT(text, HasSubstr("left out of the candidate: 1 partial")) << format.name;
    EXPECT_THAT(text, HasSubstr("only in the candidate: ")) << format.name;
  }
}

TEST(Report, KcidbTellsTheSidesOfOneKernelApart) {
  std::set<std::string> ids;
  for (const char* policy : {"peers@ours", "peers@posted"}) {
    const Json json = Json::parse(render_kcidb(compared(result("old", 3), result(policy, 1))));
    for (const Json& test : json["tests"])
      EXPECT_TRUE(ids.insert(test["id"].get<std::string>()).second) << test["id"];
  }
}

// The patterns and required properties of kcidb's schema 5.0.
TEST(Report, KcidbKeepsToItsSchema) {
  const Json json = Json::parse(render_kcidb(slower()));
  EXPECT_EQ(json["version"], (Json{{"major", 5}, {"minor", 0}}));
  const std::regex id("^[a-z0-9_]+:.*$");
  const std::regex path("^([a-zA-Z0-9_-]+(\\.[a-zA-Z0-9_-]+)*)?$");
  EXPECT_EQ(json["checkouts"][0]["id"], "dyield:ab:new");
  EXPECT_EQ(json["builds"][0]["checkout_id"], json["checkouts"][0]["id"]);
  std::map<std::string, std::string> status;
  std::set<std::string> ids;
  for (const Json& test : json["tests"]) {
    EXPECT_EQ(test["build_id"], json["builds"][0]["id"]);
    EXPECT_TRUE(std::regex_match(test["id"].get<std::string>(), id));
    EXPECT_TRUE(ids.insert(test["id"].get<std::string>()).second);
    EXPECT_TRUE(std::regex_match(test["path"].get<std::string>(), path)) << test["path"];
    EXPECT_EQ(test["environment"]["comment"], kNote);
    status[test["path"].get<std::string>()] = test["status"].get<std::string>();
  }
  EXPECT_EQ(status["dyield.all-to-all.shootdowns"], "FAIL");
  EXPECT_EQ(status["dyield.all-to-all.work"], "PASS");
  EXPECT_EQ(status["dyield.all-to-all.yields_tried"], "DONE");
}

TEST(Report, RefusesAnUnknownFormatAndAMarginThatIsNoFraction) {
  const auto error_of = [](const ReportOptions& options) -> std::string {
    std::ostringstream out;
    try {
      run_report(options, out);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(error_of({.base = "a", .candidates = {"b"}, .format = "pdf"}), HasSubstr("--format"));
  EXPECT_THAT(error_of({.base = "a", .candidates = {"b"}, .criteria = {.margin = 2}}),
              HasSubstr("--margin"));
}

}  // namespace
}  // namespace dyield
