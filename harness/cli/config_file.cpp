// SPDX-License-Identifier: GPL-2.0-only
#include "cli/config_file.h"

#include <fmt/format.h>
// Debian's CMake files name its shared library.
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include <sstream>
#include <string>
#include <vector>

namespace dyield {
namespace {

CLI::ConfigError wrong(const toml::source_region& where, std::string_view what) {
  return CLI::ConfigError(fmt::format("The --config file is wrong in line {}, column {}: {}.",
                                      where.begin.line, where.begin.column, what),
                          CLI::ExitCodes::ConfigError);
}

std::string text_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (!node.is_integer() && !node.is_floating_point() && !node.is_boolean())
    throw wrong(node.source(), "expected a string, a number, true or false");
  std::ostringstream stream;
  node.visit([&](const auto& value) {
    if constexpr (toml::is_value<decltype(value)>) stream << value.get();
  });
  return node.is_boolean() ? (*node.value<bool>() ? "true" : "false") : stream.str();
}

void add_items(const toml::table& table, const std::vector<std::string>& parents,
               std::vector<CLI::ConfigItem>& items) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    if (const auto* inner = node.as_table()) {
      std::vector<std::string> below = parents;
      below.push_back(name);
      add_items(*inner, below, items);
      continue;
    }
    CLI::ConfigItem item;
    item.parents = parents;
    item.name = name;
    if (const auto* array = node.as_array()) {
      for (const toml::node& element : *array) item.inputs.push_back(text_of(element));
    } else {
      item.inputs = {text_of(node)};
    }
    items.push_back(std::move(item));
  }
}

}  // namespace

std::vector<CLI::ConfigItem> TomlConfig::from_config(std::istream& input) const {
  std::vector<CLI::ConfigItem> found;
  try {
    add_items(toml::parse(input), {}, found);
  } catch (const toml::parse_error& error) {
    throw wrong(error.source(), error.description());
  }
  return found;
}

}  // namespace dyield
