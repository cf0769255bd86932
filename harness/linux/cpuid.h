// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvm/vm.h"

namespace dyield {

// A paravirtual feature of KVM that a Linux guest can be shown or not.
struct PvFeature {
  std::string_view name;
  std::uint32_t bits;  // of CPUID leaf 0x40000001, EAX
  std::string_view text;
};
std::span<const PvFeature> pv_features();
// The bits of those named; "all" is all of KVM's leaf. Throws Error (kUsage).
std::uint32_t pv_bits(const std::vector<std::string>& names);

// What CPUID says to one vCPU of a Linux guest: what KVM supports, with its own
// APIC ID, one package of single-threaded cores, TSC-deadline timer if
// `tsc_deadline`, without x2APIC if `xapic` and without the hidden PV features.
Cpuid guest_cpuid(const Cpuid& supported, std::uint32_t index, std::uint32_t vcpus,
                  bool tsc_deadline, bool xapic, std::uint32_t hidden_pv_bits);

// The entry of a leaf (of its subleaf 0), or nullptr.
const kvm_cpuid_entry2* find_leaf(const Cpuid& cpuid, std::uint32_t leaf);

}  // namespace dyield
