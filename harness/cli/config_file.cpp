// SPDX-License-Identifier: GPL-2.0-only
#include "cli/config_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
// Debian's CMake files name its shared library.
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include <array>
#include <string>
#include <vector>

namespace dyield {
namespace {

CLI::ConfigError wrong(const toml::source_position& where, std::string_view what) {
  return CLI::ConfigError(fmt::format("The --config file is wrong in line {}, column {}: {}.",
                                      where.line, where.column, what),
                          CLI::ExitCodes::ConfigError);
}

// toml++ 3.3, which Debian has, comes to what it takes for unreachable at a letter like
// U+0327 where a key may begin (is_non_ascii_horizontal_whitespace()).
void require_ascii(std::string_view text) {
  toml::source_position at{1, 1};
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0x80) != 0)
      throw wrong(at, "only ASCII is read; in a string, write \\u and the letter's number");
    at.column++;
    if (c == '\n') at = {at.line + 1, 1};
  }
}

// By read(): an iterator lets out what a file that cannot be read throws.
std::string text_of(std::istream& input) {
  std::string text;
  std::array<char, 4096> some{};
  do {
    input.read(some.data(), some.size());
    text.append(some.data(), static_cast<std::size_t>(input.gcount()));
  } while (input);
  if (input.bad()) {
    throw CLI::ConfigError(
        "The --config file cannot be read to its end; look at its disk, or copy it.",
        CLI::ExitCodes::ConfigError);
  }
  return text;
}

std::string text_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (!node.is_integer() && !node.is_floating_point() && !node.is_boolean())
    throw wrong(node.source().begin, "expected a string, a number, true or false");
  std::string text;
  node.visit([&](const auto& value) {
    if constexpr (toml::is_number<decltype(value)> || toml::is_boolean<decltype(value)>)
      text = fmt::format("{}", value.get());
  });
  return text;
}

// Whether the command that the names lead to has it, as CLI::App will look for it.
bool has_option(const CLI::App& app, const std::vector<std::string>& names,
                const std::string& option) {
  const CLI::App* command = &app;
  for (const std::string& name : names) {
    const auto found =
        command->get_subcommands([&](const CLI::App* sub) { return sub->get_name() == name; });
    if (found.empty()) return false;
    command = found.front();
  }
  return command->get_option_no_throw("--" + option) != nullptr ||
         command->get_option_no_throw(option) != nullptr;
}

void add_items(const CLI::App* app, const toml::table& table,
               const std::vector<std::string>& parents, std::vector<CLI::ConfigItem>& items) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    if (const auto* inner = node.as_table()) {
      std::vector<std::string> below = parents;
      below.push_back(name);
      add_items(app, *inner, below, items);
      continue;
    }
    if (app != nullptr && !has_option(*app, parents, name)) {
      throw wrong(node.source().begin,
                  parents.empty()
                      ? fmt::format("dyield has no option '{}' outside of a [command]", name)
                      : fmt::format("`dyield {0}` has no option '{1}'; see dyield {0} --help",
                                    fmt::join(parents, " "), name));
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
  const std::string text = text_of(input);
  require_ascii(text);
  try {
    add_items(app_, toml::parse(text), {}, found);
  } catch (const toml::parse_error& error) {
    throw wrong(error.source().begin, error.description());
  }
  return found;
}

}  // namespace dyield
