// SPDX-License-Identifier: GPL-2.0-only
#include "engine/own_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/read_file.h"

namespace dyield {

std::optional<std::uint64_t> resident_bytes(std::span<const std::byte> memory) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((memory.size() + page - 1) / page);
  if (::mincore(const_cast<std::byte*>(memory.data()), memory.size(), pages.data()) != 0) {
    return std::nullopt;
  }
  const auto resident = std::ranges::count_if(pages, [](unsigned char p) { return (p & 1) != 0; });
  return static_cast<std::uint64_t>(resident) * page;
}

std::optional<std::uint64_t> process_resident_bytes() {
  const std::string resident = first_field("/proc/self/status", "VmRSS:");  // "123 kB"
  if (resident.empty()) return std::nullopt;
  return std::stoull(resident) * 1024;
}

}  // namespace dyield
