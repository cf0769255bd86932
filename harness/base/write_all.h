// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"

namespace dyield {

// Throws Error (kEnvironment): writing `path` failed with this errno value in this step.
[[noreturn]] inline void fail_to_write(const std::filesystem::path& path, std::string_view step,
                                       int error) {
  throw Error(ExitCode::kEnvironment,
              fmt::format("Cannot write \"{}\": {}: {}; free space or choose another folder.",
                          path.string(), step, errno_text(error)));
}

// All of `text`, where the file's offset is; `path` names the file in the Error.
inline void write_all(const Fd& fd, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd.get(), text.data(), text.size());
    if (n < 0 && errno != EINTR) fail_to_write(path, "write", errno);
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace dyield
