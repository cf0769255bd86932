// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>

#include "base/fd.h"

namespace dyield {

// What the kernel logs from the construction on, read from /dev/kmsg
// (Documentation/ABI/testing/dev-kmsg).
class KernelLog {
 public:
  KernelLog();
  // Why it cannot be read; empty if it can.
  [[nodiscard]] const std::string& obstacle() const { return obstacle_; }
  // The lines since the last call, as dmesg(1) shows them.
  std::string drain();

 private:
  Fd fd_;
  std::string obstacle_;
};

// One record of /dev/kmsg as lines: "[    1.000000] text", continued lines alike.
std::string kernel_log_lines(std::string_view record);

// The first line that tells of a defect of the kernel: an oops, a BUG, a
// WARNING, a lockup; empty if none does.
std::string kernel_defect(std::string_view lines);

}  // namespace dyield
