// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cerrno>

namespace dyield {

// Whether there is a process or thread of this ID. Not by /proc, which can be mounted so that
// it hides those of others (hidepid).
inline bool task_exists(pid_t id) {
  return ::kill(id, 0) == 0 || errno != ESRCH;
}

}  // namespace dyield
