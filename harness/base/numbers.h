// SPDX-License-Identifier: GPL-2.0-only
//
// Checks of numbers on the command line that CLI11 does not have.
#pragma once

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

// For an unsigned option: CLI11 makes 18446744073709551615 of -1.
inline CLI::Validator not_negative() {
  return {[](std::string& text) {
            return text.starts_with('-') ? "Value " + text + " is negative" : std::string();
          },
          ""};
}

}  // namespace dyield
