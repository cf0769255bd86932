// SPDX-License-Identifier: GPL-2.0-only
#include "loop/file_writer.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/error.h"

namespace dyield {

void fail_to_write(const std::filesystem::path& path, std::string_view step, int error) {
  throw Error(ExitCode::kEnvironment,
              fmt::format("Cannot write \"{}\": {}: {}; free space or choose another folder.",
                          path.string(), step, errno_text(error)));
}

FileWriter::FileWriter(std::filesystem::path path) : path_(std::move(path)) {
  try {
    loop_.emplace();
  } catch (const Error& error) {
    spdlog::debug("\"{}\" is written by system calls: {}", path_.string(), error.what());
  }
}

int FileWriter::await(const EventLoop::Prepare& prepare) {
  try {
    return loop_->await(prepare);
  } catch (const Error&) {
    // The request may still be in the ring, and what it is about is gone.
    loop_.reset();
    throw;
  }
}

void FileWriter::write(const Fd& fd, std::string_view text, std::uint64_t offset) {
  constexpr std::size_t kMost = 1 << 30;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, kMost);
    ssize_t n = 0;
    if (loop_) {
      n = await([&](io_uring_sqe* entry) {
        io_uring_prep_write(entry, fd.get(), part.data(), static_cast<unsigned>(part.size()),
                            offset);
      });
    } else {
      n = ::pwrite(fd.get(), part.data(), part.size(), static_cast<off_t>(offset));
      if (n < 0) n = -errno;
    }
    if (n < 0 && n != -EINTR) fail_to_write(path_, "write", static_cast<int>(-n));
    if (n < 0) continue;
    text.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

void FileWriter::sync(const Fd& fd) {
  int result = 0;
  if (loop_) {
    result = await([&](io_uring_sqe* entry) { io_uring_prep_fsync(entry, fd.get(), 0); });
  } else if (::fsync(fd.get()) != 0) {
    result = -errno;
  }
  if (result < 0) fail_to_write(path_, "fsync", -result);
}

}  // namespace dyield
