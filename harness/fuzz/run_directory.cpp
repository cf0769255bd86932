// SPDX-License-Identifier: GPL-2.0-only
// A folder of results, with a header that is in order and any lines: what a crash, a
// full disk or an editor left. Going on with it keeps each run that could be read.
#include "result/run_directory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "fuzz/fuzz.h"

using namespace dyield;
namespace fs = std::filesystem;

namespace {

const Result& header() {
  static const Result result = [] {
    Result r;
    r.tool_version = "0";
    r.command = {"dyield"};
    r.kernel = "base";
    r.dimensions = {{"workload", "unicast"}, {"vcpus", 4}, {"vms", 1}, {"cpus", 2}};
    return r;
  }();
  return result;
}

const fs::path& folder() {
  static const fs::path path = [] {
    const fs::path made = fs::path("/dev/shm") / ("dyield-fuzz-" + std::to_string(::getpid()));
    fs::remove_all(made);
    std::atexit([] { fs::remove_all(folder()); });
    RunDirectory::create(made, header());
    return made;
  }();
  return path;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::ofstream(folder() / kSamplesFile, std::ios::binary) << fuzz::text_of(data, size);
  std::vector<LoadedResult> before;
  const bool readable = fuzz::accepts([&] { before = load_results(folder()); });
  Run run;
  run.seed = 12345;
  run.counts["shootdowns"] = 1;  // of a complete run there are some
  if (!fuzz::accepts([&] { RunDirectory::reopen(folder()).append(run); })) return 0;
  std::vector<LoadedResult> after;
  if (!fuzz::accepts([&] { after = load_results(folder()); })) return 0;
  const auto& runs = after.at(0).result.runs;
  fuzz::require(!runs.empty() && runs.back() == run, "a run that was added is read");
  if (readable) {
    const auto& old = before.at(0).result.runs;
    fuzz::require(runs.size() == old.size() + 1 && std::equal(old.begin(), old.end(), runs.begin()),
                  "runs that were there stay");
  }
  return 0;
}
