// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/error.h"

namespace dyield {

// Adds `dyield doctor`: what this machine has and lacks of what `dyield run`
// needs, and how to get it. The chosen action returns kEnvironment if a run with
// probes is not possible here.
void add_doctor_command(CLI::App& app,
                        const std::function<void(std::function<ExitCode()>)>& select);

}  // namespace dyield
