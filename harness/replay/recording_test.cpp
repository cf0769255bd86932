// SPDX-License-Identifier: GPL-2.0-only
#include "replay/recording.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>

#include "base/error.h"

namespace dyield {
namespace {

using ::testing::HasSubstr;

class RecordingTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  std::string error_of(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    try {
      (void)read_recording(path_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  }

  static std::string cut(const dyield_decision& decision) {
    return {reinterpret_cast<const char*>(&decision),
            offsetof(dyield_decision, state) + decision.vcpus * sizeof(dyield_u16)};
  }

  static dyield_decision decision(dyield_u16 vcpus) {
    dyield_decision d{};
    d.vcpus = vcpus;
    d.chosen = 0xffff;
    d.state[vcpus - 1] = DYIELD_STATE_READY;
    return d;
  }

  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("dyield-recording." + std::to_string(getpid()));
};

TEST_F(RecordingTest, ComesBackAsItWasWritten) {
  Recording recording("7.3.4", true, 16, 1 << 20);
  for (const int vcpus : {1, 2, 3, 256}) {
    recording.add(cut(decision(static_cast<dyield_u16>(vcpus))));
  }
  ASSERT_EQ(error_of(recording.text(5)), "");
  const ReadRecording read = read_recording(path_);
  EXPECT_EQ(read.kernel, "7.3.4");
  EXPECT_EQ(read.head.emulated, 1U);
  EXPECT_EQ(read.head.one_in, 16U);
  EXPECT_EQ(read.head.lost, 5U);
  ASSERT_EQ(read.size(), 4U);
  EXPECT_EQ(read[3].vcpus, 256);
  EXPECT_EQ(read[3].state[255], DYIELD_STATE_READY);
  EXPECT_EQ(read[2].state[2], DYIELD_STATE_READY);
  EXPECT_EQ(read[2].state[3], 0) << "what is behind the states";
}

TEST_F(RecordingTest, IsNoLargerThanItsLimitAndCountsTheRest) {
  Recording recording("k", false, 1, 200);
  for (int i = 0; i < 10; i++) recording.add(cut(decision(4)));
  EXPECT_EQ(recording.decisions(), 2U);
  EXPECT_EQ(recording.not_kept(), 8U);
  EXPECT_LE(recording.text(0).size(), 200U);
}

TEST_F(RecordingTest, DamageIsNamed) {
  Recording recording("k", false, 1, 1 << 20);
  recording.add(cut(decision(4)));
  recording.add(cut(decision(4)));
  const std::string good = recording.text(0);
  // Cut off anywhere.
  for (std::size_t size = 0; size < good.size(); size++) {
    EXPECT_NE(error_of(good.substr(0, size)), "") << size;
  }
  std::string bad = good;
  bad[0] ^= 1;
  EXPECT_THAT(error_of(bad), HasSubstr("dyield record has not written it"));
  bad = good;
  bad[8] = 9;
  EXPECT_THAT(error_of(bad), HasSubstr("version 9"));
  bad = good;
  bad[offsetof(dyield_recording, one_in)] = 0;
  EXPECT_THAT(error_of(bad), HasSubstr("one in 0"));
  const std::size_t record = sizeof(dyield_recording);
  for (const std::size_t field :
       {offsetof(dyield_decision, vcpus), offsetof(dyield_decision, me),
        offsetof(dyield_decision, chosen), offsetof(dyield_decision, last_boosted)}) {
    bad = good;
    bad[record + field + 1] = 0x7f;
    EXPECT_THAT(error_of(bad), HasSubstr("decision 1 ")) << field;
  }
  bad = good;
  bad[record + offsetof(dyield_decision, yielded)] = 1;  // to nobody
  EXPECT_THAT(error_of(bad), HasSubstr("decision 1 names a vCPU that it does not have"));
  EXPECT_THAT(error_of(good + good.substr(record)), HasSubstr("4 decisions of 2"));
}

}  // namespace
}  // namespace dyield
