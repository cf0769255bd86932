// SPDX-License-Identifier: GPL-2.0-only
#include "result/result.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <functional>
#include <iterator>

#include "base/error.h"
#include "result/atomic_file.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class ResultTest : public ::testing::Test {
 protected:
  ResultTest() {
    std::string name = (fs::temp_directory_path() / "dyield-result-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~ResultTest() override { fs::remove_all(folder_); }

  fs::path put(const std::string& name, const std::string& text) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  fs::path folder_;
};

std::string read(const fs::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

Result sample() {
  Result result;
  result.tool_version = "0.1";
  result.command = {"dyield", "run", "--seed", "1"};
  result.kernel = "base";
  result.environment = {{"lab", {{"emulated", true}, {"machine", "qemu-tcg-svm"}}}};
  result.dimensions = {
      {"workload", "unicast"}, {"vcpus", 4}, {"vms", 1}, {"cpus", 2}, {"duration_s", 2.5}};
  Run complete;
  complete.seed = 18446744073709551615U;
  complete.counts = {{"shootdowns", 3}, {"pause_exits", 10}, {"work", 9007199254740993}};
  complete.detail = {{"per_vcpu", {1, 2, 3, 4}}};
  Run failed;
  failed.status = RunStatus::kFailed;
  failed.reason = "the guest reported a stale translation";
  failed.notes = {"kept its log"};
  result.runs = {complete, failed};
  return result;
}

std::string error_of(const std::function<void()>& action, ExitCode code = ExitCode::kUsage) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "no error";
}

// The error for the sample after a change to its JSON.
std::string error_after(const std::function<void(Json&)>& change) {
  Json json = Json::parse(to_text(sample()));
  change(json);
  return error_of([&] { from_text(json.dump(), "r.json"); });
}

TEST_F(ResultTest, SurvivesTheRoundTripToTheByte) {
  const std::string text = to_text(sample());
  const Result again = from_text(text, "r.json");
  EXPECT_EQ(again.runs, sample().runs);
  EXPECT_EQ(to_text(again), text);
  EXPECT_TRUE(again.emulated());
  EXPECT_EQ(again.machine(), "qemu-tcg-svm");
}

TEST_F(ResultTest, WritesUnitsAndDerivedMetrics) {
  const Json run = Json::parse(to_text(sample()))["runs"][0];
  EXPECT_EQ(run["counts"]["work"], Json({{"value", 9007199254740993}, {"unit", "units"}}));
  EXPECT_DOUBLE_EQ(run["metrics"]["pause_exits_per_shootdown"]["value"].get<double>(), 10.0 / 3);
  EXPECT_FALSE(run["metrics"].contains("precision"));
}

TEST_F(ResultTest, ReadsTheOlderSchema) {
  Json old = Json::parse(to_text(sample()));
  old["schema"] = "dyield.result/1";
  for (const char* key : {"arguments", "series", "base", "volatile", "ended"}) old.erase(key);
  EXPECT_EQ(from_text(old.dump(), "r.json"), sample());
  old["ended"] = "";
  EXPECT_THAT(error_of([&] { from_text(old.dump(), "r.json"); }), HasSubstr("/ended"));
  EXPECT_THAT(error_after([](Json& j) { j["schema"] = "dyield.result/9"; }),
              AllOf(HasSubstr("dyield.result/9"), HasSubstr("dyield.result/2")));
}

TEST_F(ResultTest, HardwareHasNoLab) {
  Result result = sample();
  result.environment = Json::object();
  EXPECT_FALSE(result.emulated());
  EXPECT_EQ(result.machine(), "");
}

TEST_F(ResultTest, RefusesToWriteWhatItWouldNotRead) {
  const auto refused = [](const std::function<void(Result&)>& change) {
    Result result = sample();
    change(result);
    return error_of([&] { static_cast<void>(to_text(result)); }, ExitCode::kFailed);
  };
  EXPECT_THAT(refused([](Result& r) { r.runs[0].counts["shootdown"] = 1; }),
              HasSubstr("/runs/0/counts/shootdown"));
  EXPECT_THAT(refused([](Result& r) { r.runs[1].reason.clear(); }), HasSubstr("/runs/1/reason"));
  EXPECT_THAT(refused([](Result& r) { r.environment["load"] = std::nan(""); }),
              HasSubstr("not finite"));
  EXPECT_THAT(refused([](Result& r) { r.dimensions["list"] = Json::array(); }),
              HasSubstr("/dimensions/list"));
}

TEST_F(ResultTest, TextThatIsNotUtf8IsWrittenReadably) {
  Result result = sample();
  result.runs[0].notes = {"guest said \xff\xfe"};
  EXPECT_THAT(from_text(to_text(result), "r.json").runs[0].notes[0], HasSubstr("guest said"));
}

TEST_F(ResultTest, NamesTheFilePointerExpectedAndFound) {
  EXPECT_THAT(error_after([](Json& j) { j["runs"][0]["seed"] = "one"; }),
              AllOf(HasSubstr("\"r.json\""), HasSubstr("\"/runs/0/seed\""),
                    HasSubstr("expected an integer"), HasSubstr("found \"one\"")));
}

TEST_F(ResultTest, RefusesEveryKindOfWrongField) {
  const std::vector<std::pair<std::string, std::function<void(Json&)>>> cases = {
      {"/schema", [](Json& j) { j["schema"] = "dyield.result/3"; }},
      {"/schema", [](Json& j) { j.erase("schema"); }},
      {"/kernel", [](Json& j) { j["kernel"] = ""; }},
      {"/extra", [](Json& j) { j["extra"] = 1; }},
      {"/tool/version", [](Json& j) { j["tool"].erase("version"); }},
      {"/tool/command/1", [](Json& j) { j["tool"]["command"][1] = 5; }},
      {"/environment", [](Json& j) { j["environment"] = nullptr; }},
      {"/environment/cpu_model", [](Json& j) { j["environment"]["cpu_model"] = 7; }},
      {"/environment/cpu/vendor_id",
       [](Json& j) {
         j["environment"]["cpu"] = {{"vendor_id", 5}};
       }},
      {"/environment/lab/emulated", [](Json& j) { j["environment"]["lab"]["emulated"] = "yes"; }},
      {"/environment/lab/machine", [](Json& j) { j["environment"]["lab"].erase("machine"); }},
      {"/dimensions/workload", [](Json& j) { j["dimensions"].erase("workload"); }},
      {"/dimensions/cpus", [](Json& j) { j["dimensions"]["cpus"] = 0; }},
      {"/dimensions/a~1b", [](Json& j) { j["dimensions"]["a/b"] = nullptr; }},
      {"/runs", [](Json& j) { j["runs"] = Json::object(); }},
      {"/runs/0", [](Json& j) { j["runs"][0] = 7; }},
      {"/runs/0/seed", [](Json& j) { j["runs"][0]["seed"] = -1; }},
      {"/runs/0/seed", [](Json& j) { j["runs"][0]["seed"] = 1.5; }},
      {"/runs/0/status", [](Json& j) { j["runs"][0]["status"] = "done"; }},
      {"/runs/0/reason", [](Json& j) { j["runs"][0]["reason"] = "but why"; }},
      {"/runs/0/counts",
       [](Json& j) {
         j["runs"][0]["counts"] = Json::object();
         j["runs"][0]["metrics"] = Json::object();
       }},
      {"/runs/0/counts/work/value", [](Json& j) { j["runs"][0]["counts"]["work"].erase("value"); }},
      {"/runs/0/counts/work/unit", [](Json& j) { j["runs"][0]["counts"]["work"]["unit"] = "s"; }},
      {"/runs/0/counts/x", [](Json& j) { j["runs"][0]["counts"]["x"] = 1; }},
      {"/runs/0/metrics/pause_exits_per_shootdown/value",
       [](Json& j) { j["runs"][0]["metrics"]["pause_exits_per_shootdown"]["value"] = 3.0; }},
      {"/runs/0/metrics/precision",
       [](Json& j) {
         j["runs"][0]["metrics"]["precision"] = {{"value", 1}, {"unit", "fraction"}};
       }},
      {"/runs/0/detail", [](Json& j) { j["runs"][0]["detail"] = 1; }},
      {"/runs/0/notes", [](Json& j) { j["runs"][0].erase("notes"); }},
  };
  for (const auto& [pointer, change] : cases)
    EXPECT_THAT(error_after(change), HasSubstr("at \"" + pointer + "\" expected"));
}

TEST_F(ResultTest, RefusesDamagedJson) {
  const std::string text = to_text(sample());
  for (std::size_t length = 0; length + 2 < text.size(); length += 7) {
    EXPECT_THAT(error_of([&] { from_text(text.substr(0, length), "cut.json"); }),
                HasSubstr("cut.json"));
  }
  const auto wrong = [](const std::string& json) {
    return error_of([&] { from_text(json, "r.json"); });
  };
  EXPECT_THAT(wrong(R"({"schema": NaN})"), HasSubstr("r.json"));
  EXPECT_THAT(wrong(R"({"schema": 1e999})"), HasSubstr("r.json"));
  EXPECT_THAT(wrong("{\"schema\": \"\xff\"}"), HasSubstr("r.json"));
  EXPECT_THAT(wrong(R"({"a": {"b": 1}, "a": 2})"), HasSubstr("\"a\" occurs twice"));
  EXPECT_THAT(wrong(std::string(100000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(wrong("[]"), HasSubstr("expected an object"));
}

TEST_F(ResultTest, WriteReplacesTheFileAndLeavesNothingElse) {
  const fs::path path = put("a.json", "old");
  write_result(path, sample());
  EXPECT_EQ(read(path), to_text(sample()));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  Result broken = sample();
  broken.kernel.clear();
  EXPECT_THROW(write_result(path, broken), Error);
  EXPECT_EQ(read(path), to_text(sample()));
}

TEST_F(ResultTest, WriteThatFailsHalfwayKeepsTheOldFile) {
  const fs::path path = put("a.json", "old");
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{100, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = error_of([&] { write_result(path, sample()); }, ExitCode::kEnvironment);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_THAT(error, AllOf(HasSubstr("a.json"), HasSubstr("File too large")));
  EXPECT_EQ(read(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(ResultTest, WriteRefusesBadTargets) {
  const auto write_to = [](const fs::path& path) {
    return error_of([&] { write_result(path, sample()); });
  };
  EXPECT_THAT(write_to("/dev/null"), HasSubstr("not a regular file"));
  EXPECT_THAT(write_to(folder_), HasSubstr("not a regular file"));
  EXPECT_THAT(write_to(folder_ / "no" / "a.json"), HasSubstr("folder does not exist"));
}

TEST_F(ResultTest, TheCheckBeforehandRefusesBadTargetsAndChangesNothing) {
  const auto check = [](const fs::path& path) { return error_of([&] { check_writable(path); }); };
  EXPECT_THAT(check(folder_), HasSubstr("not a regular file"));
  EXPECT_THAT(check(folder_ / "no" / "a.json"), HasSubstr("folder does not exist"));
  const fs::path path = put("a.json", "old");
  check_writable(path);
  check_writable(folder_ / "b.json");
  EXPECT_EQ(read(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(ResultTest, WriteFollowsASymbolicLink) {
  const fs::path target = put("target.json", "old");
  fs::create_symlink(target, folder_ / "link.json");
  write_result(folder_ / "link.json", sample());
  EXPECT_TRUE(fs::is_symlink(folder_ / "link.json"));
  EXPECT_EQ(read(target), to_text(sample()));
}

TEST_F(ResultTest, LoadsAFolderInOrderAndPassesOverOtherJson) {
  put("b.json", to_text(sample()));
  put("a/z.json", to_text(sample()));
  put("other.json", R"({"schema": "dyield.compare/1"})");
  put("list.json", "[1, 2]");
  put("notes.txt", "no JSON");
  fs::create_symlink("self.json", folder_ / "self.json");
  fs::create_symlink("nothing.json", folder_ / "c.json");
  const auto results = load_results(folder_);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].path, folder_ / "a/z.json");
  EXPECT_EQ(results[1].path, folder_ / "b.json");
  EXPECT_EQ(load_results(folder_ / "b.json").size(), 1U);
}

TEST_F(ResultTest, LoadNamesWhatIsWrong) {
  EXPECT_THAT(error_of([&] { load_results(folder_); }), HasSubstr("No dyield result"));
  EXPECT_THAT(error_of([&] { load_results(folder_ / "gone"); }), HasSubstr("No such file"));
  const fs::path other = put("other.json", "{}");
  EXPECT_THAT(error_of([&] { load_results(other); }), HasSubstr("/schema"));
  put("empty.json", "");
  EXPECT_THAT(error_of([&] { load_results(folder_); }),
              AllOf(HasSubstr("empty.json"), Not(HasSubstr("other.json"))));
}

}  // namespace
}  // namespace dyield
