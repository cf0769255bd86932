// SPDX-License-Identifier: GPL-2.0-only
//
// Checks of numbers on the command line that CLI11 does not have.
#pragma once

#include <fmt/format.h>

#include <CLI/Error.hpp>
#include <CLI/StringTools.hpp>
#include <CLI/TypeTools.hpp>
#include <CLI/Validators.hpp>
#include <cmath>
#include <cstdlib>
#include <string>

namespace dyield {

// CLI::Range without "nan", which is neither below nor above it.
inline CLI::Validator number_between(double low, double high) {
  return CLI::Range(low, high) & CLI::Validator(
                                     [](std::string& text) {
                                       return std::isnan(std::strtod(text.c_str(), nullptr))
                                                  ? "Value " + text + " is not a number"
                                                  : std::string();
                                     },
                                     "");
}

// For an option that is a fraction: 2% is 0.02.
inline CLI::Validator from_percent() {
  return {[](std::string& text) {
            double value = 0;
            if (text.ends_with('%') &&
                CLI::detail::lexical_cast(text.substr(0, text.size() - 1), value))
              text = fmt::format("{}", value / 100);
            return std::string();
          },
          ""};
}

// For an unsigned option: CLI11 makes 18446744073709551615 of -1.
inline CLI::Validator not_negative() {
  return {[](std::string& text) {
            return text.starts_with('-') ? "Value " + text + " is negative" : std::string();
          },
          ""};
}

}  // namespace dyield
