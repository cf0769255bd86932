// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <asm/bootparam.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace dyield {

// The smallest file that BzImage takes: one setup sector behind the first, then
// `kernel` bytes that count up.
inline std::vector<std::byte> make_bzimage(std::size_t kernel = 4096) {
  std::vector<std::byte> bytes(2 * 512 + kernel);
  setup_header header{};
  header.setup_sects = 1;
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;
  header.version = 0x020f;
  header.xloadflags = XLF_KERNEL_64;
  header.syssize = static_cast<std::uint32_t>(kernel / 16);
  header.pref_address = 0x1000000;
  header.init_size = 0x100000;
  header.initrd_addr_max = 0x7fffffff;
  header.cmdline_size = 2047;
  std::memcpy(bytes.data() + offsetof(boot_params, hdr), &header, sizeof header);
  // The header's length: from 0x202 to its end.
  bytes[0x201] = static_cast<std::byte>(offsetof(boot_params, hdr) + sizeof header - 0x202);
  for (std::size_t i = 0; i < kernel; i++) bytes[1024 + i] = static_cast<std::byte>(i);
  return bytes;
}

}  // namespace dyield
