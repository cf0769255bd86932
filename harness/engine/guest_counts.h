// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/run.h"

namespace dyield {

// What the guests counted while measuring, into the run's counts (only those
// that the workload can have: absent is not zero) and detail: by VM and vCPU,
// whole-run totals, latency histograms merged over vCPUs. A complete run whose
// totals contradict each other becomes a failed one. `guests` are the shared structures
// by VM; the guests can have written anything there, so how many vCPUs there are and what
// they run is taken from `config`. `tsc_khz` is that of a guest, 0 if not known.
void collect_guests(Run& run, std::span<const dyield_shared* const> guests, std::uint32_t tsc_khz,
                    const RunConfig& config);

// What the guest wrote into its error record, as a sentence.
std::string describe(const dyield_error& error);

}  // namespace dyield
