// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <atomic>

namespace dyield {

// A field of the shared structure, read once: the guest may write it at any time, and what
// is checked must be what is used.
template <typename T>
T load(const T& field) {
  return std::atomic_ref(const_cast<T&>(field)).load();
}

}  // namespace dyield
