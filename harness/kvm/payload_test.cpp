// SPDX-License-Identifier: GPL-2.0-only
#include "kvm/payload.h"

#include <elf.h>
#include <gmock/gmock.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "dyield_abi.h"

namespace dyield {
namespace {

std::vector<std::byte> payload_bytes() {
  std::ifstream stream(DYIELD_PAYLOAD, std::ios::binary);
  const std::vector<char> text{std::istreambuf_iterator<char>(stream), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

Elf64_Phdr* first_segment(std::vector<std::byte>& bytes) {
  auto* header = reinterpret_cast<Elf64_Ehdr*>(bytes.data());
  return reinterpret_cast<Elf64_Phdr*>(bytes.data() + header->e_phoff);
}

void expect_rejected(std::vector<std::byte> bytes, const std::string& why) {
  try {
    Payload::from_bytes(std::move(bytes), "some.elf");
    ADD_FAILURE() << "accepted; expected: " << why;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("some.elf"), testing::HasSubstr(why)));
  }
}

TEST(Payload, TheBuiltImageLoadsWithItsEntryPointInPlace) {
  const Payload payload = Payload::from_bytes(payload_bytes(), "payload.elf");
  std::vector<std::byte> memory(DYIELD_MEMORY_SIZE, std::byte{0xcc});
  payload.load(memory);
  EXPECT_GE(payload.entry(), DYIELD_IMAGE_GPA);
  EXPECT_NE(memory[payload.entry()], std::byte{0xcc});
  // Nothing outside the image's place is touched: page tables, shared structure.
  EXPECT_EQ(memory[DYIELD_IMAGE_GPA - 1], std::byte{0xcc});
  EXPECT_EQ(memory[DYIELD_SHARED_GPA], std::byte{0xcc});
}

TEST(Payload, EveryTruncationIsRejectedOrHarmless) {
  const auto whole = payload_bytes();
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(whole.data());
  const std::size_t headers_end = header->e_phoff + header->e_phnum * sizeof(Elf64_Phdr);
  for (std::size_t size = 0; size < headers_end; size++) {
    EXPECT_THROW(Payload::from_bytes({whole.begin(), whole.begin() + static_cast<long>(size)}, "x"),
                 Error)
        << size;
  }
}

TEST(Payload, ASegmentOutsideItsPlaceIsRejected) {
  for (const std::uint64_t gpa :
       {std::uint64_t{0}, std::uint64_t{DYIELD_SHARED_GPA}, ~std::uint64_t{0}}) {
    auto bytes = payload_bytes();
    first_segment(bytes)->p_paddr = gpa;
    expect_rejected(bytes, "leaves the image's place");
  }
  auto bytes = payload_bytes();
  first_segment(bytes)->p_memsz = ~std::uint64_t{0};
  expect_rejected(bytes, "leaves the image's place");
}

TEST(Payload, ASegmentBeyondTheFileIsRejected) {
  auto bytes = payload_bytes();
  first_segment(bytes)->p_offset = ~std::uint64_t{0} - 16;
  expect_rejected(bytes, "ends before its segments");
}

TEST(Payload, AnEntryPointOutsideTheSegmentsIsRejected) {
  auto bytes = payload_bytes();
  reinterpret_cast<Elf64_Ehdr*>(bytes.data())->e_entry = 0x10;
  expect_rejected(bytes, "entry point");
}

TEST(Payload, AnotherKindOfFileIsRejected) {
  expect_rejected(std::vector<std::byte>(4096), "no ELF64");
}

TEST(Payload, AMissingFileIsNamed) {
  try {
    Payload::from_file("/nonexistent/payload.elf");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("/nonexistent/payload.elf"));
  }
}

}  // namespace
}  // namespace dyield
