// SPDX-License-Identifier: GPL-2.0-only
#include "linux/cpuid.h"

#include <asm/kvm_para.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace dyield {
namespace {

Cpuid host() {
  Cpuid cpuid;
  cpuid.nent = 0;
  for (const std::uint32_t leaf :
       {0u, 1u, 0xbu, 0xbu, 0x1fu, 0x40000001u, 0x80000008u, 0x8000001eu, 0x80000026u}) {
    kvm_cpuid_entry2& e = cpuid.entries[cpuid.nent++];
    e = {};
    e.function = leaf;
    e.eax = e.ebx = e.ecx = e.edx = 0x00ffffff;
  }
  return cpuid;
}

TEST(GuestCpuid, EveryVcpuHasItsOwnApicIdEverywhere) {
  for (std::uint32_t i = 0; i < 4; i++) {
    const Cpuid cpuid = guest_cpuid(host(), i, 4, true, false, 0);
    EXPECT_EQ(find_leaf(cpuid, 1)->ebx >> 24, i);
    EXPECT_EQ(find_leaf(cpuid, 1)->ebx >> 16 & 0xff, 4u);
    EXPECT_EQ(find_leaf(cpuid, 0x8000001e)->eax, i);
    EXPECT_EQ(find_leaf(cpuid, 0x80000008)->ecx, 2u << 12 | 3u);
    const std::span entries(cpuid.entries, cpuid.nent);
    EXPECT_EQ(std::ranges::count(entries, 0xbu, &kvm_cpuid_entry2::function), 3);
    for (const kvm_cpuid_entry2& e : entries) {
      if (e.function == 0xb) {
        EXPECT_EQ(e.edx, i);
      }
    }
    EXPECT_EQ(find_leaf(cpuid, 0x1f), nullptr);
    EXPECT_EQ(find_leaf(cpuid, 0x80000026), nullptr);
  }
}

TEST(GuestCpuid, EachPvFeatureIsHiddenAlone) {
  std::uint32_t all = 0;
  for (const PvFeature& feature : pv_features()) {
    EXPECT_EQ(all & feature.bits, 0u) << feature.name;
    all |= feature.bits;
    const std::uint32_t bits = pv_bits({std::string(feature.name)});
    const Cpuid cpuid = guest_cpuid(host(), 0, 2, true, false, bits);
    EXPECT_EQ(find_leaf(cpuid, KVM_CPUID_FEATURES)->eax, 0x00ffffffu & ~feature.bits);
  }
  EXPECT_EQ(
      find_leaf(guest_cpuid(host(), 0, 2, true, false, pv_bits({"ipi", "all"})), KVM_CPUID_FEATURES)
          ->eax,
      0u);
  EXPECT_THROW(pv_bits({"nonsense"}), Error);
}

TEST(GuestCpuid, XapicHidesX2apicAndNothingElse) {
  const auto ecx = [](bool deadline, bool xapic) {
    return find_leaf(guest_cpuid(host(), 0, 2, deadline, xapic, 0), 1)->ecx;
  };
  EXPECT_EQ(ecx(true, false) ^ ecx(true, true), 1u << 21);
  EXPECT_EQ(ecx(true, false) ^ ecx(false, false), 1u << 24);
  EXPECT_NE(ecx(true, false) & 1u << 31, 0u);
}

}  // namespace
}  // namespace dyield
