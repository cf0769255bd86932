// SPDX-License-Identifier: GPL-2.0-only
#include "loop/file_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <seccomp.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <thread>

#include "base/error.h"

namespace dyield {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// By the loop; and by system calls, where io_uring is refused, as container managers do. To the
// one thread that asks: a filter stays for good.
class FileWriterTest : public ::testing::TestWithParam<bool> {
 protected:
  FileWriterTest() {
    std::thread([this] {
      if (!GetParam()) refuse_io_uring();
      writer_.emplace("the/file");
    }).join();
  }

  static void refuse_io_uring() {
    const scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_ALLOW);
    ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0);
    EXPECT_EQ(::seccomp_load(filter), 0);
    ::seccomp_release(filter);
  }

  template <typename F>
  std::string error_of(F&& f) {
    try {
      f();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kEnvironment);
      return error.what();
    }
    return "";
  }

  std::optional<FileWriter> writer_;
};

TEST_P(FileWriterTest, WritesAllAtTheOffset) {
  EXPECT_EQ(writer_->has_loop(), GetParam());
  const Fd file(::memfd_create("test", MFD_CLOEXEC));
  writer_->write(file, "abx", 0);
  writer_->write(file, "cd", 2);
  writer_->sync(file);
  std::string text(8, '\0');
  text.resize(static_cast<std::size_t>(::pread(file.get(), text.data(), text.size(), 0)));
  EXPECT_EQ(text, "abcd");
}

TEST_P(FileWriterTest, NamesTheFileTheStepAndTheReason) {
  const Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  EXPECT_THAT(
      error_of([&] { writer_->write(full, "x", 0); }),
      AllOf(HasSubstr("the/file"), HasSubstr("write: No space left"), HasSubstr("free space")));
  // What cannot be synced.
  const Fd event(::eventfd(0, EFD_CLOEXEC));
  EXPECT_THAT(error_of([&] { writer_->sync(event); }),
              AllOf(HasSubstr("the/file"), HasSubstr("fsync: Invalid argument")));
}

INSTANTIATE_TEST_SUITE_P(With, FileWriterTest, ::testing::Bool(),
                         [](const auto& with) { return with.param ? "io_uring" : "system_calls"; });

}  // namespace
}  // namespace dyield
