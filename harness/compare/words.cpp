// SPDX-License-Identifier: GPL-2.0-only
#include "compare/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace dyield {

const VerdictWords& words(Verdict verdict) {
  static constexpr std::array kWords = {
      VerdictWords{"", "none", ""},
      VerdictWords{"too few", "too_few_pairs", ""},
      VerdictWords{"inconclusive", "inconclusive", ""},
      VerdictWords{"no change", "no_change", ""},
      VerdictWords{"better", "better", "\x1b[32m"},
      VerdictWords{"worse", "worse", "\x1b[33m"},
  };
  return kWords.at(static_cast<std::size_t>(verdict));
}

// ---- Text ----

static std::string scalar_text(const nlohmann::json& value) {
  if (value.is_string()) return printable(value.get<std::string>());
  if (value.is_number_float()) return fmt::format("{}", value.get<double>());
  return value.dump();
}

std::string number_text(double value) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size >= 1e9 || size < 1e-3) return fmt::format("{:.3e}", value);
  if (size >= 1e4) return fmt::format("{:.0f}", value);
  return fmt::format("{:.{}f}", value, size >= 100 ? 1 : 3);
}

std::string ratio_text(double ratio) {
  if (ratio == 0) return "0";
  if (ratio >= 1e5 || ratio < 1e-3) return fmt::format("{:.1e}", ratio);
  return fmt::format("{:.{}f}", ratio, ratio >= 100 ? 1 : ratio < 0.02 ? 4 : 3);
}

std::string difference_text(double difference) {
  const double size = std::abs(difference);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return fmt::format("{:+.2e}", difference);
  return (difference > 0 ? "+" : "") + number_text(difference);
}

std::string effect_text(const std::optional<Effect>& effect) {
  if (!effect) return "-";
  if (!effect->is_ratio()) return difference_text(effect->value);
  const bool of_means = effect->method == EffectMethod::kRatioOfMeans;
  return fmt::format("{}x{}", of_means ? "~" : "", ratio_text(effect->value));
}

std::string interval_text(const std::optional<Effect>& effect) {
  if (!effect || !effect->interval) return "-";
  const auto text = effect->is_ratio() ? ratio_text : difference_text;
  return fmt::format("[{}, {}]", text(effect->interval->low), text(effect->interval->high));
}

std::string mean_text(const std::optional<Summary>& summary) {
  return summary ? number_text(summary->mean) : "-";
}

std::string wrapped(std::string_view head, std::string_view text, std::size_t width) {
  std::string out;
  std::string line(head);
  bool first = true;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (!first && line.size() + 1 + word.size() > width) {
      out += line + "\n";
      line.assign(head.size(), ' ');
      first = true;
    }
    if (!first) line += ' ';
    line += word;
    first = false;
  }
  return out + line + "\n";
}

// ---- Cells ----

std::string newly_failed_text(const Cell& cell) {
  if (cell.newly_failed.empty()) return "";
  std::string seeds;
  for (const RunPair& run : cell.newly_failed)
    seeds += fmt::format("{}{}", seeds.empty() ? "" : ", ", run.seed);
  const bool one = cell.newly_failed.size() == 1;
  return fmt::format("{} run{} failed that the base completed (seed{} {})",
                     cell.newly_failed.size(), one ? "" : "s", one ? "" : "s", seeds);
}

std::string overcommit(const nlohmann::json& dimensions) {
  const auto number = [&](const char* key) { return dimensions.at(key).get<double>(); };
  return fmt::format("{:.3g}:1", number("vcpus") * number("vms") / number("cpus"));
}

// "unicast, 6 vCPUs x 2 VMs on 4 CPUs = 3:1, pin none".
static std::string headline(const nlohmann::json& dimensions) {
  const auto number = [&](const char* key) { return dimensions.at(key).get<std::uint64_t>(); };
  const auto counted = [&](const char* key, std::string_view unit) {
    return fmt::format("{} {}{}", number(key), unit, number(key) == 1 ? "" : "s");
  };
  return fmt::format("{}, {} x {} on {} = {}{}", scalar_text(dimensions.at("workload")),
                     counted("vcpus", "vCPU"), counted("vms", "VM"), counted("cpus", "CPU"),
                     overcommit(dimensions),
                     dimensions.contains("pin") ? ", pin " + scalar_text(dimensions["pin"]) : "");
}

static bool in_headline(std::string_view key) {
  constexpr std::array<std::string_view, 6> kKeys = {"workload", "vcpus",      "vms",
                                                     "cpus",     "overcommit", "pin"};
  return std::ranges::find(kKeys, key) != kKeys.end();
}

static Scalars other_dimensions(const nlohmann::json& dimensions) {
  Scalars others;
  for (const auto& [key, value] : dimensions.items())
    if (!in_headline(key)) others[printable(key)] = scalar_text(value);
  return others;
}

std::string list(const Scalars& scalars) {
  std::string text;
  for (const auto& [key, value] : scalars)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, value);
  return text;
}

Scalars common_dimensions(const Comparison& comparison) {
  std::optional<Scalars> common;
  const auto intersect = [&](const nlohmann::json& dimensions) {
    const Scalars others = other_dimensions(dimensions);
    if (!common) common = others;
    std::erase_if(*common, [&](const auto& scalar) {
      const auto it = others.find(scalar.first);
      return it == others.end() || it->second != scalar.second;
    });
  };
  for (const Cell& cell : comparison.cells) intersect(cell.dimensions);
  for (const auto& dimensions : comparison.only_base) intersect(dimensions);
  for (const auto& dimensions : comparison.only_candidate) intersect(dimensions);
  return common.value_or(Scalars{});
}

std::string title(const nlohmann::json& dimensions, const Scalars& common) {
  Scalars own = other_dimensions(dimensions);
  std::erase_if(own, [&](const auto& scalar) { return common.contains(scalar.first); });
  return headline(dimensions) + (own.empty() ? "" : ", " + list(own));
}

}  // namespace dyield
