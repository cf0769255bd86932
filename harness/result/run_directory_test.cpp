// SPDX-License-Identifier: GPL-2.0-only
#include "result/run_directory.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "base/error.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

Run run_of(std::uint64_t seed) {
  Run run;
  run.seed = seed;
  run.counts = {{"shootdowns", seed * 3}};
  return run;
}

Result header() {
  Result result;
  result.tool_version = "0.1";
  result.command = {"dyield", "run"};
  result.arguments = {{"seed", "1"}};
  result.kernel = "base";
  result.series = "0123";
  result.base = "v7.3";
  result.volatile_facts = {{"load_average", "0.1"}};
  result.dimensions = {{"workload", "unicast"}, {"vcpus", 4}, {"vms", 1}, {"cpus", 2}};
  return result;
}

std::string read(const fs::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

class RunDirectoryTest : public ::testing::Test {
 protected:
  RunDirectoryTest() {
    std::string name = (fs::temp_directory_path() / "dyield-rundir-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    folder_ = root_ / "a" / "r";
  }
  ~RunDirectoryTest() override { fs::remove_all(root_); }

  Result load() const {
    const auto loaded = load_results(folder_);
    EXPECT_EQ(loaded.size(), 1U);
    return loaded.at(0).result;
  }

  fs::path root_, folder_;
};

TEST_F(RunDirectoryTest, ReadsBackWhatWasWritten) {
  Result expected = header();
  RunDirectory directory = RunDirectory::create(folder_, expected);
  EXPECT_EQ(load(), expected);
  for (const std::uint64_t seed : {5U, 6U}) {
    directory.append(run_of(seed));
    expected.runs.push_back(run_of(seed));
    EXPECT_EQ(load(), expected);
  }
  expected.ended = "2 of 2 seeds";
  directory.write_header(expected);
  EXPECT_EQ(load(), expected);
  EXPECT_EQ(load_results(folder_ / kHeaderFile).at(0).result, expected);
}

TEST_F(RunDirectoryTest, ASecondWriterIsRefused) {
  const auto refused = [this] {
    try {
      RunDirectory::reopen(folder_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return std::string(error.what());
    }
    return std::string();
  };
  {
    const RunDirectory first = RunDirectory::create(folder_, header());
    EXPECT_THAT(refused(), HasSubstr("Another dyield writes into"));
  }
  EXPECT_EQ(refused(), "");
}

TEST_F(RunDirectoryTest, EveryPrefixOfTheSamplesIsAnEarlierState) {
  {
    RunDirectory directory = RunDirectory::create(folder_, header());
    for (const std::uint64_t seed : {1U, 2U, 3U}) directory.append(run_of(seed));
  }
  const fs::path samples = folder_ / kSamplesFile;
  const std::string whole = read(samples);
  for (std::size_t size = 0; size <= whole.size(); size++) {
    const std::string torn = whole.substr(0, size);
    std::ofstream(samples) << torn;
    const auto lines = static_cast<std::size_t>(std::count(torn.begin(), torn.end(), '\n'));
    ASSERT_EQ(load().runs.size(), lines) << size;
    RunDirectory::reopen(folder_).append(run_of(9));
    ASSERT_EQ(load().runs.size(), lines + 1) << size;
    ASSERT_EQ(load().runs.back(), run_of(9)) << size;
  }
}

// The real thing: a writer that is killed while it writes as fast as it can.
TEST_F(RunDirectoryTest, AKilledWriterLeavesAReadableState) {
  for (int round = 0; round < 10; round++) {
    fs::remove_all(folder_);
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      RunDirectory directory = RunDirectory::create(folder_, header());
      for (std::uint64_t seed = 1;; seed++) {
        directory.append(run_of(seed));
        Result changed = header();
        changed.ended = std::string(seed % 1000 + 1, 'x');
        directory.write_header(changed);
        if (seed == 3) [[maybe_unused]]
          const auto written = ::write(ready[1], "x", 1);
      }
    }
    char byte;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ::usleep(static_cast<useconds_t>(round * 700));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
    ::close(ready[1]);
    const Result result = load();
    ASSERT_GE(result.runs.size(), 3U);
    for (std::size_t i = 0; i < result.runs.size(); i++) EXPECT_EQ(result.runs[i], run_of(i + 1));
  }
}

TEST_F(RunDirectoryTest, AWriteThatFailsHalfwayTakesNothingAway) {
  RunDirectory directory = RunDirectory::create(folder_, header());
  directory.append(run_of(1));
  const std::string before = read(folder_ / kSamplesFile);
  ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit small{before.size() + 5, limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(directory.append(run_of(2)), Error);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_EQ(read(folder_ / kSamplesFile), before);
  directory.append(run_of(2));
  EXPECT_EQ(load().runs.size(), 2U);
}

// Taken for an empty file, one would be cut to nothing.
TEST_F(RunDirectoryTest, WhatHasNoEndIsAnErrorAndNotEmpty) {
  RunDirectory::create(folder_, header());
  fs::remove(folder_ / kSamplesFile);
  ASSERT_EQ(::mkfifo((folder_ / kSamplesFile).c_str(), 0600), 0);
  try {
    RunDirectory::reopen(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_THAT(error.what(), HasSubstr("find the end"));
  }
}

TEST_F(RunDirectoryTest, NeverBeginsOverAResult) {
  RunDirectory::create(folder_, header()).append(run_of(1));
  try {
    RunDirectory::create(folder_, header());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("--resume"));
  }
  EXPECT_EQ(load().runs.size(), 1U);
}

// A kill, or a full disk, between the two files that create() makes.
TEST_F(RunDirectoryTest, BeginsAgainWhereItWasCutShortAtTheBegin) {
  fs::create_directories(folder_);
  std::ofstream{folder_ / kSamplesFile};
  RunDirectory::create(folder_, header()).append(run_of(1));
  EXPECT_EQ(load().runs.size(), 1U);
}

TEST_F(RunDirectoryTest, NamesTheLineThatIsDamaged) {
  RunDirectory::create(folder_, header()).append(run_of(1));
  append_to_file(folder_ / kSamplesFile, "{\"seed\": 2}\n");
  try {
    load();
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("samples.ndjson, line 2"));
  }
}

}  // namespace
}  // namespace dyield
