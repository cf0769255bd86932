// SPDX-License-Identifier: GPL-2.0-only
/* Nobody sends, nobody waits. */
#include "workload.h"

const struct workload workload_compute = {};
