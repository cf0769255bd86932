// SPDX-License-Identifier: GPL-2.0-only
#include "linux/cpuid.h"

#include <asm/kvm_para.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "base/error.h"

namespace dyield {
namespace {

constexpr std::uint32_t bit(unsigned n) {
  return 1u << n;
}

// Documentation/virt/kvm/x86/cpuid.rst
constexpr std::array kFeatures = {
    PvFeature{"clock",
              bit(KVM_FEATURE_CLOCKSOURCE) | bit(KVM_FEATURE_CLOCKSOURCE2) |
                  bit(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT),
              "kvm-clock"},
    PvFeature{"steal-time", bit(KVM_FEATURE_STEAL_TIME),
              "steal time, and whether a vCPU is preempted"},
    PvFeature{"eoi", bit(KVM_FEATURE_PV_EOI), "EOI without an exit"},
    PvFeature{"unhalt", bit(KVM_FEATURE_PV_UNHALT), "spin locks that halt"},
    PvFeature{"tlb-flush", bit(KVM_FEATURE_PV_TLB_FLUSH),
              "no shootdown IPI to a preempted vCPU (needs steal-time)"},
    PvFeature{"ipi", bit(KVM_FEATURE_PV_SEND_IPI), "IPIs by hypercall"},
    PvFeature{"sched-yield", bit(KVM_FEATURE_PV_SCHED_YIELD),
              "a yield by hypercall to a preempted receiver (needs steal-time)"},
    PvFeature{"async-pf", bit(KVM_FEATURE_ASYNC_PF) | bit(KVM_FEATURE_ASYNC_PF_INT),
              "asynchronous page faults"},
    PvFeature{"poll-control", bit(KVM_FEATURE_POLL_CONTROL), "the guest ends the host's polling"},
};

constexpr std::uint32_t kX2apic = bit(21), kTscDeadline = bit(24), kHypervisor = bit(31);
constexpr std::uint32_t kHtt = bit(28);  // leaf 1, EDX
// Level types of the topology leaves, bits 15:8 of ECX (Intel SDM volume 2, CPUID 0BH).
constexpr std::uint32_t kThreads = 1u << 8, kCores = 2u << 8;

bool is_topology(std::uint32_t leaf) {
  return leaf == 0xb || leaf == 0x1f || leaf == 0x80000026;
}

}  // namespace

std::span<const PvFeature> pv_features() {
  return kFeatures;
}

std::uint32_t pv_bits(const std::vector<std::string>& names) {
  std::uint32_t bits = 0;
  for (const std::string& name : names) {
    if (name == "all") return ~0u;
    const auto found = std::ranges::find(kFeatures, name, &PvFeature::name);
    if (found == kFeatures.end()) {
      throw Error(
          ExitCode::kUsage,
          fmt::format("There is no PV feature '{}'; `dyield run --help` names them.", name));
    }
    bits |= found->bits;
  }
  return bits;
}

const kvm_cpuid_entry2* find_leaf(const Cpuid& cpuid, std::uint32_t leaf) {
  const std::span entries(cpuid.entries, cpuid.nent);
  const auto found = std::ranges::find(entries, leaf, &kvm_cpuid_entry2::function);
  return found == entries.end() ? nullptr : &*found;
}

Cpuid guest_cpuid(const Cpuid& supported, std::uint32_t index, std::uint32_t vcpus,
                  bool tsc_deadline, bool xapic, std::uint32_t hidden_pv_bits) {
  Cpuid cpuid;
  cpuid.nent = 0;
  for (const kvm_cpuid_entry2& given : std::span(supported.entries, supported.nent)) {
    if (is_topology(given.function)) continue;
    kvm_cpuid_entry2& e = cpuid.entries[cpuid.nent++];
    e = given;
    switch (e.function) {
      case 1:
        // Initial APIC ID, logical processors.
        e.ebx = (e.ebx & 0xffff) | vcpus << 16 | index << 24;
        e.ecx |= kHypervisor | kX2apic | (tsc_deadline ? kTscDeadline : 0);
        if (xapic) e.ecx &= ~kX2apic;
        e.edx = vcpus > 1 ? e.edx | kHtt : e.edx & ~kHtt;
        break;
      case KVM_CPUID_FEATURES:
        e.eax &= ~hidden_pv_bits;
        break;
      case 0x80000008:
        // Width of the core's number in the APIC ID, cores less one (AMD64 manual volume 3, E.4.7).
        e.ecx = static_cast<std::uint32_t>(std::bit_width(vcpus - 1)) << 12 | (vcpus - 1);
        break;
      case 0x8000001e:
        e.eax = index;
        e.ebx = index & 0xff;  // one thread a core
        e.ecx = 0;
        break;
      default:
        break;
    }
  }
  const std::uint32_t shift = static_cast<std::uint32_t>(std::bit_width(vcpus - 1));
  const auto topology = [&](std::uint32_t subleaf, std::uint32_t eax, std::uint32_t ebx,
                            std::uint32_t type) {
    if (cpuid.nent >= std::size(cpuid.entries)) return;
    kvm_cpuid_entry2& e = cpuid.entries[cpuid.nent++];
    e = {};
    e.function = 0xb;
    e.index = subleaf;
    e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    e.eax = eax;
    e.ebx = ebx;
    e.ecx = type | subleaf;
    e.edx = index;
  };
  topology(0, 0, 1, kThreads);
  topology(1, shift, vcpus, kCores);
  topology(2, 0, 0, 0);
  return cpuid;
}

}  // namespace dyield
