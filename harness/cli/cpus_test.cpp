// SPDX-License-Identifier: GPL-2.0-only
#include "cli/cpus.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace dyield {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Cpus, AListIsReadAsSysfsWritesIt) {
  EXPECT_THAT(parse_cpu_list(""), IsEmpty());
  EXPECT_THAT(parse_cpu_list("3"), ElementsAre(3));
  EXPECT_THAT(parse_cpu_list("0-2,8,2046-2047"), ElementsAre(0, 1, 2, 8, 2046, 2047));
  EXPECT_THAT(parse_cpu_list("none"), IsEmpty());
}

TEST(Cpus, IsolatedOnesAreRefusedUnlessThereIsNothingToBalance) {
  EXPECT_NO_THROW(refuse_isolated({0, 1}, {}));
  EXPECT_NO_THROW(refuse_isolated({0, 1}, {2, 3}));
  EXPECT_NO_THROW(refuse_isolated({2}, {2, 3}));
  try {
    refuse_isolated({1, 2}, {2, 3});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("CPU 2 is isolated"));
  }
}

}  // namespace
}  // namespace dyield
