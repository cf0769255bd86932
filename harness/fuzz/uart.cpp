// SPDX-License-Identifier: GPL-2.0-only
// What a guest does to its serial port: each byte of the input pair is an access.
#include "linux/uart.h"

#include "fuzz/fuzz.h"

using namespace dyield;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bool line = false;
  Uart uart([&](bool level) {
    fuzz::require(level != line, "the interrupt line is told of changes");
    line = level;
  });
  for (std::size_t i = 0; i + 1 < size; i += 2) {
    const auto port = static_cast<std::uint16_t>(Uart::kFirstPort + data[i] % Uart::kPorts);
    if ((data[i] & 0x80) != 0) {
      uart.write(port, data[i + 1]);
    } else {
      uart.read(port);
    }
  }
  fuzz::require(uart.last_lines(3).size() <= uart.text().size() + 2 * 3, "lines are of the text");
  return 0;
}
