// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"

namespace dyield {

// Adds `dyield run`. `command` is argv, for the result file. When it is chosen,
// `select` is given what to run.
void add_run_command(CLI::App& app, std::vector<std::string> command,
                     const std::function<void(std::function<ExitCode()>)>& select);

// The guest image: the one given or, if that is empty, the one beside this
// program. Throws Error (kUsage) if there is none.
std::filesystem::path find_payload(const std::string& given);

}  // namespace dyield
