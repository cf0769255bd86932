// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs in the lab machine: stops it for the snapshot, then fetches the job.
 *
 * The write to the pvpanic port pauses the machine at that very instruction.
 * scripts/lab saves its state there, once, and every run starts from the saved
 * state, right behind the write: with the job that this run's emulator holds in
 * its fw_cfg device as opt/dyield/job, copied to standard output. All of it is
 * port I/O of this one thread, so nothing depends on when the host does what.
 *
 * Ports: QEMU's docs/specs/pvpanic.rst and docs/specs/fw_cfg.rst.
 */
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/io.h>

#define PVPANIC_PORT   0x505
#define PVPANIC_PAUSE  1
/* The fourth serial port, into which nothing else goes before the run's end. */
#define TURNS_PORT     0x2e8
#define TURNS_MARK     5
#define FW_CFG_SELECT  0x510
#define FW_CFG_DATA    0x511
#define FW_CFG_FILEDIR 0x19
#define JOB_NAME       "opt/dyield/job"

struct fw_cfg_file {
	uint32_t size;
	uint16_t select;
	uint16_t reserved;
	char name[56];
} __attribute__((packed));

int main(void)
{
	struct fw_cfg_file file;
	uint32_t count;

	if (ioperm(PVPANIC_PORT, 1, 1) || ioperm(TURNS_PORT, 1, 1) ||
	    ioperm(FW_CFG_SELECT, 2, 1)) {
		perror("lab-agent: ioperm");
		return 1;
	}

	/*
	 * From the mark on the emulator's main thread may not come in between
	 * (lab-turns.c); what it is about by then, it gets the time to end.
	 */
	outb(TURNS_MARK, TURNS_PORT);
	for (volatile unsigned int left = 20000000; left; left--)
		;
	outb(PVPANIC_PAUSE, PVPANIC_PORT);

	outw(FW_CFG_FILEDIR, FW_CFG_SELECT);
	insb(FW_CFG_DATA, &count, sizeof(count));
	count = be32toh(count);
	while (count--) {
		insb(FW_CFG_DATA, &file, sizeof(file));
		if (strncmp(file.name, JOB_NAME, sizeof(file.name)))
			continue;
		outw(be16toh(file.select), FW_CFG_SELECT);
		for (uint32_t left = be32toh(file.size); left;) {
			char buffer[4096];
			uint32_t n =
				left < sizeof(buffer) ? left : sizeof(buffer);

			insb(FW_CFG_DATA, buffer, n);
			fwrite(buffer, 1, n, stdout);
			left -= n;
		}
		return 0;
	}
	fprintf(stderr, "lab-agent: the emulator has no %s\n", JOB_NAME);
	return 1;
}
