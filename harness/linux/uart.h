// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

namespace dyield {

// The transmitting half of a 16550A serial port, as Linux's 8250 driver uses it
// (PC16550D data sheet, chapter 8): what it sends is kept, it never receives.
// All of it may be called by any thread.
class Uart {
 public:
  static constexpr std::uint16_t kFirstPort = 0x3f8, kPorts = 8;

  // `interrupt` sets the level of the interrupt line.
  explicit Uart(std::function<void(bool)> interrupt) : interrupt_(std::move(interrupt)) {}

  void write(std::uint16_t port, std::uint8_t value);
  std::uint8_t read(std::uint16_t port);

  // The last lines sent, at most so many and complete or not, joined with " | ".
  [[nodiscard]] std::string last_lines(std::size_t most) const;
  // All that is kept of what was sent: the last 64 KiB at least.
  [[nodiscard]] std::string text() const;

 private:
  void update();

  mutable std::mutex mutex_;
  std::function<void(bool)> interrupt_;
  std::uint8_t ier_ = 0, lcr_ = 0, mcr_ = 0, fcr_ = 0, scratch_ = 0;
  std::uint8_t divisor_[2] = {};
  bool empty_pending_ = false;  // the transmitter became empty, and nobody has looked
  bool level_ = false;
  std::string text_;
};

}  // namespace dyield
