// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dyield {

// The values of an option that has no check of its own, by the name of its type
// in --help, such as WORKLOAD.
using ValueSets = std::map<std::string, std::vector<std::string>>;

inline const std::vector<std::string> kShells = {"bash", "zsh", "fish"};

// A script that completes the command line of `app`: its subcommands, their
// options, and the values of those that have a set of them. Options of type FILE
// and DIR, and positional arguments without a set, complete to files. `shell` is
// one of kShells.
std::string completion_script(const CLI::App& app, std::string_view shell, const ValueSets& values);

}  // namespace dyield
