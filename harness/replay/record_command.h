// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/error.h"

namespace dyield {

// Adds `dyield record`: every decision about a directed yield, into a file.
void add_record_command(CLI::App& app,
                        const std::function<void(std::function<ExitCode()>)>& select);

}  // namespace dyield
