// SPDX-License-Identifier: GPL-2.0-only
// What guests leave in the memory that the harness reads its counts from: anything. The
// first bytes choose what was run, and the rest is laid over the memory up to the last vCPU,
// again and again, moved by one each time.
#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "engine/guest_counts.h"
#include "fuzz/fuzz.h"
#include "kvm/workload.h"

using namespace dyield;

namespace {

constexpr std::uint32_t kVcpus = 3;

void fill(dyield_shared& shared, std::span<const std::uint8_t> pattern) {
  const std::span bytes(reinterpret_cast<std::uint8_t*>(&shared),
                        offsetof(dyield_shared, vcpu) + kVcpus * sizeof(dyield_vcpu));
  for (std::size_t i = 0; i < bytes.size(); i++) {
    bytes[i] = pattern[(i + i / pattern.size()) % pattern.size()];
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 6) return 0;
  const WorkloadInfo& workload = workloads()[data[0] % workloads().size()];
  RunConfig config;
  config.workload = workload.id;
  config.vcpus = 1U + data[1] % kVcpus;
  config.vms = 1U + data[2] % 2U;
  const std::span pattern(data + 4, size - 4);
  static std::array<dyield_shared, 2> guests;
  fill(guests[0], pattern);
  fill(guests[1], pattern.subspan(pattern.size() / 2));
  // Few inputs would have a code that there is.
  guests[0].error.code = data[3] / 2U % 16U;
  const std::array<const dyield_shared*, 2> memory = {&guests[0], &guests[1]};

  Result result;
  result.tool_version = "0";
  result.command = {"dyield"};
  result.kernel = "base";
  result.dimensions = {
      {"workload", workload.name}, {"vcpus", config.vcpus}, {"vms", config.vms}, {"cpus", 2}};
  Run& run = result.runs.emplace_back();
  if (data[3] % 2 == 0) {
    run.status = RunStatus::kPartial;
    run.reason = "it was interrupted";
  }
  const RunStatus before = run.status;
  collect_guests(run, std::span(memory).first(config.vms), 1000, config);
  fuzz::require(run.status == before || (run.status == RunStatus::kFailed && !run.reason.empty()),
                "a run that the guest's counts make a failed one says why");
  fuzz::require(run.detail["vms"].size() == config.vms, "each VM has its counts");
  fuzz::require(from_text(to_text(result), "input").runs == result.runs,
                "a run reads as it was written");
  const std::string sentence = describe(guests[0].error);
  fuzz::require(std::ranges::all_of(sentence, [](char c) { return c >= ' ' && c <= '~'; }),
                "what a guest says has no control characters");
  return 0;
}
