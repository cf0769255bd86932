// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/error.h"

namespace dyield {

// Adds `dyield races`: what a VMM can do to a VM, done in the middle of a storm of IPIs.
void add_races_command(CLI::App& app, const std::function<void(std::function<ExitCode()>)>& select);

}  // namespace dyield
