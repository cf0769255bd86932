// SPDX-License-Identifier: GPL-2.0-only
// Records of /dev/kmsg, in which user space can write what it likes.
#include "cli/kernel_log.h"

#include "fuzz/fuzz.h"

using namespace dyield;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string lines = kernel_log_lines(fuzz::text_of(data, size));
  fuzz::require(lines.empty() || lines.back() == '\n', "a line ends");
  return 0;
}
