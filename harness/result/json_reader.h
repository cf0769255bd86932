// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace dyield {

// Parses JSON more strictly than nlohmann::json does: a key that occurs twice in
// an object and nesting deeper than 64 are errors as well. Throws Error (kUsage)
// which names `file`.
nlohmann::ordered_json parse_json(std::string_view text, const std::string& file);

// A value inside a JSON document, which knows where it is. Every member throws
// Error (kUsage) with the file, the JSON pointer, what was expected and what was
// found. Refers to the document and the file name, which must outlive it.
class JsonReader {
 public:
  JsonReader(const nlohmann::ordered_json& value, const std::string& file)
      : JsonReader(value, file, "") {}

  // The member or element, which must be there.
  [[nodiscard]] JsonReader at(std::string_view key) const;
  [[nodiscard]] bool has(std::string_view key) const;
  [[nodiscard]] std::vector<JsonReader> elements() const;
  [[nodiscard]] std::vector<std::pair<std::string, JsonReader>> members() const;

  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string nonempty_text() const;
  [[nodiscard]] std::vector<std::string> texts() const;
  [[nodiscard]] std::uint64_t unsigned_integer() const;
  [[nodiscard]] double number() const;
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] const nlohmann::ordered_json& object() const;
  [[nodiscard]] const nlohmann::ordered_json& scalar() const;

  // Refuses members with other names.
  void allow_only(std::initializer_list<std::string_view> keys) const;

  [[noreturn]] void fail(std::string_view expected) const;

 private:
  JsonReader(const nlohmann::ordered_json& value, const std::string& file, std::string pointer)
      : value_(&value), file_(&file), pointer_(std::move(pointer)) {}
  [[nodiscard]] JsonReader child(const nlohmann::ordered_json& value, std::string_view key) const;
  [[noreturn]] void fail_found(std::string_view expected, std::string_view found) const;

  const nlohmann::ordered_json* value_;
  const std::string* file_;
  std::string pointer_;
};

}  // namespace dyield
