// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kvm/vm.h"
#include "linux/bzimage.h"

namespace dyield {

// What the MP table says of a CPU: CPUID leaf 1, EAX and EDX.
struct MpCpu {
  std::uint32_t signature = 0, features = 0;
};

// Everything that firmware and boot loader would have left in guest memory:
// kernel, initramfs, command line, struct boot_params with the memory map, the
// CPUs' table (Intel MultiProcessor Specification 1.4, chapter 4), page tables
// and GDT. `memory` begins at GPA 0; besides it, the guest has struct
// dyield_shared, which the map calls reserved. Throws Error (kUsage) if memory
// or the kernel's limits do not suffice. Returns where the first vCPU starts.
VcpuEntry load_linux(std::span<std::byte> memory, const BzImage& image,
                     std::span<const std::byte> initramfs, const std::string& command_line,
                     std::uint32_t vcpus, const MpCpu& cpu);

}  // namespace dyield
