// SPDX-License-Identifier: GPL-2.0-only
#include "engine/limits.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/error.h"

namespace dyield {

std::uint64_t provide_open_files(std::uint64_t needed) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("Cannot read the limit of open files: {}.", errno_text(errno)));
  }
  limit.rlim_cur = limit.rlim_max;
  // Never fails: any process may raise its soft limit to its hard one.
  ::setrlimit(RLIMIT_NOFILE, &limit);
  std::error_code error;
  const auto open = static_cast<std::uint64_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/fd", error), {}));
  const std::uint64_t left = limit.rlim_max - std::min<std::uint64_t>(limit.rlim_max, open);
  if (left < needed) {
    throw Error(
        ExitCode::kEnvironment,
        fmt::format("This run needs {} open files and the hard limit leaves {} of {}; raise "
                    "it (ulimit -Hn, or LimitNOFILE of the service) or run fewer vCPUs.",
                    needed, left, limit.rlim_max));
  }
  return left;
}

}  // namespace dyield
