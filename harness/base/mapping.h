// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <string>
#include <utility>

#include "base/error.h"

namespace dyield {

// Owns a memory mapping.
class Mapping {
 public:
  Mapping() = default;
  // Maps `size` bytes from `offset` on; `what` names the mapping in the error. Throws Error
  // (kEnvironment).
  Mapping(std::size_t size, int protection, int flags, int fd, const std::string& what,
          off_t offset = 0)
      : size_(size) {
    address_ = ::mmap(nullptr, size, protection, flags, fd, offset);
    if (address_ == MAP_FAILED) {
      address_ = nullptr;
      throw Error(ExitCode::kEnvironment, "Cannot map " + std::to_string(size) + " bytes for " +
                                              what + ": " + errno_text(errno) +
                                              "; free memory, raise the limit, or run fewer VMs.");
    }
  }
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Mapping() {
    if (address_ != nullptr) ::munmap(address_, size_);
  }

  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(address_); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace dyield
