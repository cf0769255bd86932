// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <vector>

#include "base/fd.h"

namespace dyield {

// The option --pid of commands that attach to VMs which run already.
void add_pid_option(CLI::App& command, std::vector<pid_t>& pids);

// Throws Error (kUsage) if one of the processes is not there or has no VM of KVM.
void require_vms(const std::vector<pid_t>& pids);

// Throws Error (kEnvironment) where threads have other IDs than the host's, (kSkipped) if KVM takes
// no PAUSE exits: there would be nothing to see.
void require_something_to_see();

// Whether all of these processes have ended; false if there are none.
bool all_ended(const std::vector<pid_t>& pids);

// A timerfd that is readable every so many seconds. Throws Error (kEnvironment).
Fd make_timer(double seconds);
// Has it begin anew: what has expired unread is forgotten.
void start_timer(const Fd& timer, double seconds);

}  // namespace dyield
