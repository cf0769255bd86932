// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <unistd.h>

#include <cstdlib>

namespace dyield {

// https://no-color.org: any value that is not empty switches colour off.
inline bool no_color() {
  const char* value = std::getenv("NO_COLOR");
  return value != nullptr && *value != '\0';
}

// Whether what is printed on standard output may be coloured.
inline bool want_color() {
  return ::isatty(STDOUT_FILENO) == 1 && !no_color();
}

}  // namespace dyield
