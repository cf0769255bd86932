// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/run.h"

namespace dyield {

// What the guests counted while measuring, into the run's counts (only those
// that the workload can have: absent is not zero) and detail: by VM and vCPU,
// whole-run totals, latency histograms merged over vCPUs. A complete run whose
// totals contradict each other becomes a failed one.
void collect_guests(Run& run, const std::vector<std::unique_ptr<Vm>>& vms, const RunConfig& config);

// What the guest wrote into its error record, as a sentence; for the checks of
// workloads.
std::string describe_check(const dyield_error& error);

}  // namespace dyield
