// SPDX-License-Identifier: GPL-2.0-only
//
// Series of runs in a world without KVM.
#include "cli/session.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "cli/kernel_log.h"
#include "cli/progress.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    std::string name = (fs::temp_directory_path() / "dyield-session-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    session_.seeds = 4;
    session_.first_seed = 10;
    session_.metric = find_metric("shootdowns");
    world_.set_up = [this](const SideSpec& side) {
      parameter_ = side.setup;
      log_.push_back("setup " + side.setup);
    };
    world_.describe = [this] {
      Result result;
      result.tool_version = "0.1";
      result.kernel = "k";
      result.dimensions = {{"workload", "unicast"}, {"vcpus", 4}, {"vms", 1}, {"cpus", 2}};
      result.environment = {{"modules", {{"kvm", {{"policy", parameter_}}}}}};
      return result;
    };
    world_.run = [this](std::uint64_t seed, bool last) {
      if (dies_after_ == 0) throw std::runtime_error("killed");
      dies_after_--;
      dyield::Run run;
      run.seed = seed;
      run.counts = {{"shootdowns", 1000 + seed * noise_ % 97}};
      log_.push_back(parameter_ + std::to_string(seed));
      if (last) last_.push_back(log_.back());
      return run;
    };
    world_.kernel_log = [this] { return std::exchange(kernel_, ""); };
  }
  ~SessionTest() override { fs::remove_all(folder_); }

  fs::path folder_;
  Session session_;
  World world_;
  std::vector<std::string> log_, last_;
  std::string parameter_, kernel_;
  std::uint64_t noise_ = 0;
  int dies_after_ = 1000;
};

TEST_F(SessionTest, SwitchesSidesInAbbaOrderAndNoOftenerThanNeeded) {
  session_.sides = {{"x", "A"}, {"y", "B"}};
  session_.output = folder_ / "r";
  const SessionResult result = run_session(session_, world_);
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(log_,
            (std::vector<std::string>{"setup A", "A10", "setup B", "B10", "B11", "setup A", "A11",
                                      "A12", "setup B", "B12", "B13", "setup A", "A13"}));
  EXPECT_EQ(last_, std::vector<std::string>{"A13"});
  const auto x = load_results(folder_ / "r" / "x");
  ASSERT_EQ(x.size(), 1U);
  EXPECT_EQ(x[0].result, result.sides[0]);
  EXPECT_EQ(x[0].result.kernel, "x");
  EXPECT_EQ(load_results(folder_ / "r").size(), 2U);
}

// Whenever it dies, what it did and what it does after --resume are together
// exactly what it does in one go.
TEST_F(SessionTest, ResumesExactlyWhereItStopped) {
  session_.sides = {{"x", "A"}, {"y", "B"}};
  for (const Order order : {Order::kAbba, Order::kRandom}) {
    session_.order = order;
    const auto runs_only = [&] {
      std::vector<std::string> runs;
      for (const std::string& line : log_)
        if (!line.starts_with("setup")) runs.push_back(line);
      log_.clear();
      return runs;
    };
    session_.output.clear();
    session_.resume = false;
    dies_after_ = 1000;
    run_session(session_, world_);
    const std::vector<std::string> whole = runs_only();
    ASSERT_EQ(whole.size(), 8U);
    for (int runs = 0; runs <= 8; runs++) {
      session_.output = folder_ / fmt::format("r{}-{}", runs, order == Order::kAbba);
      session_.resume = false;
      dies_after_ = runs;
      if (runs < 8) {
        EXPECT_THROW(run_session(session_, world_), std::runtime_error);
      } else {
        run_session(session_, world_);
      }
      session_.resume = true;
      dies_after_ = 1000;
      const SessionResult result = run_session(session_, world_);
      EXPECT_EQ(runs_only(), whole) << runs;
      EXPECT_EQ(result.sides[0].runs.size(), 4U);
      EXPECT_EQ(result.sides[1].runs.size(), 4U);
      EXPECT_EQ(load_results(session_.output / "y").at(0).result, result.sides[1]);
    }
  }
}

