// SPDX-License-Identifier: GPL-2.0-only
#include "cli/cpus.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace dyield {

std::vector<int> choose_cpus(std::uint32_t wanted) {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &set) && (wanted == 0 || cpus.size() < wanted)) cpus.push_back(cpu);
  }
  if (cpus.size() < wanted) {
    throw Error(ExitCode::kSkipped, fmt::format("--cpus {} asks for more CPUs than the {} that "
                                                "this process may use; ask for fewer.",
                                                wanted, cpus.size()));
  }
  return cpus;
}

std::vector<int> parse_cpu_list(std::string_view list) {
  std::vector<int> cpus;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    int first = 0;
    auto [rest, error] = std::from_chars(at, end, first);
    if (error != std::errc()) break;
    int last = first;
    if (rest < end && *rest == '-') rest = std::from_chars(rest + 1, end, last).ptr;
    for (int cpu = first; cpu <= last; cpu++) cpus.push_back(cpu);
    at = rest + 1;  // behind the comma
  }
  return cpus;
}

void refuse_isolated(const std::vector<int>& cpus, const std::vector<int>& isolated) {
  const auto found = std::ranges::find_first_of(cpus, isolated);
  if (found == cpus.end() || cpus.size() == 1) return;
  throw Error(
      ExitCode::kUsage,
      fmt::format("CPU {} is isolated: with --pin none all vCPUs would stay on one CPU, for "
                  "the scheduler balances no load there; use --pin each, or other CPUs "
                  "(taskset).",
                  *found));
}

}  // namespace dyield
