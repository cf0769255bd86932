// SPDX-License-Identifier: GPL-2.0-only
#include "result/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/read_file.h"
#include "loop/file_writer.h"
#include "result/atomic_file.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

// The bytes up to and with the last newline.
std::uint64_t size_of_whole_lines(const Fd& fd, const fs::path& path) {
  std::array<char, 4096> block;
  off_t end = ::lseek(fd.get(), 0, SEEK_END);
  if (end < 0) fail_to_write(path, "find the end", errno);
  while (end > 0) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(block.size()));
    const ssize_t n = ::pread(fd.get(), block.data(), static_cast<std::size_t>(end - begin), begin);
    if (n != end - begin) fail_to_write(path, "read", n < 0 ? errno : EIO);
    const std::string_view text(block.data(), static_cast<std::size_t>(n));
    if (const auto found = text.rfind('\n'); found != std::string_view::npos)
      return static_cast<std::uint64_t>(begin) + found + 1;
    end = begin;
  }
  return 0;
}

// Two writers would cut off each other's runs. Ends with the descriptor. Not every file system
// has locks.
void lock(const Fd& samples, const fs::path& folder) {
  if (::flock(samples.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  throw Error(ExitCode::kUsage,
              fmt::format("Another dyield writes into \"{}\"; wait for its end, or name another "
                          "folder.",
                          folder.string()));
}

}  // namespace

RunDirectory::RunDirectory(fs::path folder, Fd samples, std::uint64_t size)
    : folder_(std::move(folder)), samples_(std::move(samples)), size_(size) {}

RunDirectory RunDirectory::create(const fs::path& folder, const Result& header) {
  make_result_folder(folder, {kHeaderFile, kSamplesFile});
  // The header last: with it the folder is a result.
  Fd samples = open_for_appending(folder / kSamplesFile);
  lock(samples, folder);
  RunDirectory made(folder, std::move(samples), 0);
  made.write_header(header);
  return made;
}

RunDirectory RunDirectory::reopen(const fs::path& folder) {
  const fs::path path = folder / kSamplesFile;
  Fd samples = open_for_appending(path);
  lock(samples, folder);
  const std::uint64_t size = size_of_whole_lines(samples, path);
  if (::ftruncate(samples.get(), static_cast<off_t>(size)) != 0)
    fail_to_write(path, "truncate", errno);
  return {folder, std::move(samples), size};
}

void RunDirectory::append(const Run& run) {
  const std::string line = to_line(run);
  const fs::path path = folder_ / kSamplesFile;
  try {
    FileWriter writer(path);
    writer.write(samples_, line, size_);
    writer.sync(samples_);
  } catch (const Error&) {
    // If this fails as well, readers pass over the torn line all the same.
    [[maybe_unused]] const int ignored = ::ftruncate(samples_.get(), static_cast<off_t>(size_));
    throw;
  }
  size_ += line.size();
}

void RunDirectory::write_header(const Result& header) const {
  write_file_atomically(folder_ / kHeaderFile, to_header_text(header));
}

void make_result_folder(const fs::path& folder, std::initializer_list<std::string_view> names) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error(ExitCode::kUsage, fmt::format("Cannot make the folder \"{}\": {}; name another.",
                                              folder.string(), error.message()));
  }
  for (const std::string_view name : names) {
    // An empty one is what a kill left of a beginning.
    if (is_there(folder / name) && !fs::is_empty(folder / name, error)) {
      throw Error(ExitCode::kUsage,
                  fmt::format("There is a result in \"{0}\" already; go on with it (dyield run "
                              "--resume {0}), or name another folder.",
                              folder.string()));
    }
  }
}

Fd open_for_appending(const fs::path& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!fd) fail_to_write(path, "open", errno);
  return fd;
}

void append_to_file(const fs::path& path, std::string_view text) {
  FileWriter(path).write(open_for_appending(path), text, 0);
}

}  // namespace dyield
