// SPDX-License-Identifier: GPL-2.0-only
#include "result/atomic_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

#include "base/error.h"
#include "base/fd.h"
#include "loop/file_writer.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

// A file which is open for writing and is removed unless it gets its final name.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& target) : target_(target) {
    for (int attempt = 0; !fd_; ++attempt) {
      name_ = target.parent_path() /
              fmt::format(".{}.{}.{}.tmp", target.filename().string(), ::getpid(), attempt);
      fd_ = Fd(::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (!fd_ && (errno != EEXIST || attempt == 100)) fail_to_write(target_, "open", errno);
    }
  }
  ~TemporaryFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void commit(std::string_view text) {
    FileWriter writer(target_);
    writer.write(fd_, text, 0);
    writer.sync(fd_);
    if (::rename(name_.c_str(), target_.c_str()) != 0) fail_to_write(target_, "rename", errno);
    name_.clear();
  }

 private:
  fs::path target_;
  fs::path name_;
  Fd fd_;
};

// Makes the rename itself durable. Not every file system can fsync a folder, and
// the file is complete either way, so errors are of no consequence.
void sync_folder(const fs::path& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) ::fsync(fd.get());
}

// The file to write, behind symbolic links.
fs::path target_of(const fs::path& path) {
  std::error_code error;
  const fs::path target = fs::weakly_canonical(fs::absolute(path), error);
  if (error) fail_to_write(path, "resolve", error.value());
  if (fs::exists(target, error) && !fs::is_regular_file(target, error)) {
    throw Error(
        ExitCode::kUsage,
        fmt::format("Cannot write \"{}\": it exists and is not a regular file; name a file.",
                    path.string()));
  }
  if (!fs::is_directory(target.parent_path(), error)) {
    throw Error(ExitCode::kUsage, fmt::format("Cannot write \"{}\": its folder does not exist; "
                                              "create the folder or choose another.",
                                              path.string()));
  }
  return target;
}

}  // namespace

void write_file_atomically(const fs::path& path, std::string_view text) {
  const fs::path target = target_of(path);
  TemporaryFile(target).commit(text);
  sync_folder(target.parent_path());
}

void check_writable(const fs::path& path) {
  const TemporaryFile removed(target_of(path));
}

}  // namespace dyield
