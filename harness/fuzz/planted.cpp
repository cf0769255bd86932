// SPDX-License-Identifier: GPL-2.0-only
// No parser of dyield's: it believes a length that is in the input, once a magic word
// is there. scripts/fuzz must find that, or it finds nothing elsewhere either.
#include <cstring>

#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = dyield::fuzz::bytes_of(data, size);
  if (size < 4 || std::memcmp(data, "dyi", 3) != 0) return 0;
  std::byte all{};
  for (std::size_t i = 0; i < data[3]; i++) all ^= bytes.data()[4 + i];
  return all == std::byte{1} ? 1 : 0;
}
