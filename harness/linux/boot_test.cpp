// SPDX-License-Identifier: GPL-2.0-only
#include "linux/boot.h"

#include <gmock/gmock.h>

#include <numeric>

#include "base/error.h"
#include "linux/test_image.h"

namespace dyield {
namespace {

using testing::HasSubstr;

constexpr std::size_t kMemory = 32 << 20;

struct Loaded {
  std::vector<std::byte> memory = std::vector<std::byte>(kMemory);
  BzImage image = BzImage::from_bytes(make_bzimage(), "k");
  std::vector<std::byte> initramfs = std::vector<std::byte>(5000, std::byte{0x5a});
  VcpuEntry entry;

  explicit Loaded(std::uint32_t vcpus)
      : entry(load_linux(memory, image, initramfs, "a=b", vcpus, {0x123, 0x456})) {}
  [[nodiscard]] const boot_params& params() const {
    return *reinterpret_cast<const boot_params*>(memory.data() + entry.rsi);
  }
  [[nodiscard]] unsigned sum(std::size_t begin, std::size_t size) const {
    return std::accumulate(
        memory.data() + begin, memory.data() + begin + size, 0u,
        [](unsigned all, std::byte b) { return (all + std::to_integer<unsigned>(b)) & 0xff; });
  }
  template <typename T>
  [[nodiscard]] T at(std::size_t gpa) const {
    T value;
    std::memcpy(&value, memory.data() + gpa, sizeof value);
    return value;
  }
};

TEST(Boot, KernelInitramfsAndCommandLineAreWhereTheKernelIsTold) {
  const Loaded guest(4);
  const setup_header& header = guest.params().hdr;
  EXPECT_EQ(guest.entry.rip, 0x1000200u);
  EXPECT_EQ(guest.memory[0x1000005], std::byte{5});
  EXPECT_EQ(header.ramdisk_size, 5000u);
  EXPECT_EQ(header.ramdisk_image % 4096, 0u);
  EXPECT_GE(header.ramdisk_image, guest.image.end());
  EXPECT_EQ(guest.memory[header.ramdisk_image + 4999], std::byte{0x5a});
  EXPECT_STREQ(reinterpret_cast<const char*>(guest.memory.data() + header.cmd_line_ptr), "a=b");
}

TEST(Boot, TheMemoryMapCoversTheSharedStructureAndHasNoOverlaps) {
  const Loaded guest(2);
  std::uint64_t end = 0;
  bool shared = false;
  for (int i = 0; i < guest.params().e820_entries; i++) {
    const boot_e820_entry& e = guest.params().e820_table[i];
    EXPECT_GE(e.addr, end);
    end = e.addr + e.size;
    if (e.addr == DYIELD_LINUX_SHARED_GPA) {
      shared = e.type == 2 && e.size == sizeof(dyield_shared);
    } else if (e.type == 1) {
      EXPECT_LE(end, kMemory);
    }
  }
  EXPECT_TRUE(shared);
}

TEST(Boot, TheMpTableNamesEveryCpuOnceAndItsSumsAreZero) {
  for (const std::uint32_t vcpus : {1u, 2u, 4u, 63u, 64u}) {
    const Loaded guest(vcpus);
    EXPECT_EQ(guest.at<std::uint32_t>(0xf0000), 0x5f504d5fu);  // "_MP_"
    EXPECT_EQ(guest.sum(0xf0000, 16), 0u);
    const std::size_t table = guest.at<std::uint32_t>(0xf0004);
    const std::size_t length = guest.at<std::uint16_t>(table + 4);
    EXPECT_EQ(guest.sum(table, length), 0u) << vcpus;
    std::size_t at = table + 44, entries = 0, boot_cpus = 0;
    std::vector<unsigned> ids;
    for (; at < table + length; entries++) {
      const auto type = std::to_integer<unsigned>(guest.memory[at]);
      ASSERT_LE(type, 4u);
      if (type == 0) {
        ids.push_back(std::to_integer<unsigned>(guest.memory[at + 1]));
        boot_cpus += std::to_integer<unsigned>(guest.memory[at + 3]) >> 1 & 1;
      } else if (type == 2) {
        ids.push_back(std::to_integer<unsigned>(guest.memory[at + 1]));
      }
      at += type == 0 ? 20 : 8;
    }
    EXPECT_EQ(at, table + length);
    EXPECT_EQ(entries, guest.at<std::uint16_t>(table + 34));
    EXPECT_EQ(boot_cpus, 1u);
    std::vector<unsigned> all(vcpus + 1);  // and the I/O APIC
    std::iota(all.begin(), all.end(), 0u);
    EXPECT_EQ(ids, all);
  }
}

TEST(Boot, ThePageTablesMapOneToOneWhatTheProtocolAsksFor) {
  const Loaded guest(2);
  const std::uint64_t addresses[] = {guest.entry.rip, guest.entry.rsi, guest.entry.rsp - 8,
                                     guest.params().hdr.cmd_line_ptr, guest.image.end() - 1};
  for (const std::uint64_t address : addresses) {
    const auto pml4 = guest.at<std::uint64_t>(guest.entry.cr3 + (address >> 39) * 8);
    const auto pdpt = guest.at<std::uint64_t>((pml4 & ~0xfffULL) + (address >> 30 & 511) * 8);
    const auto pd = guest.at<std::uint64_t>((pdpt & ~0xfffULL) + (address >> 21 & 511) * 8);
    EXPECT_EQ(pml4 & 3, 3u);
    EXPECT_EQ(pdpt & 3, 3u);
    EXPECT_EQ(pd, (address & ~0x1fffffULL) | 0x83);
  }
}

void expect_refused(std::size_t memory, std::size_t initramfs, std::size_t command_line,
                    const std::string& why) {
  std::vector<std::byte> bytes(memory);
  try {
    load_linux(bytes, BzImage::from_bytes(make_bzimage(), "k"), std::vector<std::byte>(initramfs),
               std::string(command_line, 'x'), 2, {});
    ADD_FAILURE() << why;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), HasSubstr(why));
  }
}

TEST(Boot, TooLittleMemoryAndTooLongACommandLineAreRefused) {
  expect_refused(16 << 20, 10, 1, "raise --guest-memory");
  expect_refused(18 << 20, 2 << 20, 1, "raise --guest-memory");
  expect_refused(kMemory, 10, 3000, "shorten --guest-append");
}

}  // namespace
}  // namespace dyield
