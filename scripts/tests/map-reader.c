// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads one long value of a BPF map for ever, for the test that lost events are
 * counted: meanwhile the kernel passes over the programs on perf's tracepoints
 * of that CPU (bpf_map_copy_value(), trace_call_bpf()). The copy takes longer
 * than a tick, so others run there before it is done.
 */
#include <linux/bpf.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LENGTH (8 << 20)

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

int main(void)
{
	static char value[LENGTH];
	__u32 key = 0;
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(key),
		.value_size = LENGTH,
		.max_entries = 1,
	};
	union bpf_attr element = {.key = (__u64)(unsigned long)&key,
				  .value = (__u64)(unsigned long)value};
	long fd = bpf(BPF_MAP_CREATE, &map);

	element.map_fd = fd;
	while (fd >= 0 && bpf(BPF_MAP_LOOKUP_ELEM, &element) == 0)
		;
	perror("map-reader");
	return 1;
}
