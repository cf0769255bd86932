// SPDX-License-Identifier: GPL-2.0-only
#include "linux/uart.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace dyield {
namespace {

struct Port {
  std::vector<bool> levels;
  Uart uart{[this](bool level) { levels.push_back(level); }};

  void out(int reg, int value) {
    uart.write(static_cast<std::uint16_t>(0x3f8 + reg), static_cast<std::uint8_t>(value));
  }
  int in(int reg) { return uart.read(static_cast<std::uint16_t>(0x3f8 + reg)); }
  void send(std::string_view text) {
    for (const char c : text) out(0, c);
  }
};

TEST(Uart, KeepsWhatIsSentAndNotTheDivisor) {
  Port port;
  port.out(3, 0x80);
  port.out(0, 1);
  port.out(1, 2);
  EXPECT_EQ(port.in(0), 1);
  EXPECT_EQ(port.in(1), 2);
  port.out(3, 3);
  port.send("hello");
  EXPECT_EQ(port.uart.text(), "hello");
  EXPECT_TRUE(port.levels.empty());
}

TEST(Uart, InterruptsForEachSendUntilSomebodyLooks) {
  Port port;
  port.out(4, 0x08);
  port.out(1, 0x02);
  EXPECT_EQ(port.in(2) & 0x0f, 0x02);  // empty from the start
  EXPECT_EQ(port.in(2) & 0x0f, 0x01);
  port.send("x");
  EXPECT_EQ(port.in(2) & 0x0f, 0x02);
  EXPECT_EQ(port.in(2) & 0x0f, 0x01);
  EXPECT_EQ(port.levels, (std::vector{true, false, true, false}));
  port.out(1, 0);
  port.send("y");
  EXPECT_EQ(port.levels.size(), 4u);
}

TEST(Uart, LooksLikeA16550AToTheDriversProbe) {
  Port port;
  port.out(1, 0x0f);
  EXPECT_EQ(port.in(1), 0x0f);
  port.out(1, 0);
  port.out(7, 0xa5);
  EXPECT_EQ(port.in(7), 0xa5);
  port.out(2, 0x01);
  EXPECT_EQ(port.in(2) & 0xc0, 0xc0);
  EXPECT_EQ(port.in(5) & 0x60, 0x60);
}

TEST(Uart, TheLastLinesAreOneLine) {
  Port port;
  EXPECT_EQ(port.uart.last_lines(3), "");
  port.send("one\r\ntwo\r\n\r\nthree\r\nfi\tve");
  EXPECT_EQ(port.uart.last_lines(2), "three | fi ve");
  EXPECT_EQ(port.uart.last_lines(9), "one | two | three | fi ve");
}

TEST(Uart, TheLastLinesHoldNoEscapeSequences) {
  Port port;
  port.send(
      "a\x1b[2Jb\x9b"
      "c\x7f"
      "d");
  EXPECT_EQ(port.uart.last_lines(1), "a [2Jb c d");
}

TEST(Uart, AGuestThatNeverStopsTalkingFillsNoMemory) {
  Port port;
  for (int i = 0; i < 500000; i++) port.out(0, 'a' + i % 26);
  EXPECT_LE(port.uart.text().size(), 128u * 1024);
  EXPECT_GE(port.uart.text().size(), 64u * 1024);
}

}  // namespace
}  // namespace dyield
