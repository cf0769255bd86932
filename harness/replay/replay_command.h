// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/error.h"

namespace dyield {

// Adds `dyield replay`: what policies would have done with a recording.
void add_replay_command(CLI::App& app,
                        const std::function<void(std::function<ExitCode()>)>& select);

}  // namespace dyield
