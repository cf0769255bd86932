// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stats/paired.h"

namespace dyield {

// How the sides of a block follow each other. A slow drift of the machine then
// favours none of them.
enum class Order {
  kAbba,    // A B, B A, A B ...
  kRandom,  // each block shuffled by itself
};

// A block holds one run of each side, all with the block's seed.
struct RunStep {
  std::uint64_t seed = 0;
  std::size_t side = 0;
  bool operator==(const RunStep&) const = default;
};

// The steps of block `block` (from 0), whose seed is `first_seed` + `block`. Depends
// on nothing else, so a run that was broken off goes on with the same order.
std::vector<RunStep> block_steps(Order order, std::size_t sides, std::uint64_t first_seed,
                                 std::uint64_t block);

// A place where runs are made on the machine as `setup` leaves it.
struct SideSpec {
  std::string name;   // also of its folder
  std::string setup;  // for sh; empty if there is nothing to do
  bool operator==(const SideSpec&) const = default;
};

// The sides that the options --side NAME=COMMAND and --aa ask for. With
// `control` there are two of the one side (or of the machine as it is). Empty
// without any of both. Throws Error (kUsage).
std::vector<SideSpec> parse_sides(std::span<const std::string> options, bool control);

// "2%" or "0.02" as a fraction. Throws Error (kUsage) unless it is above 0 and below 1.
double parse_fraction(const std::string& option, const std::string& text);

// Half the width of the 95 % interval, as a fraction of what it encloses: of the
// level of b, or with `paired` of the ratio b / a. Absent for fewer than kMinPairs
// runs, and where it is not defined.
std::optional<double> relative_half_width(std::span<const Pair> runs, bool paired);

}  // namespace dyield
