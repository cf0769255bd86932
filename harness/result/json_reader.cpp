// SPDX-License-Identifier: GPL-2.0-only
#include "result/json_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/error.h"

namespace dyield {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDepth = 64;  // bounds the recursion of copies and dumps

std::string shown(const Json& value) {
  constexpr std::size_t kLongest = 60;
  if (value.is_object()) return fmt::format("an object with {} members", value.size());
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  std::string text = value.dump(-1, ' ', true);  // ASCII only, so any cut is a valid string
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& file) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto strict = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) {
      throw Error(
          ExitCode::kUsage,
          fmt::format("Cannot read \"{}\": its JSON is nested deeper than {}; it is no file "
                      "of dyield, remove it or name another.",
                      file, kMaxDepth));
    }
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key &&
        !keys.back().insert(parsed.get<std::string>()).second) {
      throw Error(ExitCode::kUsage,
                  fmt::format("Cannot read \"{}\": the key {} occurs twice in one object; repair "
                              "the file or record it again with `dyield run`.",
                              file, shown(parsed)));
    }
    return true;
  };
  try {
    return Json::parse(text, strict);
  } catch (const Json::exception& error) {
    throw Error(
        ExitCode::kUsage,
        fmt::format("Cannot read \"{}\" as JSON: {}; the file is damaged, "
                    "incomplete or no result; name a result of `dyield run`, or its folder.",
                    file, error.what()));
  }
}

JsonReader JsonReader::child(const Json& value, std::string_view key) const {
  std::string pointer = pointer_ + "/";
  for (const char c : key) {  // RFC 6901, section 3
    if (c == '~')
      pointer += "~0";
    else if (c == '/')
      pointer += "~1";
    else
      pointer += c;
  }
  return {value, *file_, std::move(pointer)};
}

JsonReader JsonReader::at(std::string_view key) const {
  const auto it = object().find(std::string(key));
  if (it == object().end()) child(*value_, key).fail_found("a value", "nothing");
  return child(*it, key);
}

bool JsonReader::has(std::string_view key) const {
  return object().contains(std::string(key));
}

std::vector<JsonReader> JsonReader::elements() const {
  if (!value_->is_array()) fail("an array");
  std::vector<JsonReader> all;
  for (const Json& element : *value_) all.push_back(child(element, std::to_string(all.size())));
  return all;
}

std::vector<std::pair<std::string, JsonReader>> JsonReader::members() const {
  std::vector<std::pair<std::string, JsonReader>> all;
  for (const auto& [key, value] : object().items()) all.emplace_back(key, child(value, key));
  return all;
}

std::string JsonReader::text() const {
  if (!value_->is_string()) fail("a string");
  return value_->get<std::string>();
}

std::string JsonReader::nonempty_text() const {
  std::string value = text();
  if (value.empty()) fail("a string that is not empty");
  return value;
}

std::vector<std::string> JsonReader::texts() const {
  std::vector<std::string> all;
  for (const JsonReader& element : elements()) all.push_back(element.text());
  return all;
}

std::uint64_t JsonReader::unsigned_integer() const {
  // Numbers made in memory are signed, those from a file unsigned if they can be.
  const bool is_unsigned = value_->is_number_unsigned() ||
                           (value_->is_number_integer() && value_->get<std::int64_t>() >= 0);
  if (!is_unsigned) fail("an integer from 0 to 2^64 - 1");
  return value_->get<std::uint64_t>();
}

double JsonReader::number() const {
  if (!value_->is_number()) fail("a number");
  return value_->get<double>();
}

bool JsonReader::boolean() const {
  if (!value_->is_boolean()) fail("true or false");
  return value_->get<bool>();
}

const Json& JsonReader::object() const {
  if (!value_->is_object()) fail("an object");
  return *value_;
}

const Json& JsonReader::scalar() const {
  if (!value_->is_string() && !value_->is_number() && !value_->is_boolean())
    fail("a string, a number, true or false");
  return *value_;
}

void JsonReader::allow_only(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, value] : members()) {
    if (std::ranges::find(keys, key) == keys.end())
      value.fail(fmt::format("one of the members {}", fmt::join(keys, ", ")));
  }
}

void JsonReader::fail(std::string_view expected) const {
  fail_found(expected, shown(*value_));
}

void JsonReader::fail_found(std::string_view expected, std::string_view found) const {
  throw Error(ExitCode::kUsage,
              fmt::format("Cannot use \"{}\": at \"{}\" expected {}, found {}; repair the file or "
                          "record it again with `dyield run`.",
                          *file_, pointer_, expected, found));
}

}  // namespace dyield
