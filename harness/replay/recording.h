// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/record.h"

namespace dyield {

// A recording in memory, in the format of bpf/record.h.
class Recording {
 public:
  // `limit` is the size of the file in bytes that it may reach; of `one_in` decisions, one is
  // added.
  Recording(std::string kernel, bool emulated, std::uint16_t one_in, std::uint64_t limit);

  // Adds a struct dyield_decision that is cut off behind its states, or counts it as not kept.
  void add(std::string_view decision);
  [[nodiscard]] std::uint64_t decisions() const { return head_.decisions; }
  [[nodiscard]] std::uint64_t not_kept() const { return head_.not_kept; }
  // The file, with what was lost in it.
  [[nodiscard]] std::string text(std::uint64_t lost) const;

 private:
  dyield_recording head_{};
  std::string records_;
  std::uint64_t limit_;
};

struct ReadRecording {
  dyield_recording head{};
  std::string kernel;
  std::vector<dyield_decision> decisions;
};

// Reads a recording, which may come from anywhere. Throws Error (kUsage) naming what is wrong.
ReadRecording read_recording(const std::filesystem::path& path);

}  // namespace dyield
