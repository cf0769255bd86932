// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <algorithm>
#include <string>

namespace dyield {

// For a terminal, which would obey escape sequences. What a guest said: each byte that is
// neither printable ASCII nor the end of a line becomes a space.
inline std::string printable_lines(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return (c < ' ' && c != '\n') || c > '~'; }, ' ');
  return text;
}

// The name of something: each byte that is not printable ASCII becomes a question mark.
inline std::string printable_name(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

// Text in UTF-8: control characters, those of ASCII and U+0080 to U+009F (C2 80 to C2 9F),
// become question marks.
inline std::string printable(std::string text) {
  unsigned char before = 0;
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (before == 0xc2 && byte < 0xa0)) c = '?';
    before = byte;
  }
  return text;
}

}  // namespace dyield
