// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>
#include <string>

#include "watch/interval.h"

namespace dyield {

struct ViewOptions {
  std::size_t width = 80;  // columns that a line may have
  std::size_t height = 0;  // lines in all; 0 is any number
  bool color = false;
};

// The interval as lines of text, each ended by a newline.
std::string render(const WatchInterval& interval, const ViewOptions& options);

}  // namespace dyield
