// SPDX-License-Identifier: GPL-2.0-only
// Recordings of decisions. One that is taken is put to every policy, which is kernel
// code and trusts its input, and is written as it was read.
#include "replay/recording.h"

#include <cstddef>

#include "fuzz/fuzz.h"
#include "replay/replay.h"

using namespace dyield;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::accepts([&] {
    const fuzz::MemoryFile file(fuzz::text_of(data, size));
    const ReadRecording recording = read_recording(file.path());
    const auto total = recorded(recording).decisions;
    fuzz::require(total == recording.size(), "each decision is counted");
    for (const dyield_policy* policy : policies()) {
      fuzz::require(replay(recording, *policy).decisions == total, "each is put to the policy");
    }
    Recording again(recording.kernel, recording.head.emulated != 0, recording.head.one_in,
                    UINT64_MAX);
    for (std::size_t i = 0; i < recording.size(); i++) again.add(recording.record(i));
    const fuzz::MemoryFile copy(again.text(recording.head.lost));
    fuzz::require(read_recording(copy.path()).size() == total, "it is read as written");
  });
  return 0;
}
