// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <CLI/CLI.hpp>

namespace dyield {

// Reads --config files as TOML with toml++; CLI11's own reader takes a '#' in a
// string for a comment. A table is a command, a key one of its options:
//   [run]
//   workload = "unicast"
//   vcpus = 8
class TomlConfig : public CLI::Config {
 public:
  // Whose options the file may have; without one, any.
  explicit TomlConfig(const CLI::App* app = nullptr) : app_(app) {}
  // Throws CLI::ConfigError naming line and column.
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;
  // Nobody asks dyield to write one.
  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return ""; }

 private:
  const CLI::App* app_;
};

}  // namespace dyield
