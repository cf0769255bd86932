// SPDX-License-Identifier: GPL-2.0-only
#include "linux/uart.h"

#include <algorithm>
#include <vector>

#include "base/printable.h"

namespace dyield {
namespace {

enum Register : std::uint16_t {
  kData = 0,    // transmitter; with DLAB, the divisor's low byte
  kIer = 1,     // interrupt enable; with DLAB, the divisor's high byte
  kIirFcr = 2,  // read: which interrupt; written: FIFO control
  kLcr = 3,
  kMcr = 4,
  kLsr = 5,
  kMsr = 6,
  kScratch = 7,
};
constexpr std::uint8_t kIerEmpty = 0x02, kLcrDlab = 0x80, kFcrEnable = 0x01;
constexpr std::uint8_t kIirNone = 0x01, kIirEmpty = 0x02, kIirFifo = 0xc0;
constexpr std::uint8_t kLsrEmpty = 0x60;                  // holding register and shifter
constexpr std::uint8_t kMsrReady = 0xb0;                  // CTS, DSR, DCD
constexpr std::uint8_t kMcrLoop = 0x10, kMcrOut2 = 0x08;  // OUT2 gates the interrupt of a PC
constexpr std::size_t kKept = 64 * 1024;

}  // namespace

// Sending takes no time, so the transmitter is empty again at once.
void Uart::write(std::uint16_t port, std::uint8_t value) {
  const std::lock_guard lock(mutex_);
  switch (port - kFirstPort) {
    case kData:
      if ((lcr_ & kLcrDlab) != 0) {
        divisor_[0] = value;
      } else if ((mcr_ & kMcrLoop) == 0) {
        if (text_.size() >= 2 * kKept) text_.erase(0, kKept);
        text_ += static_cast<char>(value);
        empty_pending_ = true;
      }
      break;
    case kIer:
      if ((lcr_ & kLcrDlab) != 0) {
        divisor_[1] = value;
        break;
      }
      // Asking for it while the transmitter is empty raises it.
      if ((value & ~ier_ & kIerEmpty) != 0) empty_pending_ = true;
      ier_ = value & 0x0f;
      break;
    case kIirFcr:
      fcr_ = value;
      break;
    case kLcr:
      lcr_ = value;
      break;
    case kMcr:
      mcr_ = value;
      break;
    case kScratch:
      scratch_ = value;
      break;
    default:
      break;
  }
  update();
}

std::uint8_t Uart::read(std::uint16_t port) {
  const std::lock_guard lock(mutex_);
  switch (port - kFirstPort) {
    case kData:
      return (lcr_ & kLcrDlab) != 0 ? divisor_[0] : 0;
    case kIer:
      return (lcr_ & kLcrDlab) != 0 ? divisor_[1] : ier_;
    case kIirFcr: {
      const bool pending = empty_pending_ && (ier_ & kIerEmpty) != 0;
      // Looking at it is what ends it.
      if (pending) empty_pending_ = false;
      update();
      return static_cast<std::uint8_t>((pending ? kIirEmpty : kIirNone) |
                                       ((fcr_ & kFcrEnable) != 0 ? kIirFifo : 0));
    }
    case kLcr:
      return lcr_;
    case kMcr:
      return mcr_;
    case kLsr:
      return kLsrEmpty;
    case kMsr:
      return kMsrReady;
    case kScratch:
      return scratch_;
    default:
      return 0xff;
  }
}

void Uart::update() {
  const bool level = empty_pending_ && (ier_ & kIerEmpty) != 0 && (mcr_ & kMcrOut2) != 0;
  if (level != level_) interrupt_(level);
  level_ = level;
}

std::string Uart::text() const {
  const std::lock_guard lock(mutex_);
  return text_;
}

std::string Uart::last_lines(std::size_t most) const {
  std::string all = text();
  std::erase(all, '\r');
  std::vector<std::string> lines;
  std::string line;
  for (const char c : printable_lines(all) + '\n') {
    if (c == '\n') {
      if (!line.empty()) lines.push_back(std::move(line));
      line.clear();
    } else {
      line += c;
    }
  }
  std::string joined;
  for (std::size_t i = lines.size() - std::min(most, lines.size()); i < lines.size(); i++)
    joined += (joined.empty() ? "" : " | ") + lines[i];
  return joined;
}

}  // namespace dyield
