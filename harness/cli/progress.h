// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace dyield {

// How many runs a side will have: `runs` if no interval is waited for, else by
// the square-root law from the interval that `runs` gave, up to `cap`.
std::uint64_t expected_runs(std::uint64_t runs, std::optional<double> width,
                            std::optional<double> wanted, std::uint64_t cap);

// "45 s", "3 min", "2 h 5 min".
std::string duration_text(std::chrono::duration<double> duration);

// Where a series of runs is, on stderr: one line that is replaced on a
// terminal, else lines of the log. Silent where the log hides information.
class Progress {
 public:
  // `run_time` is what a run takes at the least.
  explicit Progress(std::chrono::duration<double> run_time);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Before each run: `finished` of `total` are done.
  void show(const std::string& what, std::uint64_t finished, std::uint64_t total);
  // After each run, so that what the log says does not end up in the line.
  void clear();
  void ran() { ran_++; }

 private:
  std::chrono::duration<double> run_time_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::uint64_t ran_ = 0;  // by this process: the others' time is unknown
  bool live_;
  bool shown_ = false;
};

}  // namespace dyield
