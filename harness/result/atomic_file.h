// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <filesystem>
#include <string_view>

namespace dyield {

// Writes `text` to `path` so that a reader, or a machine that loses power, sees
// either the old file or the whole new one: a temporary file in the same folder,
// fsync, rename. A symbolic link is followed. Throws Error (kUsage if `path` is
// something other than a regular file or its folder is missing, kEnvironment if
// the system fails); `path` is then as it was before.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

// Throws what write_file_atomically() would throw at its beginning, and changes nothing: for
// what has its text only after an hour.
void check_writable(const std::filesystem::path& path);

}  // namespace dyield
