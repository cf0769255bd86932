// SPDX-License-Identifier: GPL-2.0-only
// Result files, of either schema. One that is taken is written and read as the same.
#include "result/result.h"

#include "fuzz/fuzz.h"

using namespace dyield;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Result result;
  if (fuzz::accepts([&] { result = from_text(fuzz::text_of(data, size), "input"); })) {
    fuzz::require(from_text(to_text(result), "input") == result,
                  "a result reads as it was written");
  }
  return 0;
}
