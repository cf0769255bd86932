// SPDX-License-Identifier: GPL-2.0-only
/* Programs that do nothing where those of probes.bpf.c do something: the floor
 * below which no probe costs (scripts/probe-cost). */
#include "common.bpf.h"

SEC("fentry/kvm_vcpu_on_spin")
int BPF_PROG(on_spin)
{
	return 0;
}

SEC("?fexit/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_exit)
{
	return 0;
}

SEC("?tp_btf/kvm_directed_yield")
int BPF_PROG(directed_yield)
{
	return 0;
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(switched)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
