// SPDX-License-Identifier: GPL-2.0-only
#include "replay/recording.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/error.h"
#include "base/read_file.h"

namespace dyield {
namespace {

static_assert(std::endian::native == std::endian::little, "the format's byte order");
static_assert(sizeof(dyield_recording) == 104 && offsetof(dyield_decision, state) == 32);

constexpr std::size_t kFixed = offsetof(dyield_decision, state);

constexpr std::size_t record_size(std::size_t vcpus) {
  return (kFixed + vcpus * sizeof(dyield_u16) + 7) / 8 * 8;
}

[[noreturn]] void damaged(const std::filesystem::path& path, const std::string& what) {
  throw Error(ExitCode::kUsage, fmt::format("\"{}\" is no usable recording: {}; record it again.",
                                            path.string(), what));
}

}  // namespace

Recording::Recording(std::string kernel, bool emulated, std::uint16_t one_in, std::uint64_t limit)
    : limit_(limit) {
  std::memcpy(head_.magic, DYIELD_RECORDING_MAGIC, sizeof head_.magic);
  head_.version = DYIELD_RECORDING_VERSION;
  head_.emulated = emulated ? 1 : 0;
  head_.one_in = one_in;
  kernel.resize(std::min(kernel.size(), sizeof head_.kernel - 1));
  std::memcpy(head_.kernel, kernel.data(), kernel.size());
}

void Recording::add(std::string_view decision) {
  const std::size_t size = (decision.size() + 7) / 8 * 8;
  if (text_.size() + size > limit_) {
    head_.not_kept++;
    return;
  }
  text_ += decision;
  text_.append(size - decision.size(), '\0');
  head_.decisions++;
}

const std::string& Recording::text(std::uint64_t lost) {
  head_.lost = lost;
  std::memcpy(text_.data(), &head_, sizeof head_);
  return text_;
}

dyield_decision ReadRecording::operator[](std::size_t i) const {
  dyield_decision decision{};
  const std::string_view bytes = record(i);
  std::memcpy(&decision, bytes.data(), std::min(bytes.size(), sizeof decision));
  return decision;
}

ReadRecording read_recording(const std::filesystem::path& path) {
  const auto text = read_file(path);
  if (!text) damaged(path, errno_text(errno));
  ReadRecording result;
  dyield_recording& head = result.head;
  if (text->size() < sizeof head) damaged(path, "it is too short");
  std::memcpy(&head, text->data(), sizeof head);
  if (std::memcmp(head.magic, DYIELD_RECORDING_MAGIC, sizeof head.magic) != 0) {
    damaged(path, "dyield record has not written it");
  }
  if (head.version != DYIELD_RECORDING_VERSION) {
    throw Error(
        ExitCode::kUsage,
        fmt::format("\"{}\" is a recording of version {}, and this dyield reads version {}; "
                    "use the dyield that recorded it.",
                    path.string(), std::uint32_t{head.version}, DYIELD_RECORDING_VERSION));
  }
  if (head.one_in == 0) damaged(path, "it is one in 0 decisions");
  result.kernel.assign(head.kernel, ::strnlen(head.kernel, sizeof head.kernel));
  std::string_view rest = std::string_view(*text).substr(sizeof head);
  result.reserve(rest.size());
  while (!rest.empty()) {
    dyield_decision decision;
    const std::string where = fmt::format("decision {}", result.size() + 1);
    if (rest.size() < kFixed) damaged(path, where + " is cut off");
    std::memcpy(&decision, rest.data(), kFixed);
    if (decision.vcpus == 0 || decision.vcpus > DYIELD_RECORDING_VCPUS) {
      damaged(path, fmt::format("{} has {} vCPUs", where, decision.vcpus));
    }
    if (rest.size() < record_size(decision.vcpus)) damaged(path, where + " is cut off");
    if (decision.me >= decision.vcpus ||
        (decision.chosen >= decision.vcpus &&
         (decision.chosen != 0xffff || decision.yielded > 0)) ||
        decision.last_boosted >= DYIELD_RECORDING_VCPUS) {
      damaged(path, where + " names a vCPU that it does not have");
    }
    result.add(rest.substr(0, kFixed + decision.vcpus * sizeof(dyield_u16)));
    rest.remove_prefix(record_size(decision.vcpus));
  }
  if (result.size() != head.decisions) {
    damaged(path,
            fmt::format("it has {} decisions of {}", result.size(), std::uint64_t{head.decisions}));
  }
  return result;
}

}  // namespace dyield
