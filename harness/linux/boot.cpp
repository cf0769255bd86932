// SPDX-License-Identifier: GPL-2.0-only
#include "linux/boot.h"

#include <asm/bootparam.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string_view>

#include "base/error.h"

namespace dyield {
namespace {

// Guest physical layout below the kernel. The pages that the kernel takes over
// as it starts are RAM in its map; it copies what it needs.
constexpr std::uint64_t kGdt = 0x500;
constexpr std::uint64_t kBootParams = 0x7000;
constexpr std::uint64_t kStackEnd = 0x9000;
constexpr std::uint64_t kPml4 = 0x9000, kPdpt = 0xa000, kPd = 0xb000;  // 4 directories
constexpr std::uint64_t kCommandLine = 0x20000;
constexpr std::uint64_t kCommandLineEnd = 0x30000;
constexpr std::uint64_t kLowMemoryEnd = 0x9fc00;
// Where a BIOS is; the kernel looks for the MP table there, at each 16 bytes.
constexpr std::uint64_t kBios = 0xf0000, kHighMemory = 0x100000;
constexpr std::uint64_t kLargePage = 0x200000, kPage = 0x1000;

// boot.rst, "64-bit Boot Protocol": the entry, and __BOOT_CS and __BOOT_DS.
constexpr std::uint64_t kEntry64 = 0x200;
constexpr std::uint16_t kBootCs = 0x10, kBootDs = 0x18;
constexpr std::uint64_t kCodeDescriptor = 0x00af9b000000ffff, kDataDescriptor = 0x00cf93000000ffff;

constexpr std::uint64_t kPresentWrite = 0x3, kPageSizeBit = 0x80;

constexpr std::uint32_t kRam = 1, kReserved = 2;  // e820 types

constexpr std::uint32_t kLocalApic = 0xfee00000, kIoApic = 0xfec00000;

template <typename T>
T* at(std::span<std::byte> memory, std::uint64_t gpa) {
  return reinterpret_cast<T*>(memory.subspan(gpa, sizeof(T)).data());
}

// Appends a table's fields, little endian and unpadded.
class Table {
 public:
  template <typename T>
  void put(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof value);
  }
  void bytes(std::initializer_list<unsigned> values) {
    for (const unsigned value : values) bytes_.push_back(static_cast<std::byte>(value));
  }
  void text(std::string_view value, std::size_t width) {
    for (std::size_t i = 0; i < width; i++)
      bytes_.push_back(static_cast<std::byte>(i < value.size() ? value[i] : ' '));
  }
  // Makes the sum of all bytes 0 by the one at `offset`.
  void check(std::size_t offset) {
    unsigned sum = 0;
    for (const std::byte byte : bytes_) sum += std::to_integer<unsigned>(byte);
    bytes_[offset] = static_cast<std::byte>(std::to_integer<unsigned>(bytes_[offset]) - sum);
  }
  void set16(std::size_t offset, std::uint16_t value) {
    std::memcpy(bytes_.data() + offset, &value, sizeof value);
  }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  void copy_to(std::span<std::byte> place) const { std::ranges::copy(bytes_, place.begin()); }

 private:
  std::vector<std::byte> bytes_;
};

// The floating pointer, and behind it the configuration table.
void write_mp_table(std::span<std::byte> memory, std::uint32_t vcpus, const MpCpu& cpu) {
  constexpr std::uint64_t kTable = kBios + 16;
  Table pointer;
  pointer.text("_MP_", 4);
  pointer.put(static_cast<std::uint32_t>(kTable));
  pointer.bytes({1, 4, 0, 0, 0, 0, 0, 0});  // paragraphs, revision 1.4, sum, features
  pointer.check(10);
  pointer.copy_to(memory.subspan(kBios, pointer.size()));

  // APIC IDs are the vCPUs' indices, the I/O APIC's is the next one.
  const std::uint32_t ioapic = vcpus;
  constexpr unsigned kLines = 16;
  Table table;
  table.text("PCMP", 4);
  table.bytes({0, 0, 4, 0});  // length, revision, sum
  table.text("DYIELD", 8);
  table.text("LINUX GUEST", 12);
  table.put(std::uint32_t{0});
  table.put(std::uint16_t{0});
  const std::size_t count_offset = table.size();
  table.put(std::uint16_t{0});
  table.put(kLocalApic);
  table.put(std::uint32_t{0});
  for (std::uint32_t i = 0; i < vcpus; i++) {
    table.bytes({0, i, 0x14, 1u | (i == 0 ? 2u : 0u)});  // enabled, the boot CPU
    table.put(cpu.signature);
    table.put(cpu.features);
    table.put(std::uint64_t{0});
  }
  table.bytes({1, 0});
  table.text("ISA", 6);
  table.bytes({2, ioapic, 0x11, 1});
  table.put(kIoApic);
  for (unsigned line = 0; line < kLines; line++) {
    if (line != 2) table.bytes({3, 0, 0, 0, 0, line, ioapic, line});  // 2 is the second PIC
  }
  table.bytes({4, 3, 0, 0, 0, 0, 0xff, 0});  // the PIC at LINT0 of all
  table.bytes({4, 1, 0, 0, 0, 0, 0xff, 1});  // NMI at LINT1
  table.set16(4, static_cast<std::uint16_t>(table.size()));
  table.set16(count_offset, static_cast<std::uint16_t>(vcpus + 1 + 1 + kLines - 1 + 2));
  table.check(7);
  table.copy_to(memory.subspan(kTable, table.size()));
}

void write_page_tables(std::span<std::byte> memory) {
  const auto table = [&](std::uint64_t gpa) { return at<std::uint64_t>(memory, gpa); };
  table(kPml4)[0] = kPdpt | kPresentWrite;
  for (std::uint64_t i = 0; i < 4; i++) table(kPdpt)[i] = (kPd + i * kPage) | kPresentWrite;
  for (std::uint64_t i = 0; i < 4 * 512; i++)
    table(kPd)[i] = i * kLargePage | kPresentWrite | kPageSizeBit;
  table(kGdt)[kBootCs / 8] = kCodeDescriptor;
  table(kGdt)[kBootDs / 8] = kDataDescriptor;
}

}  // namespace

