// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "base/fd.h"
#include "loop/event_loop.h"

namespace dyield {

// Throws Error (kEnvironment): writing `path` failed with this errno value in this step.
[[noreturn]] void fail_to_write(const std::filesystem::path& path, std::string_view step,
                                int error);

// Brings a file to the disk, on an event loop of its own: results are written between runs,
// when there is nothing else to serve. Without io_uring, which many containers forbid and
// `dyield report` gives up itself, by system calls.
class FileWriter {
 public:
  // `path` names the file in an Error (kEnvironment), which every member throws.
  explicit FileWriter(std::filesystem::path path);

  // All of `text` at that offset; at the end of a file that was opened to append to. (A file's
  // own offset is not where it should be after a short write by io_uring.)
  void write(const Fd& fd, std::string_view text, std::uint64_t offset);
  void sync(const Fd& fd);

  [[nodiscard]] bool has_loop() const { return loop_.has_value(); }

 private:
  int await(const EventLoop::Prepare& prepare);

  std::filesystem::path path_;
  std::optional<EventLoop> loop_;
};

}  // namespace dyield
