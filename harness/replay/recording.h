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
  // The file, with what was lost in it; valid until the next call.
  [[nodiscard]] const std::string& text(std::uint64_t lost);

 private:
  dyield_recording head_{};
  std::string text_ = std::string(sizeof(dyield_recording), '\0');  // the head, the records
  std::uint64_t limit_;
};

// As it is in the file: a struct dyield_decision has room for 256 vCPUs, most records for few.
class ReadRecording {
 public:
  dyield_recording head{};
  std::string kernel;

  // Behind the last one. `record` is a struct dyield_decision that is cut off behind its states.
  void add(std::string_view record) {
    ends_.push_back(records_.size() + record.size());
    records_ += record;
  }
  void reserve(std::size_t bytes) { records_.reserve(bytes); }
  [[nodiscard]] std::size_t size() const { return ends_.size(); }
  // By value: what is behind its states is zero.
  [[nodiscard]] dyield_decision operator[](std::size_t i) const;
  [[nodiscard]] std::string_view record(std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(records_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string records_;
  std::vector<std::uint64_t> ends_;
};

// Reads a recording, which may come from anywhere. Throws Error (kUsage) naming what is wrong.
ReadRecording read_recording(const std::filesystem::path& path);

}  // namespace dyield
