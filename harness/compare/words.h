// SPDX-License-Identifier: GPL-2.0-only
//
// The words and numbers that every form of a comparison shares.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/printable.h"
#include "compare/compare.h"

namespace dyield {

struct VerdictWords {
  std::string_view table, json, color;  // for people; for programs; an ANSI sequence
};
const VerdictWords& words(Verdict verdict);

// At most 10 characters, for sizes up to 1e99.
std::string number_text(double value);
// At most 9 characters; with its sign.
std::string difference_text(double difference);
// "x1.08", "~x1.08" for a ratio of means, "+0.13" for a difference, "-" for nothing.
std::string effect_text(const std::optional<Effect>& effect);
std::string interval_text(const std::optional<Effect>& effect);
std::string mean_text(const std::optional<Summary>& summary);

// Words after `head`, wrapped at `width` and indented below it, with a newline.
std::string wrapped(std::string_view head, std::string_view text, std::size_t width = 100);

using Scalars = std::map<std::string, std::string>;
std::string list(const Scalars& scalars);  // "duration_s=0.4 think=256"
// The dimensions that all cells share, which are said once; not those of title().
Scalars common_dimensions(const Comparison& comparison);
// "unicast, 6 vCPUs x 2 VMs on 4 CPUs = 3:1, pin none", and what is not common.
std::string title(const nlohmann::json& dimensions, const Scalars& common);
// "2 runs failed that the base completed (seeds 3, 7)"; empty if none did.
std::string newly_failed_text(const Cell& cell);
// vCPUs of all VMs over CPUs, as "3:1".
std::string overcommit(const nlohmann::json& dimensions);

}  // namespace dyield
