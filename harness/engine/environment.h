// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include "result/result.h"

namespace dyield {

// What a reader needs to judge and repeat a result: kernel, CPU, parameters of
// the KVM modules, cgroup, and `lab` if the machine is emulated. Nothing here
// depends on the time of day or on what else runs.
Json collect_environment();

// Why this machine's KVM cannot take PAUSE exits, as a sentence; empty if it can.
std::string pause_exits_obstacle();

}  // namespace dyield
