// SPDX-License-Identifier: GPL-2.0-only
#include "linux/bzimage.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include "base/error.h"
#include "base/read_file.h"
#include "base/sha256.h"

namespace dyield {
namespace {

// Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
constexpr std::size_t kHeaderOffset = offsetof(boot_params, hdr);
constexpr std::size_t kSectorSize = 512;
constexpr std::uint16_t kBootFlag = 0xaa55;
constexpr std::uint32_t kMagic = 0x53726448;       // "HdrS"
constexpr std::uint16_t kOldestProtocol = 0x020c;  // first with xloadflags
// The header's own length: a jump's operand behind its magic number.
constexpr std::size_t kJumpOffset = 0x201, kAfterJump = 0x202;

[[noreturn]] void reject(const std::filesystem::path& file, const std::string& why) {
  throw Error(ExitCode::kUsage,
              fmt::format("The guest kernel {} cannot be used: {}; name a bzImage of an x86-64 "
                          "kernel with --guest-kernel (scripts/kernel build guest makes one).",
                          file.string(), why));
}

}  // namespace

std::vector<std::byte> read_guest_file(const std::filesystem::path& file, const char* what) {
  const auto text = read_file(file);
  if (!text || text->empty()) {
    throw Error(ExitCode::kUsage,
                fmt::format("Cannot read the {} \"{}\": {}; name another.", what, file.string(),
                            text ? "it is empty" : errno_text(errno)));
  }
  std::vector<std::byte> bytes(text->size());
  std::memcpy(bytes.data(), text->data(), text->size());
  return bytes;
}

BzImage BzImage::from_file(const std::filesystem::path& file) {
  return from_bytes(read_guest_file(file, "guest kernel"), file);
}

BzImage BzImage::from_bytes(std::vector<std::byte> bytes, const std::filesystem::path& file) {
  BzImage image;
  setup_header& header = image.header_;
  if (bytes.size() < kHeaderOffset + sizeof header) reject(file, "it ends before its header");
  std::memcpy(&header, bytes.data() + kHeaderOffset, sizeof header);
  if (header.boot_flag != kBootFlag || header.header != kMagic) reject(file, "it is no bzImage");
  if (header.version < kOldestProtocol) {
    reject(file, fmt::format("its boot protocol is {}.{}, and 2.12 is the first with a 64-bit "
                             "entry",
                             header.version >> 8, header.version & 0xff));
  }
  if ((header.xloadflags & XLF_KERNEL_64) == 0) reject(file, "it has no 64-bit entry");
  // What the file's header does not reach is of a later protocol.
  const std::size_t known =
      kAfterJump + std::to_integer<std::size_t>(bytes[kJumpOffset]) - kHeaderOffset;
  if (known < offsetof(setup_header, handover_offset)) reject(file, "its header is too short");
  if (known < sizeof header) {
    std::memset(reinterpret_cast<std::byte*>(&header) + known, 0, sizeof header - known);
  }
  // 0 means 4, for old kernels.
  const std::size_t sectors = header.setup_sects == 0 ? 4 : header.setup_sects;
  image.kernel_offset_ = (sectors + 1) * kSectorSize;
  // In units of 16 bytes; what follows is a signature.
  image.kernel_size_ = std::size_t{header.syssize} * 16;
  if (image.kernel_offset_ > bytes.size() ||
      image.kernel_size_ > bytes.size() - image.kernel_offset_) {
    reject(file, fmt::format("it has {} bytes where its header announces {}", bytes.size(),
                             image.kernel_offset_ + image.kernel_size_));
  }
  if (image.kernel_size_ <= kSectorSize || image.kernel_size_ > header.init_size ||
      header.pref_address < 0x100000 || header.pref_address > 1ULL << 30 ||
      header.pref_address % 4096 != 0) {
    reject(file, fmt::format("its header asks for {} bytes at {:#x}, which makes no sense",
                             std::uint32_t{header.init_size}, std::uint64_t{header.pref_address}));
  }
  image.hash_ = sha256(bytes);
  image.bytes_ = std::move(bytes);
  return image;
}

}  // namespace dyield
