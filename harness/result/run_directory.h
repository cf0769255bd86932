// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string_view>

#include "base/fd.h"
#include "result/result.h"

namespace dyield {

// Writes a run directory (kHeaderFile, kSamplesFile) so that a kill at any
// moment leaves what load_results() reads: the header is replaced as a whole,
// each run is one appended line, and a line without its newline counts for
// nothing. Every member throws Error (kUsage or kEnvironment).
class RunDirectory {
 public:
  // Begins one, making the folder. kUsage if there is a result in it already.
  static RunDirectory create(const std::filesystem::path& folder, const Result& header);
  // Goes on with one; what a kill left of a line is cut off.
  static RunDirectory reopen(const std::filesystem::path& folder);

  // On stable storage when this returns; on error the file is as it was.
  void append(const Run& run);
  void write_header(const Result& header) const;

 private:
  RunDirectory(std::filesystem::path folder, Fd samples, std::uint64_t size);

  std::filesystem::path folder_;
  Fd samples_;
  std::uint64_t size_;  // bytes in whole lines
};

// Makes the folder of a result, where none may have begun. Throws Error (kUsage) if that
// fails or one of the files `names` is in it and not empty.
void make_result_folder(const std::filesystem::path& folder,
                        std::initializer_list<std::string_view> names);

// Made if missing. Throws Error (kEnvironment).
Fd open_for_appending(const std::filesystem::path& path);

// Appends to a log file in a result folder, made if missing.
void append_to_file(const std::filesystem::path& path, std::string_view text);

}  // namespace dyield
