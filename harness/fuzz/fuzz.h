// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

// What libFuzzer calls for each input. Any exception but the harness's own Error, which
// is a sentence and an exit code, is a finding, as is what a sanitizer reports.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace dyield::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline std::vector<std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  return {bytes.begin(), bytes.end()};
}

// Runs a parser; true if it took the input. A refusal must be a sentence.
template <typename Parse>
bool accepts(Parse&& parse) {
  try {
    parse();
    return true;
  } catch (const Error& error) {
    if (std::string_view(error.what()).empty()) std::abort();
    return false;
  }
}

// Ends the fuzzer at a property that does not hold; the input is kept as for a crash.
inline void require(bool holds, std::string_view what) {
  if (holds) return;
  std::cerr << "fuzz: not so: " << what << '\n';
  std::abort();
}

// A file in memory, for parsers that open one by its name.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view text) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    require(::write(fd_.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()),
            "a file in memory takes what is written");
  }
  [[nodiscard]] std::filesystem::path path() const {
    return "/proc/self/fd/" + std::to_string(fd_.get());
  }

 private:
  Fd fd_;
};

}  // namespace dyield::fuzz
