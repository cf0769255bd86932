// SPDX-License-Identifier: GPL-2.0-only
#include "engine/environment.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <fstream>

namespace dyield {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// The files of a machine under a folder.
class MachineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "dyield-machine-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  ~MachineTest() override { fs::remove_all(root_); }

  void put(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  fs::path root_;
};

TEST_F(MachineTest, WithBothModulesBuiltInTheCpuSaysWhichDrivesIt) {
  put("sys/module/kvm_amd/parameters/pause_filter_count", "3000\n");
  put("sys/module/kvm_intel/parameters/ple_gap", "0\n");
  put("proc/cpuinfo", "vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm npt\nvmx flags\t: ept\n");
  EXPECT_EQ(vendor_module(root_), "kvm_amd");
  EXPECT_EQ(pause_exits_obstacle(root_), "");

  put("proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx smx\nvmx flags\t: ept\n");
  EXPECT_EQ(vendor_module(root_), "kvm_intel");
  EXPECT_THAT(pause_exits_obstacle(root_), HasSubstr("ple_gap is 0"));
}

TEST_F(MachineTest, OneModuleNeedsNoCpuToSaySo) {
  put("sys/module/kvm_amd/parameters/pause_filter_count", "0\n");
  EXPECT_EQ(vendor_module(root_), "kvm_amd");
  EXPECT_THAT(pause_exits_obstacle(root_), HasSubstr("pause_filter_count is 0"));
}

TEST_F(MachineTest, AKvmOfAnotherKindIsNamed) {
  put("sys/module/kvm_pvm/parameters/x", "1\n");
  EXPECT_EQ(vendor_module(root_), "");
  EXPECT_THAT(pause_exits_obstacle(root_), HasSubstr("this KVM is kvm_pvm"));
}

}  // namespace
}  // namespace dyield
