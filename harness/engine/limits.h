// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>

namespace dyield {

// Raises this process's limit of open files (RLIMIT_NOFILE) up to its hard limit
// and returns how many there may be. Throws Error (kEnvironment), naming limit and
// need, if fewer than `needed` are left above those already open.
std::uint64_t provide_open_files(std::uint64_t needed);

}  // namespace dyield
