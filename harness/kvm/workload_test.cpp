// SPDX-License-Identifier: GPL-2.0-only
#include "kvm/workload.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>
#include <string>

#include "base/error.h"

namespace dyield {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

void expect_refused(const WorkloadInfo& workload, std::uint32_t vcpus, std::uint32_t vms,
                    const std::string& why, const std::string& fault = "none") {
  try {
    check_workload(workload, vcpus, vms, find_fault(fault));
    ADD_FAILURE() << workload.name << " accepted; expected: " << why;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr(workload.name), HasSubstr(why)));
  }
}

TEST(Workload, EveryRowIsFoundByItsName) {
  std::set<std::string> names;
  for (const WorkloadInfo& row : workloads()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_THAT(row.name, MatchesRegex("[a-z0-9-]+"));
    EXPECT_FALSE(row.text.empty()) << row.name;
    EXPECT_EQ(&find_workload(row.name), &row);
    EXPECT_EQ(&workload_info(row.id), &row);
  }
  EXPECT_THROW(find_workload("nonsense"), Error);
}

TEST(Workload, EveryRowRunsOnItsMostVcpus) {
  for (const WorkloadInfo& row : workloads()) {
    const std::uint32_t most = way_info(row.way).max_vcpus;
    EXPECT_NO_THROW(check_workload(row, most, 2, find_fault("none"))) << row.name;
    EXPECT_LE(most, DYIELD_MAX_VCPUS);
    if (most < DYIELD_MAX_VCPUS) expect_refused(row, most + 1, 2, std::to_string(most));
  }
}

TEST(Workload, ANeighbourNeedsASecondVm) {
  for (const WorkloadInfo& row : workloads()) {
    if (row.has_neighbours()) expect_refused(row, 4, 1, "--vms 2");
    // The neighbours' own row must not bring further ones.
    EXPECT_FALSE(workload_info(row.beside).has_neighbours() && row.has_neighbours()) << row.name;
  }
}

TEST(Workload, EveryFaultHasAWorkloadAndIsRefusedByOthers) {
  for (const FaultInfo& fault : faults()) {
    EXPECT_EQ(&find_fault(fault.name), &fault);
    EXPECT_TRUE(std::ranges::any_of(workloads(), [&](const WorkloadInfo& row) {
      return fault.needs == 0 || (fault.needs & row.does) != 0;
    })) << fault.name;
    if (fault.needs != 0)
      expect_refused(find_workload("compute"), 4, 1, "nothing would come of it", fault.name);
  }
}

TEST(Workload, OnlyAModuleMakesLinuxSayWhomItAwaits) {
  EXPECT_TRUE(find_workload("call-wait").publishes());
  EXPECT_TRUE(find_workload("linux-smp-call-nowait").publishes());
  EXPECT_FALSE(find_workload("linux-membarrier").publishes());
}

TEST(Workload, CallsOfLinuxAreLostWhereItsProgramsOrItsModuleLoseThem) {
  for (const char* fault : {"lost-call", "double-call"}) {
    for (const char* name : {"linux-smp-call", "linux-smp-call-nowait"}) {
      EXPECT_NO_THROW(check_workload(find_workload(name), 4, 1, find_fault(fault))) << name;
    }
  }
  EXPECT_NO_THROW(check_workload(find_workload("linux-membarrier"), 4, 1, find_fault("lost-call")));
  expect_refused(find_workload("linux-membarrier"), 4, 1, "nothing would come of it",
                 "double-call");
  expect_refused(find_workload("linux-smp-call"), 4, 1, "nothing would come of it", "lost-ipi");
}

}  // namespace
}  // namespace dyield
