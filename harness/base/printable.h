// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <algorithm>
#include <string>

namespace dyield {

// What a guest said, for a terminal, which would obey escape sequences: each byte that is
// neither printable ASCII nor the end of a line becomes a space.
inline std::string printable(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return (c < ' ' && c != '\n') || c > '~'; }, ' ');
  return text;
}

}  // namespace dyield
