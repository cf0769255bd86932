// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sha2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace dyield {

// Of the bytes, hexadecimal, as sha256sum gives it. By libmd, which who calls it links with.
inline std::string sha256(std::span<const std::byte> bytes) {
  std::array<char, SHA256_DIGEST_STRING_LENGTH> text{};
  return SHA256Data(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), text.data());
}

}  // namespace dyield
