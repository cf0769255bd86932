// SPDX-License-Identifier: GPL-2.0-only
#include "engine/run.h"

#include <gmock/gmock.h>

namespace dyield {
namespace {

using std::chrono::milliseconds;

TEST(Run, AMeasurementThatTookMuchLongerThanAskedForIsNoted) {
  EXPECT_EQ(duration_note(milliseconds(1000), milliseconds(1000)), "");
  EXPECT_EQ(duration_note(milliseconds(50), milliseconds(51)), "");
  EXPECT_THAT(duration_note(milliseconds(1000), milliseconds(1100)),
              ::testing::HasSubstr("took 10.0 % longer than asked for"));
}

}  // namespace
}  // namespace dyield
