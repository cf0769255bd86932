// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/error.h"

namespace dyield {

// Adds `dyield watch`: PAUSE exits and yields of VMs that run on this host, whoever made them.
void add_watch_command(CLI::App& app, const std::function<void(std::function<ExitCode()>)>& select);

}  // namespace dyield
