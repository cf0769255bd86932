// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace dyield {

// The CPUs this process may use, by sched_getaffinity(2) or, in a test, what stands for it.
using AskAffinity = std::function<int(std::size_t size, cpu_set_t* set)>;
std::vector<int> allowed_cpus(const AskAffinity& ask);

// The first `wanted` CPUs this process may use; all of them for 0. Throws Error
// (kSkipped) if there are fewer.
std::vector<int> choose_cpus(std::uint32_t wanted);

// The CPUs of a list as sysfs writes it, such as "0-3,8"; as far as it is one.
std::vector<int> parse_cpu_list(std::string_view list);

// Throws Error (kUsage) if vCPUs that may run on any of these CPUs would stay on one of them:
// the scheduler moves nothing to or from the CPUs in `isolated`.
void refuse_isolated(const std::vector<int>& cpus, const std::vector<int>& isolated);

}  // namespace dyield
