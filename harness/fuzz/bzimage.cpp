// SPDX-License-Identifier: GPL-2.0-only
// Kernels for Linux guests. One that is taken has its code within the file.
#include "linux/bzimage.h"

#include <algorithm>

#include "fuzz/fuzz.h"

using namespace dyield;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::accepts([&] {
    const BzImage image = BzImage::from_bytes(fuzz::bytes_of(data, size), "input");
    fuzz::require(image.kernel().size() <= size, "a kernel is within its file");
    fuzz::require(image.end() >= image.header().pref_address, "a kernel ends behind its start");
    // Reads all of it, for AddressSanitizer to see.
    [[maybe_unused]] const auto zeros = std::ranges::count(image.kernel(), std::byte{0});
  });
  return 0;
}
