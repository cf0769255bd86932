// SPDX-License-Identifier: GPL-2.0-only
// The payload's ELF file. One that is taken is loaded into memory of the size that it
// was checked against.
#include "kvm/payload.h"

#include <dyield_abi.h>

#include "fuzz/fuzz.h"

using namespace dyield;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static std::vector<std::byte> memory(DYIELD_IMAGE_END_GPA);
  fuzz::accepts([&] {
    const Payload payload = Payload::from_bytes(fuzz::bytes_of(data, size), "input");
    payload.load(memory);
    fuzz::require(payload.entry() < DYIELD_IMAGE_END_GPA, "a guest starts in its image");
  });
  return 0;
}
