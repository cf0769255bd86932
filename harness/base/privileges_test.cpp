// SPDX-License-Identifier: GPL-2.0-only
#include "base/privileges.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>

#include "base/read_file.h"

namespace dyield {
namespace {

std::string status_of_thread(const char* field) {
  return first_field("/proc/thread-self/status", field);
}

TEST(Privileges, AThreadGivesUpItsOwnAndNobodyElses) {
  const std::string before = status_of_thread("CapPrm:");
  std::string effective, permitted, no_new;
  std::thread([&] {
    keep_capabilities({});
    effective = status_of_thread("CapEff:");
    permitted = status_of_thread("CapPrm:");
    no_new = status_of_thread("NoNewPrivs:");
  }).join();
  EXPECT_EQ(effective, "0000000000000000");
  EXPECT_EQ(permitted, "0000000000000000");
  EXPECT_EQ(no_new, "1");
  EXPECT_EQ(status_of_thread("CapPrm:"), before);
}

TEST(Privileges, WhatIsKeptIsWhatItHadOfIt) {
  const auto before = std::stoull(status_of_thread("CapEff:"), nullptr, 16);
  unsigned long long after = 0;
  std::thread([&] {
    keep_capabilities({CAP_SYS_ADMIN, CAP_DAC_OVERRIDE});
    after = std::stoull(status_of_thread("CapEff:"), nullptr, 16);
  }).join();
  EXPECT_EQ(after, before & (1ULL << CAP_SYS_ADMIN | 1ULL << CAP_DAC_OVERRIDE));
}

#ifndef DYIELD_SANITIZE
// In a process of its own: there is no way back.
int confined(Files files) {
  confine_to_files(files);
  if (status_of_thread("Seccomp:") != "2") return 77;
  if (!read_file("/proc/self/status")) return 1;
  if (::socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || errno != EPERM) return 2;
  if (::execl("/bin/true", "true", nullptr); errno != EPERM) return 3;
  if (::fork() >= 0 || errno != EPERM) return 4;
  const bool writes = ::open("/dev/null", O_WRONLY) >= 0;
  return writes == (files == Files::kReadAndWrite) ? 0 : 5;
}

TEST(PrivilegesDeathTest, AConfinedProcessReadsAndPrintsAndNoMore) {
  for (const Files files : {Files::kRead, Files::kReadAndWrite}) {
    EXPECT_EXIT(std::_Exit(confined(files)), ::testing::ExitedWithCode(0), "");
  }
}
#endif

}  // namespace
}  // namespace dyield
