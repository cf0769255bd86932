// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace dyield {

// The exit codes of every dyield command (README.md, "Exit codes").
enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,       // a run failed, or a comparison shows a regression
  kUsage = 2,        // the command line or an input file is wrong
  kEnvironment = 3,  // this machine lacks something that dyield needs
  kSkipped = 4,      // a named condition is not met, nothing was run
  kTimeout = 124,    // a time limit ended the command, as in timeout(1): KVM does not come back
};

// Of a file that was named and cannot be read: the name is wrong, or the machine has failed.
constexpr ExitCode code_of_unreadable(int error) {
  const bool wrong_name = error == ENOENT || error == ENOTDIR || error == EISDIR ||
                          error == EACCES || error == ENAMETOOLONG || error == ELOOP;
  return wrong_name ? ExitCode::kUsage : ExitCode::kEnvironment;
}

// An error that reaches the user as one sentence: what failed, with what, and
// what to do next. main() prints what() and exits with code().
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  [[nodiscard]] ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

// The text of an errno value, without the thread-unsafe strerror().
inline std::string errno_text(int error) {
  return std::generic_category().message(error);
}

}  // namespace dyield
