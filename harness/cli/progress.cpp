// SPDX-License-Identifier: GPL-2.0-only
#include "cli/progress.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace dyield {
namespace {

// What takes the line back: carriage return, erase to the end (ECMA-48, EL).
constexpr const char* kEraseLine = "\r\x1b[K";

bool on_terminal() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

}  // namespace

std::uint64_t expected_runs(std::uint64_t runs, std::optional<double> width,
                            std::optional<double> wanted, std::uint64_t cap) {
  if (!wanted) return runs;
  if (!width) return cap;
  const double ratio = *width / *wanted;
  const double needed = std::ceil(static_cast<double>(runs) * ratio * ratio);
  return needed >= static_cast<double>(cap)
             ? cap
             : std::min(cap, std::max(runs, static_cast<std::uint64_t>(needed)));
}

std::string duration_text(std::chrono::duration<double> duration) {
  const auto seconds = static_cast<std::uint64_t>(std::llround(std::max(0.0, duration.count())));
  if (seconds < 120) return fmt::format("{} s", seconds);
  const std::uint64_t minutes = (seconds + 30) / 60;
  if (minutes < 120) return fmt::format("{} min", minutes);
  return fmt::format("{} h {} min", minutes / 60, minutes % 60);
}

Progress::Progress(std::chrono::duration<double> run_time)
    : run_time_(run_time), live_(on_terminal()) {}

void Progress::show(const std::string& what, std::uint64_t finished, std::uint64_t total) {
  if (!spdlog::should_log(spdlog::level::info)) return;
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin_;
  const auto each = ran_ == 0 ? run_time_ : spent / static_cast<double>(ran_);
  const std::string line =
      fmt::format("{}: run {} of {}, about {} left", what, finished + 1, total,
                  duration_text(each * static_cast<double>(total - std::min(finished, total))));
  if (live_) {
    fmt::print(stderr, "{}{}", kEraseLine, line);
    std::fflush(stderr);
    shown_ = true;
  } else {
    spdlog::info("{}", line);
  }
}

void Progress::clear() {
  if (!shown_) return;
  fmt::print(stderr, "{}", kEraseLine);
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace dyield
