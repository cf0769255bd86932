// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace dyield {

// dyield(1) in mdoc(7): every subcommand and option of `app`, with what --help
// says of it.
std::string man_page(const CLI::App& app);

}  // namespace dyield
