// SPDX-License-Identifier: GPL-2.0-only
#include "linux/bzimage.h"

#include <gmock/gmock.h>

#include <random>

#include "base/error.h"
#include "linux/test_image.h"

namespace dyield {
namespace {

using testing::HasSubstr;

void expect_rejected(std::vector<std::byte> bytes, const std::string& why) {
  try {
    BzImage::from_bytes(std::move(bytes), "k");
    ADD_FAILURE() << "accepted; expected: " << why;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("kernel k "), HasSubstr(why)));
  }
}

template <typename T>
std::vector<std::byte> with(std::size_t offset, T value) {
  auto bytes = make_bzimage();
  std::memcpy(bytes.data() + offsetof(boot_params, hdr) + offset, &value, sizeof value);
  return bytes;
}

TEST(BzImage, FindsTheKernelBehindTheSetupSectors) {
  const BzImage image = BzImage::from_bytes(make_bzimage(), "k");
  ASSERT_EQ(image.kernel().size(), 4096u);
  EXPECT_EQ(image.kernel()[5], std::byte{5});
  EXPECT_EQ(image.end(), 0x1100000u);
  EXPECT_EQ(image.hash().size(), 64u);
}

TEST(BzImage, NamesWhatIsWrong) {
  expect_rejected(std::vector<std::byte>(100), "ends before its header");
  expect_rejected(std::vector<std::byte>(100000), "is no bzImage");
  expect_rejected(with(offsetof(setup_header, version), std::uint16_t{0x0206}), "protocol is 2.6");
  expect_rejected(with(offsetof(setup_header, xloadflags), std::uint16_t{0}), "no 64-bit entry");
  expect_rejected(with(offsetof(setup_header, syssize), 1000u), "its header announces");
  expect_rejected(with(offsetof(setup_header, pref_address), std::uint64_t{1} << 40),
                  "makes no sense");
  expect_rejected(with(offsetof(setup_header, init_size), 16u), "makes no sense");
}

TEST(BzImage, AFileThatWasCutAnywhereIsRejected) {
  const auto whole = make_bzimage();
  for (std::size_t size = 0; size < whole.size(); size += 97)
    EXPECT_THROW(BzImage::from_bytes({whole.begin(), whole.begin() + static_cast<long>(size)}, "k"),
                 Error)
        << size;
}

TEST(BzImage, DamageIsRejectedOrStaysWithinTheFile) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; round++) {
    auto bytes = make_bzimage();
    for (int i = 0; i < 3; i++) bytes[0x1f1 + random() % 0x90] = static_cast<std::byte>(random());
    try {
      const BzImage image = BzImage::from_bytes(bytes, "k");
      EXPECT_LE(image.kernel().size(), bytes.size());
      EXPECT_LE(image.kernel().size(), image.header().init_size);
    } catch (const Error&) {
    }
  }
}

TEST(GuestFile, SaysWhyItCannotBeRead) {
  for (const char* file : {"/nonexistent/file", "/proc", "/dev/null"}) {
    try {
      read_guest_file(file, "thing");
      ADD_FAILURE() << file;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("thing"), HasSubstr(file)));
    }
  }
}

}  // namespace
}  // namespace dyield
