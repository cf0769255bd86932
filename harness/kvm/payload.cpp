// SPDX-License-Identifier: GPL-2.0-only
#include "kvm/payload.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/read_file.h"
#include "dyield_abi.h"

namespace dyield {
namespace {

[[noreturn]] void reject(const std::filesystem::path& file, const std::string& why,
                         ExitCode code = ExitCode::kUsage) {
  throw Error(code, fmt::format("The guest payload {} cannot be used: {}; build it "
                                "again with `make harness` or name another with "
                                "--payload.",
                                file.string(), why));
}

// The structure at `offset`, copied out because the file promises no alignment.
template <typename T>
T read_at(const std::vector<std::byte>& bytes, std::uint64_t offset,
          const std::filesystem::path& file, const char* what) {
  T value;
  if (offset > bytes.size() || bytes.size() - offset < sizeof value) {
    reject(file, fmt::format("it ends before its {}", what));
  }
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace

Payload Payload::from_file(const std::filesystem::path& file) {
  const std::optional<std::string> text = read_file(file);
  if (!text) {
    const int error = errno;
    reject(file, "it cannot be read (" + errno_text(error) + ")", code_of_unreadable(error));
  }
  std::vector<std::byte> bytes(text->size());
  std::memcpy(bytes.data(), text->data(), text->size());
  return from_bytes(std::move(bytes), file);
}

Payload Payload::from_bytes(std::vector<std::byte> bytes, const std::filesystem::path& file) {
  Payload payload;
  const auto header = read_at<Elf64_Ehdr>(bytes, 0, file, "ELF header");
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_machine != EM_X86_64 || header.e_type != ET_EXEC ||
      header.e_phentsize != sizeof(Elf64_Phdr)) {
    reject(file, "it is no ELF64 x86-64 executable");
  }
  for (std::uint64_t i = 0; i < header.e_phnum; i++) {
    const auto segment = read_at<Elf64_Phdr>(bytes, header.e_phoff + i * sizeof(Elf64_Phdr), file,
                                             "program headers");
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    if (segment.p_paddr < DYIELD_IMAGE_GPA || segment.p_paddr > DYIELD_IMAGE_END_GPA ||
        segment.p_memsz > DYIELD_IMAGE_END_GPA - segment.p_paddr) {
      reject(file, fmt::format("a segment at {:#x} leaves the image's place in guest memory, "
                               "{:#x} to {:#x}",
                               segment.p_paddr, DYIELD_IMAGE_GPA, DYIELD_IMAGE_END_GPA));
    }
    if (segment.p_filesz > segment.p_memsz || segment.p_offset > bytes.size() ||
        segment.p_filesz > bytes.size() - segment.p_offset) {
      reject(file, "it ends before its segments");
    }
    payload.segments_.push_back(
        {segment.p_paddr, segment.p_offset, segment.p_filesz, segment.p_memsz});
  }
  if (std::none_of(payload.segments_.begin(), payload.segments_.end(), [&](const Segment& s) {
        return header.e_entry >= s.gpa && header.e_entry - s.gpa < s.file_size;
      })) {
    reject(file, fmt::format("its entry point {:#x} is in no segment", header.e_entry));
  }
  payload.entry_ = header.e_entry;
  payload.bytes_ = std::move(bytes);
  return payload;
}

void Payload::load(std::span<std::byte> memory) const {
  for (const Segment& s : segments_) {
    const auto target = memory.subspan(s.gpa, s.memory_size);
    std::copy_n(bytes_.data() + s.offset, s.file_size, target.data());
    std::fill(target.begin() + static_cast<std::ptrdiff_t>(s.file_size), target.end(),
              std::byte{0});
  }
}

}  // namespace dyield
