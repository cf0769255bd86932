// SPDX-License-Identifier: GPL-2.0-only
// Writes what the fuzzers begin with, a folder a target: inputs that are in order, by
// the writers that dyield has.
#include <fmt/format.h>

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/read_file.h"
#include "linux/test_image.h"
#include "replay/recording.h"
#include "result/result.h"

using namespace dyield;
namespace fs = std::filesystem;

namespace {

void put(const fs::path& file, std::string_view text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

std::string recording(dyield_u16 chosen) {
  Recording made("7.3.4", true, 1, UINT64_MAX);
  dyield_decision decision{};
  decision.vcpus = 4;
  decision.chosen = chosen;
  decision.yielded = 1;
  decision.tried = 1;
  decision.vector = 0xf0;
  for (int i = 0; i < 3; i++) {
    decision.me = static_cast<dyield_u16>(i);
    for (std::size_t v = 0; v < decision.vcpus; v++)
      decision.state[v] = static_cast<dyield_u16>(0x11U * v + static_cast<unsigned>(i));
    made.add({reinterpret_cast<const char*>(&decision),
              offsetof(dyield_decision, state) + decision.vcpus * sizeof(dyield_u16)});
  }
  return made.text(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: seeds FOLDER RESULT.json PAYLOAD.elf\n", stderr);
    return 2;
  }
  const fs::path folder = argv[1];
  Result result = from_text(read_file(argv[2]).value(), argv[2]);
  // A small one is mutated more often.
  result.runs.resize(2);
  for (Run& run : result.runs) run.detail = Json::object();
  put(folder / "result/short.json", to_text(result));
  put(folder / "run_directory/two.ndjson", to_line(result.runs[0]) + to_line(result.runs[1]));
  put(folder / "config/run.toml",
      "seeds = 3\n[run]\ncpus = 2\nduration = 0.5\naudit = true\nside = [\"a=x\", \"b=y\"]\n");
  put(folder / "payload/head.elf", read_file(argv[3]).value());
  const auto image = make_bzimage(64);
  put(folder / "bzimage/small", {reinterpret_cast<const char*>(image.data()), image.size()});
  put(folder / "recording/three", recording(2));
  // Refused, though 0xffff alone is in order: it once was a state out of bounds.
  put(folder / "recording/nobody", recording(0xffff));
  put(folder / "uart/bytes", {"\x84\x0a\x82\x01\x80h\x80i\x05\x00\x02\x00", 12});
  put(folder / "guest_memory/ones", {"\x00\x03\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00", 12});
  put(folder / "kernel_log/record", "6,1234,5678901,-;kvm: word\n SUBSYSTEM=cpu\n");
  put(folder / "planted/short", "dy");
  return 0;
}
