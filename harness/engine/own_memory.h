// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace dyield {

// Bytes of the mapping that are in memory (mincore(2)). `memory` begins on a page.
// Absent if the kernel refuses.
std::optional<std::uint64_t> resident_bytes(std::span<const std::byte> memory);

// Resident bytes of this process (VmRSS of /proc/self/status); absent if unreadable.
std::optional<std::uint64_t> process_resident_bytes();

}  // namespace dyield
