/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DYIELD_POLICY_H
#define DYIELD_POLICY_H

#include "bpf/record.h"

/* What a policy does in a recorded situation. */
struct dyield_choice {
  int chosen;  /* index of the vCPU that is yielded to, or -1 */
  int reason;  /* enum dyield_reason_code, or -1 if the policy says none */
  int refused; /* yields tried before it that would have failed */
};

/* kvm_vcpu_on_spin() of some kernel. */
struct dyield_policy {
  const char* name;
  /* One call at a time. */
  void (*choose)(const struct dyield_decision* decision, struct dyield_choice* choice);
};

#endif
