// SPDX-License-Identifier: GPL-2.0-only
#include "cli/kernel_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace dyield {

KernelLog::KernelLog() : fd_(::open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {
  if (!fd_) {
    obstacle_ = fmt::format("/dev/kmsg cannot be opened: {}", errno_text(errno));
  } else if (::lseek(fd_.get(), 0, SEEK_END) < 0) {
    obstacle_ = fmt::format("/dev/kmsg cannot be read from its end: {}", errno_text(errno));
  }
}

std::string KernelLog::drain() {
  std::string lines;
  if (!obstacle_.empty()) return lines;
  std::array<char, 8192> record;  // as long as the kernel makes them, PRINTK_MESSAGE_MAX
  for (;;) {
    const ssize_t n = ::read(fd_.get(), record.data(), record.size());
    if (n > 0) {
      lines += kernel_log_lines({record.data(), static_cast<std::size_t>(n)});
    } else if (n < 0 && errno == EPIPE) {
      // A report may have been among them.
      spdlog::warn(
          "The kernel's log was overwritten before it could be read; boot with a larger "
          "log_buf_len.");
      lines += "(records were overwritten before they could be read)\n";
    } else if (n == 0 || errno != EINTR) {
      return lines;
    }
  }
}

std::string kernel_log_lines(std::string_view record) {
  // "priority,sequence,microseconds,flags;text"; lines of properties begin with a space.
  const auto semicolon = record.find(';');
  if (semicolon == std::string_view::npos) return "";
  std::string_view head = record.substr(0, semicolon), body = record.substr(semicolon + 1);
  for (int field = 0; field < 2; field++)
    head.remove_prefix(std::min(head.size(), head.find(',') + 1));
  const std::uint64_t time = std::strtoull(std::string(head).c_str(), nullptr, 10);
  std::string lines;
  while (!body.empty()) {
    const std::string_view line = body.substr(0, body.find('\n'));
    body.remove_prefix(std::min(body.size(), line.size() + 1));
    if (!line.starts_with(' '))
      lines += fmt::format("[{:5}.{:06}] {}\n", time / 1000000, time % 1000000, line);
  }
  return lines;
}

std::string kernel_defect(std::string_view lines) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    for (const char* mark :
         {"WARNING: ", "BUG: ", "UBSAN: ", "Oops: ", "general protection fault", "soft lockup",
          "LOCKUP", "detected stalls", "detected expedited stalls", "self-detected stall",
          "blocked for more than"}) {
      if (line.find(mark) != std::string_view::npos) return std::string(line);
    }
  }
  return "";
}

}  // namespace dyield