TEST_F(SessionTest, RefusesToGoOnWithAnotherMachine) {
  session_.output = folder_ / "r";
  dies_after_ = 2;
  EXPECT_THROW(run_session(session_, world_), std::runtime_error);
  session_.resume = true;
  dies_after_ = 1000;
  parameter_ = "changed";
  try {
    run_session(session_, world_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_THAT(error.what(), HasSubstr("modules/kvm/policy was \"\", now it is \"changed\""));
  }
  EXPECT_EQ(load_results(session_.output).at(0).result.runs.size(), 2U);
}

TEST_F(SessionTest, ASetupThatDoesNotLastIsFound) {
  session_.sides = {{"x", "A"}, {"y", "B"}};
  int calls = 0;
  world_.set_up = [&](const SideSpec& side) { parameter_ = ++calls < 3 ? side.setup : "C"; };
  const SessionResult result = run_session(session_, world_);
  EXPECT_FALSE(result.complete);
  ASSERT_TRUE(result.failure);
  EXPECT_THROW(std::rethrow_exception(result.failure), Error);
}

TEST_F(SessionTest, ASetupThatFailsLosesNoRunBeforeIt) {
  session_.sides = {{"x", "A"}, {"y", "B"}};
  int calls = 0;
  world_.set_up = [&](const SideSpec& side) {
    if (++calls == 3) throw Error(ExitCode::kEnvironment, "the module is busy");
    parameter_ = side.setup;
  };
  const SessionResult result = run_session(session_, world_);
  EXPECT_THAT(result.sides.at(0).runs, SizeIs(1));
  EXPECT_THAT(result.sides.at(1).runs, SizeIs(2));
  EXPECT_THAT(result.sides[0].ended, HasSubstr("the module is busy"));
  EXPECT_TRUE(result.failure);
  // The very first has nothing to keep.
  calls = 2;
  EXPECT_THROW(run_session(session_, world_), Error);
}

TEST_F(SessionTest, AddsSeedsUntilTheIntervalIsNarrowOrTheCapIsReached) {
  session_.until = 0.02;
  session_.max_seeds = 500;
  noise_ = 31;
  const SessionResult narrow = run_session(session_, world_);
  const std::size_t runs = narrow.sides[0].runs.size();
  EXPECT_GT(runs, 4U);
  EXPECT_LT(runs, 500U);
  EXPECT_THAT(narrow.sides[0].ended, HasSubstr("as narrow as asked for"));
  // It stopped at the first time that it could.
  std::vector<Pair> values;
  for (const dyield::Run& run : narrow.sides[0].runs)
    values.push_back({0, static_cast<double>(run.counts.at("shootdowns"))});
  EXPECT_LE(relative_half_width(values, false).value(), 0.02);
  values.pop_back();
  if (values.size() > 4) {
    EXPECT_GT(relative_half_width(values, false).value(), 0.02);
  }
  // It could have been any.
  EXPECT_THAT(last_, IsEmpty());
  session_.max_seeds = runs - 1;
  const SessionResult capped = run_session(session_, world_);
  EXPECT_THAT(last_, SizeIs(1));
  EXPECT_EQ(capped.sides[0].runs.size(), runs - 1);
  EXPECT_THAT(capped.sides[0].ended, HasSubstr("the cap of"));
}

TEST_F(SessionTest, TakesWhatTheWorkloadGetsDoneIfNoMetricIsNamed) {
  session_.until = 0.02;
  session_.metric = nullptr;
  noise_ = 31;
  world_.run = [](std::uint64_t seed, bool) {
    dyield::Run run;
    run.seed = seed;
    run.counts = {{"pause_exits", seed}, {"calls", 1000 + seed % 2}, {"work", seed}};
    return run;
  };
  EXPECT_THAT(run_session(session_, world_).sides[0].ended,
              HasSubstr("the 95 % interval of calls after 4 seeds"));
  world_.run = [](std::uint64_t seed, bool) {
    dyield::Run run;
    run.seed = seed;
    run.counts = {{"pause_exits", seed}};
    return run;
  };
  EXPECT_THROW(run_session(session_, world_), Error);
}

TEST_F(SessionTest, RefusesAMetricThatNoRunHasBehindTheFirstBlock) {
  session_.sides = {{"x", "A"}, {"y", "B"}};
  session_.until = 0.02;
  session_.max_seeds = 500;
  session_.metric = find_metric("recall");
  try {
    run_session(session_, world_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("no run has the metric recall"));
  }
  EXPECT_EQ(log_, (std::vector<std::string>{"setup A", "A10", "setup B", "B10"}));
}

TEST_F(SessionTest, ARunThatFailsEndsItAndIsRunAgainOnResume) {
  session_.output = folder_ / "r";
  const auto good = world_.run;
  world_.run = [&](std::uint64_t seed, bool last) {
    dyield::Run run = good(seed, last);
    if (seed == 12) {
      run.status = RunStatus::kPartial;
      run.reason = "interrupted by SIGINT";
    }
    return run;
  };
  const SessionResult broken = run_session(session_, world_);
  EXPECT_FALSE(broken.complete);
  EXPECT_THAT(broken.sides[0].ended, HasSubstr("seed 12: interrupted"));
  session_.resume = true;
  world_.run = good;
  const SessionResult result = run_session(session_, world_);
  EXPECT_TRUE(result.complete);
  ASSERT_EQ(result.sides[0].runs.size(), 5U);
  EXPECT_EQ(result.sides[0].runs[3].seed, 12U);
}

TEST_F(SessionTest, ARunThatCannotStartLosesNoneBeforeIt) {
  const auto good = world_.run;
  world_.run = [&](std::uint64_t seed, bool last) {
    if (seed == 12) throw Error(ExitCode::kEnvironment, "no file descriptor is left");
    return good(seed, last);
  };
  const SessionResult result = run_session(session_, world_);
  EXPECT_FALSE(result.complete);
  EXPECT_THAT(result.sides[0].runs, SizeIs(2));
  EXPECT_EQ(result.sides[0].ended, "seed 12: no file descriptor is left");
  ASSERT_TRUE(result.failure);
  EXPECT_THROW(std::rethrow_exception(result.failure), Error);
  // With nothing to keep, it is the command's own error.
  session_.first_seed = 12;
  EXPECT_THROW(run_session(session_, world_), Error);
}

TEST_F(SessionTest, ARunThatLostEventsDoesNotEndItAndIsRunAgainOnResume) {
  session_.output = folder_ / "r";
  const auto good = world_.run;
  world_.run = [&](std::uint64_t seed, bool last) {
    dyield::Run run = good(seed, last);
    if (seed < 12) {
      run.status = RunStatus::kPartial;
      run.reason = "lost 1 event";
      run.go_on = true;
    }
    return run;
  };
  const SessionResult some = run_session(session_, world_);
  EXPECT_FALSE(some.complete);
  EXPECT_THAT(some.sides[0].runs, SizeIs(4));
  EXPECT_EQ(some.sides[0].ended, "all 4 seeds; 2 of the runs are partial");
  session_.resume = true;
  world_.run = good;
  const SessionResult result = run_session(session_, world_);
  EXPECT_TRUE(result.complete);
  EXPECT_THAT(result.sides[0].runs, SizeIs(6));
}

TEST_F(SessionTest, ASideThatWasNotReachedHasNoResult) {
  session_.sides = {{"x", "A"}, {"y", "B"}};
  world_.run = [&](std::uint64_t seed, bool) {
    dyield::Run run;
    run.seed = seed;
    run.status = RunStatus::kPartial;
    return run;
  };
  const SessionResult result = run_session(session_, world_);
  ASSERT_THAT(result.sides, SizeIs(1));
  EXPECT_EQ(result.sides[0].kernel, "x");
}

TEST_F(SessionTest, AKernelWarningIsKeptAndMarksTheRun) {
  session_.output = folder_ / "r";
  const auto good = world_.run;
  kernel_ = "[    0.000000] WARNING: of the boot\n";
  world_.run = [&](std::uint64_t seed, bool last) {
    if (seed == 11) kernel_ = "[    1.000000] hello\n[    2.000000] WARNING: CPU: 0 at x.c:1\n";
    return good(seed, last);
  };
  const SessionResult result = run_session(session_, world_);
  EXPECT_TRUE(result.sides[0].runs[0].notes.empty());
  ASSERT_EQ(result.sides[0].runs[1].notes.size(), 1U);
  EXPECT_THAT(result.sides[0].runs[1].notes[0], HasSubstr("WARNING: CPU: 0"));
  EXPECT_EQ(fs::file_size(session_.output / kKernelLogFile), 61U);
}

TEST(KernelLog, FormatsRecordsAsDmesgDoes) {
  EXPECT_EQ(kernel_log_lines("6,339,5140900,-;NET: registered\n SUBSYSTEM=net\n"),
            "[    5.140900] NET: registered\n");
  EXPECT_EQ(kernel_log_lines("6,1,7,-,caller=T1;a;b\n"), "[    0.000007] a;b\n");
  EXPECT_EQ(kernel_log_lines("damaged"), "");
}

TEST(KernelLog, KnowsReportsOfTheKernel) {
  for (const char* line :
       {"WARNING: CPU: 0 PID: 1 at x.c:1", "BUG: KASAN: use-after-free", "UBSAN: shift in x.c:1",
        "Oops: 0000 [#1]", "general protection fault, probably for", "watchdog: BUG: soft lockup",
        "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 0",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "rcu: INFO: rcu_sched detected expedited stalls on CPUs",
        "INFO: task qemu:1 blocked for more than 120 seconds."}) {
    EXPECT_EQ(kernel_defect(std::string("[    1.000000] kvm: fine\n[    2.000000] ") + line + "\n"),
              std::string("[    2.000000] ") + line);
  }
  EXPECT_EQ(kernel_defect("[    1.000000] installed; stalled once; debug: x\n"), "");
}

TEST(Progress, ExpectsAsManyRunsAsTheSquareRootLawSays) {
  EXPECT_EQ(expected_runs(30, {}, {}, 100), 30U);
  EXPECT_EQ(expected_runs(5, {}, 0.02, 100), 100U);
  EXPECT_EQ(expected_runs(5, 0.04, 0.02, 100), 20U);
  EXPECT_EQ(expected_runs(5, 0.4, 0.02, 100), 100U);
  EXPECT_EQ(expected_runs(5, 0.001, 0.02, 100), 5U);
}

TEST(Progress, DurationsAreForPeople) {
  using seconds = std::chrono::duration<double>;
  EXPECT_EQ(duration_text(seconds(0.2)), "0 s");
  EXPECT_EQ(duration_text(seconds(119)), "119 s");
  EXPECT_EQ(duration_text(seconds(600)), "10 min");
  EXPECT_EQ(duration_text(seconds(7500)), "2 h 5 min");
}

}  // namespace
}  // namespace dyield
