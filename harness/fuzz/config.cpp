// SPDX-License-Identifier: GPL-2.0-only
// --config files.
#include <sstream>

#include "cli/config_file.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream input{std::string(dyield::fuzz::text_of(data, size))};
  try {
    for (const CLI::ConfigItem& item : dyield::TomlConfig().from_config(input)) {
      dyield::fuzz::require(!item.fullname().empty() || item.name.empty(), "an option has a name");
    }
  } catch (const CLI::ConfigError&) {
    // What the command line shows as a sentence.
  }
  return 0;
}
