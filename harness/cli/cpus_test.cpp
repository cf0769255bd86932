// SPDX-License-Identifier: GPL-2.0-only
#include "cli/cpus.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "base/error.h"

namespace dyield {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Cpus, AKernelForMoreCpusThanASetHasGetsALargerOne) {
  const auto of_4096 = [](std::size_t size, cpu_set_t* set) {
    if (size < 4096 / 8) {
      errno = EINVAL;
      return -1;
    }
    CPU_SET_S(3, size, set);
    CPU_SET_S(2047, size, set);
    return 0;
  };
  EXPECT_THAT(allowed_cpus(of_4096), ElementsAre(3, 2047));
  const auto refused = [](std::size_t, cpu_set_t*) {
    errno = EPERM;
    return -1;
  };
  EXPECT_THROW(allowed_cpus(refused), Error);
}

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
