// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"

namespace dyield {

// A thread, or an Error (kEnvironment) that says why there is none.
template <typename Function>
std::thread start_thread(Function&& function) {
  try {
    return std::thread(std::forward<Function>(function));
  } catch (const std::system_error& error) {
    throw Error(ExitCode::kEnvironment,
                "Cannot start a thread: " + errno_text(error.code().value()) +
                    "; raise the limits of processes (ulimit -u) and of the cgroup (pids.max), or "
                    "run fewer vCPUs.");
  }
}

}  // namespace dyield