VcpuEntry load_linux(std::span<std::byte> memory, const BzImage& image,
                     std::span<const std::byte> initramfs, const std::string& command_line,
                     std::uint32_t vcpus, const MpCpu& cpu) {
  const setup_header& header = image.header();
  // As high as the kernel can take it.
  const std::uint64_t top =
      std::min<std::uint64_t>(memory.size(), std::uint64_t{header.initrd_addr_max} + 1);
  const std::uint64_t size = (initramfs.size() + kPage - 1) / kPage * kPage;
  if (image.end() > memory.size() || top < size || top - size < image.end()) {
    throw Error(ExitCode::kUsage,
                fmt::format("The Linux guest's memory of {} MiB is too little: the kernel needs "
                            "all up to {} MiB, the initramfs {} MiB behind it, and Linux some to "
                            "work with; raise --guest-memory.",
                            memory.size() >> 20, (image.end() >> 20) + 1, (size >> 20) + 1));
  }
  const std::uint64_t limit =
      std::min<std::uint64_t>(header.cmdline_size, kCommandLineEnd - kCommandLine - 1);
  if (command_line.size() > limit) {
    throw Error(ExitCode::kUsage,
                fmt::format("The guest kernel's command line has {} characters and this kernel "
                            "takes {}; shorten --guest-append.",
                            command_line.size(), limit));
  }
  const std::uint64_t initramfs_gpa = (top - size) / kPage * kPage;
  std::ranges::copy(image.kernel(), memory.subspan(header.pref_address).begin());
  std::ranges::copy(initramfs, memory.subspan(initramfs_gpa).begin());
  std::memcpy(memory.data() + kCommandLine, command_line.c_str(), command_line.size() + 1);

  boot_params params{};
  params.hdr = header;
  params.hdr.type_of_loader = 0xff;  // none of those registered
  params.hdr.vid_mode = 0xffff;      // "normal"
  params.hdr.code32_start = static_cast<std::uint32_t>(header.pref_address);
  params.hdr.cmd_line_ptr = kCommandLine;
  params.hdr.ramdisk_image = static_cast<std::uint32_t>(initramfs_gpa);
  params.hdr.ramdisk_size = static_cast<std::uint32_t>(initramfs.size());
  const auto map = [&](std::uint64_t begin, std::uint64_t end, std::uint32_t type) {
    boot_e820_entry& entry = params.e820_table[params.e820_entries++];
    entry.addr = begin;
    entry.size = end - begin;
    entry.type = type;
  };
  map(0, kLowMemoryEnd, kRam);
  map(kBios, kHighMemory, kReserved);
  map(kHighMemory, memory.size(), kRam);
  map(DYIELD_LINUX_SHARED_GPA, DYIELD_LINUX_SHARED_GPA + sizeof(dyield_shared), kReserved);
  std::memcpy(memory.data() + kBootParams, &params, sizeof params);

  write_mp_table(memory, vcpus, cpu);
  write_page_tables(memory);

  VcpuEntry entry;
  entry.rip = header.pref_address + kEntry64;
  entry.rsi = kBootParams;
  entry.rsp = kStackEnd;
  entry.cr3 = kPml4;
  entry.code_selector = kBootCs;
  entry.data_selector = kBootDs;
  entry.gdt = kGdt;
  entry.gdt_limit = kBootDs + 7;
  return entry;
}

}  // namespace dyield
