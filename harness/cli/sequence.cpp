// SPDX-License-Identifier: GPL-2.0-only
#include "cli/sequence.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <random>

#include "base/error.h"

namespace dyield {

std::vector<RunStep> block_steps(Order order, std::size_t sides, std::uint64_t first_seed,
                                 std::uint64_t block) {
  std::vector<RunStep> steps;
  for (std::size_t side = 0; side < sides; side++) steps.push_back({first_seed + block, side});
  if (order == Order::kAbba) {
    if (block % 2 == 1) std::ranges::reverse(steps);
    return steps;
  }
  // Fisher-Yates. Not std::shuffle, whose order the standard leaves open; that of
  // the generator it does not.
  std::seed_seq words{first_seed, first_seed >> 32, block, block >> 32};
  std::mt19937_64 random(words);
  for (std::size_t left = steps.size(); left > 1; left--)
    std::swap(steps[left - 1], steps[random() % left]);
  return steps;
}

std::vector<SideSpec> parse_sides(std::span<const std::string> options, bool control) {
  std::vector<SideSpec> sides;
  for (const std::string& option : options) {
    const auto equal = option.find('=');
    SideSpec side{option.substr(0, equal),
                  equal == std::string::npos ? "" : option.substr(equal + 1)};
    const bool plain = !side.name.empty() && side.name.front() != '.' &&
                       std::ranges::all_of(side.name, [](unsigned char c) {
                         return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
                       });
    if (!plain || equal == std::string::npos) {
      throw Error(ExitCode::kUsage,
                  fmt::format("--side {} is not NAME=COMMAND with a name of letters, digits, '.', "
                              "'_' and '-'.",
                              option));
    }
    if (std::ranges::find(sides, side.name, &SideSpec::name) != sides.end()) {
      throw Error(ExitCode::kUsage, fmt::format("There are two sides '{}'; give each --side a "
                                                "name of its own.",
                                                side.name));
    }
    sides.push_back(std::move(side));
  }
  // An interval and a comparison are of two.
  if (sides.size() > 2) {
    throw Error(ExitCode::kUsage,
                fmt::format("There are {} sides; give two, and compare others with another run.",
                            sides.size()));
  }
  if (control) {
    if (sides.size() > 1) {
      throw Error(ExitCode::kUsage, "--aa runs one side against itself; give one --side or none.");
    }
    if (sides.empty()) sides.push_back({"a", ""});
    sides.push_back({sides.front().name + "-again", sides.front().setup});
  } else if (sides.size() == 1) {
    throw Error(ExitCode::kUsage,
                "One --side alone has nothing to be compared with; give a second one, or --aa.");
  }
  return sides;
}

double parse_fraction(const std::string& option, const std::string& text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && rest != end && *rest == '%') {
    value /= 100;
    rest++;
  }
  if (error != std::errc() || rest != end || !(value > 0 && value < 1)) {
    throw Error(ExitCode::kUsage, fmt::format("{} {} is no fraction above 0 and below 1; write it "
                                              "like 2% or 0.02.",
                                              option, text));
  }
  return value;
}

std::optional<double> relative_half_width(std::span<const Pair> runs, bool paired) {
  std::optional<Effect> effect;
  if (paired) {
    effect = compare_ratio(runs).effect;
  } else {
    // The interval of a level is that of its shift from nothing.
    std::vector<Pair> against_nothing;
    for (const Pair& run : runs) against_nothing.push_back({0, run.b});
    effect = shift(against_nothing);
  }
  if (!effect || !effect->interval || effect->value == 0) return std::nullopt;
  return (effect->interval->high - effect->interval->low) / 2 / std::abs(effect->value);
}

}  // namespace dyield
