// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace dyield {

// A freestanding guest image: an ELF64 x86-64 executable, loaded by its
// physical addresses (guest-workloads/payload.lds).
class Payload {
 public:
  // Reads and checks the image. Throws Error (kUsage) naming the file and what
  // is wrong with it; nothing in the file is trusted.
  static Payload from_file(const std::filesystem::path& file);
  static Payload from_bytes(std::vector<std::byte> bytes, const std::filesystem::path& file);

  // Guest physical address of the first instruction.
  [[nodiscard]] std::uint64_t entry() const { return entry_; }
  // Copies the segments into guest memory; `memory` begins at GPA 0 and has
  // been checked to be large enough by from_bytes() (DYIELD_IMAGE_END_GPA).
  void load(std::span<std::byte> memory) const;

 private:
  struct Segment {
    std::uint64_t gpa, offset, file_size, memory_size;
  };
  std::vector<std::byte> bytes_;
  std::vector<Segment> segments_;
  std::uint64_t entry_ = 0;
};

}  // namespace dyield
