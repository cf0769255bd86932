// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "base/fd.h"

namespace dyield {

// All of a file, or nothing with errno set. Not by a stream buffer: that of libstdc++
// throws what says nothing of the file when a read fails.
inline std::optional<std::string> read_file(const std::filesystem::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string text;
  std::array<char, 65536> block;
  for (;;) {
    const ssize_t n = ::read(fd.get(), block.data(), block.size());
    if (n == 0) return text;
    if (n > 0) {
      text.append(block.data(), static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      return std::nullopt;
    }
  }
}

// Whether there is such a file. Throws Error (kEnvironment) if that cannot be told: a result that
// cannot be seen is not one that may begin anew.
inline bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  const bool there = std::filesystem::exists(path, error);
  if (error) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("Cannot look for \"{}\": {}; see to the permissions of its folders.",
                            path.string(), error.message()));
  }
  return there;
}

// The first line of a file, such as one of sysfs; empty if it cannot be read.
inline std::string first_line(const std::filesystem::path& path) {
  std::ifstream stream(path);
  std::string line;
  std::getline(stream, line);
  return line;
}

// What follows `name` in the first line that begins with it, without the white space
// between: first_field("/proc/meminfo", "MemFree:") is "12 kB". Empty if there is none.
inline std::string first_field(const std::filesystem::path& path, std::string_view name) {
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(name)) continue;
    const auto begin = line.find_first_not_of(" \t", name.size());
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

}  // namespace dyield
