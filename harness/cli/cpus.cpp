// SPDX-License-Identifier: GPL-2.0-only
#include "cli/cpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/error.h"

namespace dyield {

std::vector<int> allowed_cpus(const AskAffinity& ask) {
  // EINVAL: it has no room for each CPU that this kernel could have.
  constexpr std::size_t kMost = (1 << 20) / CPU_SETSIZE;
  std::vector<cpu_set_t> set(1);
  while (ask(set.size() * sizeof(cpu_set_t), set.data()) != 0) {
    if (errno != EINVAL || set.size() >= kMost) {
      throw Error(ExitCode::kEnvironment,
                  fmt::format("Cannot ask for the CPUs that this process may use "
                              "(sched_getaffinity): {}; see what restricts its system calls.",
                              errno_text(errno)));
    }
    set.assign(set.size() * 2, cpu_set_t{});
  }
  std::vector<int> cpus;
  for (std::size_t cpu = 0; cpu < set.size() * CPU_SETSIZE; cpu++) {
    if (CPU_ISSET_S(cpu, set.size() * sizeof(cpu_set_t), set.data()))
      cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

std::vector<int> choose_cpus(std::uint32_t wanted) {
  std::vector<int> cpus = allowed_cpus(
      [](std::size_t size, cpu_set_t* set) { return ::sched_getaffinity(0, size, set); });
  if (wanted != 0 && wanted < cpus.size()) cpus.resize(wanted);
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
