// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <asm/bootparam.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace dyield {

// A Linux kernel for the 64-bit boot protocol (Documentation/arch/x86/boot.rst),
// as `make bzImage` writes it.
class BzImage {
 public:
  // Reads and checks the file. Throws Error (kUsage) naming it and what is wrong
  // with it; nothing in the file is trusted.
  static BzImage from_file(const std::filesystem::path& file);
  static BzImage from_bytes(std::vector<std::byte> bytes, const std::filesystem::path& file);

  // Of the file, for struct boot_params.
  [[nodiscard]] const setup_header& header() const { return header_; }
  // What is copied to header().pref_address; it unpacks itself there.
  [[nodiscard]] std::span<const std::byte> kernel() const {
    return std::span(bytes_).subspan(kernel_offset_, kernel_size_);
  }
  // Behind the last byte that the kernel needs, GPA.
  [[nodiscard]] std::uint64_t end() const { return header_.pref_address + header_.init_size; }
  // SHA-256 of the file, hexadecimal.
  [[nodiscard]] const std::string& hash() const { return hash_; }

 private:
  std::vector<std::byte> bytes_;
  setup_header header_{};
  std::size_t kernel_offset_ = 0, kernel_size_ = 0;
  std::string hash_;
};

// All of a file. Throws Error (kUsage) naming it and what it is (`what`).
std::vector<std::byte> read_guest_file(const std::filesystem::path& file, const char* what);

}  // namespace dyield
