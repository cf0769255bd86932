// SPDX-License-Identifier: GPL-2.0-only
#include "base/privileges.h"

#include <asm/termbits.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <seccomp.h>
#include <spdlog/spdlog.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <type_traits>

#include "base/error.h"

namespace dyield {
namespace {

[[noreturn]] void fail(const char* what, int error) {
  throw Error(ExitCode::kEnvironment,
              fmt::format("Cannot {}: {}; run dyield as a user without privileges.", what,
                          errno_text(error)));
}

template <typename T>
using CapPtr = std::unique_ptr<std::remove_pointer_t<T>, decltype(&::cap_free)>;

#ifndef DYIELD_SANITIZE
// What reading, computing and printing take, of the C and the C++ library.
constexpr std::initializer_list<int> kReading = {
    SCMP_SYS(read),         SCMP_SYS(readv),           SCMP_SYS(pread64),
    SCMP_SYS(write),        SCMP_SYS(writev),          SCMP_SYS(close),
    SCMP_SYS(lseek),        SCMP_SYS(fstat),           SCMP_SYS(newfstatat),
    SCMP_SYS(stat),         SCMP_SYS(statx),           SCMP_SYS(getdents64),
    SCMP_SYS(readlink),     SCMP_SYS(readlinkat),      SCMP_SYS(fcntl),
    SCMP_SYS(getcwd),       SCMP_SYS(access),          SCMP_SYS(faccessat2),
    SCMP_SYS(mmap),         SCMP_SYS(munmap),          SCMP_SYS(mremap),
    SCMP_SYS(mprotect),     SCMP_SYS(madvise),         SCMP_SYS(brk),
    SCMP_SYS(futex),        SCMP_SYS(getrandom),       SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday), SCMP_SYS(getpid),          SCMP_SYS(gettid),
    SCMP_SYS(tgkill),       SCMP_SYS(rt_sigprocmask),  SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall), SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};
// A file in full beside its place, then under its name. Not by io_uring, whose operations no
// filter sees.
constexpr std::initializer_list<int> kWriting = {SCMP_SYS(pwrite64), SCMP_SYS(fsync),
                                                 SCMP_SYS(rename), SCMP_SYS(unlink)};

int load_filter(Files files) {
  const std::unique_ptr<void, decltype(&::seccomp_release)> filter(
      // An error and not the end, for a C library to come that asks for more.
      ::seccomp_init(SCMP_ACT_ERRNO(EPERM)), ::seccomp_release);
  if (!filter) return -ENOMEM;
  int result = 0;
  const auto allow = [&](int call, auto... conditions) {
    if (result == 0)
      result = ::seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, sizeof...(conditions),
                                  conditions...);
  };
  std::ranges::for_each(kReading, allow);
  // Is it a terminal, and how wide?
  for (const unsigned long request : {TCGETS, TIOCGWINSZ})
    allow(SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, request));
  if (files == Files::kReadAndWrite) {
    allow(SCMP_SYS(openat));
    std::ranges::for_each(kWriting, allow);
  } else {
    allow(SCMP_SYS(openat), SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
  }
  return result != 0 ? result : ::seccomp_load(filter.get());
}
#endif

}  // namespace

void keep_capabilities(std::initializer_list<int> kept) {
  const CapPtr<cap_t> now(::cap_get_proc(), ::cap_free), then(::cap_init(), ::cap_free);
  if (!now || !then) fail("give up capabilities", errno);
  for (const cap_value_t capability : kept) {
    for (const cap_flag_t flag : {CAP_EFFECTIVE, CAP_PERMITTED}) {
      cap_flag_value_t value = CAP_CLEAR;
      ::cap_get_flag(now.get(), capability, flag, &value);
      ::cap_set_flag(then.get(), flag, 1, &capability, value);
    }
  }
  // Of this thread alone: libcap reaches the others by libpsx only, which is not linked.
  if (::cap_set_proc(then.get()) != 0) fail("give up capabilities", errno);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("forbid new privileges", errno);
}

void confine_to_files(Files files) {
  keep_capabilities({});
#ifdef DYIELD_SANITIZE
  static_cast<void>(files);  // sanitizers have system calls of their own
#else
  if (const int error = load_filter(files); error != 0)
    spdlog::debug("no system call is given up: {}", errno_text(-error));
#endif
}

}  // namespace dyield
