// SPDX-License-Identifier: GPL-2.0-only
/*
 * Other people's programs: thread 0 runs one over and over, each time with the
 * same work to do, and counts how often it has come to its end. The programs
 * bring their own threads, which go where Linux puts them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"

#define INPUT	    "/tmp/input"
#define INPUT_BYTES (512u << 10)
#define NR_FILES    4
/* No full last page: for 16 bytes of VINSERTF128, QEMU 10.0 reads 32. */
#define FILE_BYTES  (127u << 10)
#define SUMS	    "/tmp/sums"

static void programs_set_up(void)
{
	if (mount("tmp", "/tmp", "tmpfs", 0, NULL) || chdir("/tmp"))
		fail(0, "there is no /tmp: %s", strerror(errno));
	mkdir("/dev/shm", 0755);
	mount("shm", "/dev/shm", "tmpfs", 0, NULL);
}

/* Words of a small vocabulary. */
static void write_words(const char *path, u32 bytes)
{
	FILE *file = fopen(path, "we");

	if (!file)
		fail(0, "it cannot write %s: %s", path, strerror(errno));
	for (u32 i = 0; i < bytes / 8; i++)
		fprintf(file, "%07x\n",
			random_below(0, 4096) * 2654435761u >> 4);
	if (fclose(file))
		fail(0, "it cannot write %s: %s", path, strerror(errno));
}

static void write_input(void)
{
	programs_set_up();
	write_words(INPUT, INPUT_BYTES);
}

/* A word of a command line may be "N", which stands for the number of vCPUs. */
static void run(const char *const *words, const char *output)
{
	static char number[16], *environment[] = {"PATH=/usr/bin", NULL};
	posix_spawn_file_actions_t files;
	char *arguments[16];
	int error, status;
	pid_t child;
	cpu_set_t set;
	u32 i;

	/* A child inherits what its parent is pinned to. */
	if (sched_getaffinity(0, sizeof(set), &set) ||
	    (u32)CPU_COUNT(&set) != shared->nr_vcpus)
		fail(0, "it may run programs on %d of %u vCPUs",
		     CPU_COUNT(&set), shared->nr_vcpus);
	snprintf(number, sizeof(number), "%u", shared->nr_vcpus);
	for (i = 0; words[i]; i++)
		arguments[i] =
			strcmp(words[i], "N") ? (char *)words[i] : number;
	arguments[i] = NULL;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, output,
					 O_WRONLY | O_CREAT, 0644);
	error = posix_spawn(&child, words[0], &files, NULL, arguments,
			    environment);
	posix_spawn_file_actions_destroy(&files);
	if (error)
		fail(0, "it cannot start %s: %s", words[0], strerror(error));
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			fail(0, "waitpid: %s", strerror(errno));
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail(0, "%s ended with %s %d", words[0],
		     WIFEXITED(status) ? "status" : "signal",
		     WIFEXITED(status) ? WEXITSTATUS(status)
				       : WTERMSIG(status));
}

/* Files, and their sums by one thread that reads them. */
static void write_sums(void)
{
	static char paths[NR_FILES][16];
	const char *words[NR_FILES + 3] = {"/usr/bin/b3sum", "--no-mmap"};

	programs_set_up();
	for (u32 i = 0; i < NR_FILES; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/tmp/%u", i);
		write_words(paths[i], FILE_BYTES);
		words[i + 2] = paths[i];
	}
	run(words, SUMS);
}

#define PROGRAM(name, prepare, ...)                                       \
	static void name##_step(u32 me)                                   \
	{                                                                 \
		static const char *const words[] = {__VA_ARGS__, NULL};   \
                                                                          \
		(void)me;                                                 \
		run(words, "/dev/null");                                  \
		COUNT(0, work);                                           \
	}                                                                 \
	const struct linux_program program_##name = {                     \
		.set_up = prepare,                                        \
		.step = name##_step,                                      \
		.roams = true, /* a child may run where its parent may */ \
		.alone = true}

PROGRAM(stress_tlb, programs_set_up, "/usr/bin/stress-ng", "--quiet",
	"--tlb-shootdown", "1", "--tlb-shootdown-ops", "4");
PROGRAM(stress_membarrier, programs_set_up, "/usr/bin/stress-ng", "--quiet",
	"--membarrier", "1", "--membarrier-ops", "1");
PROGRAM(stress_mprotect, programs_set_up, "/usr/bin/stress-ng", "--quiet",
	"--mprotect", "1", "--mprotect-ops", "64");
PROGRAM(stress_mmap, programs_set_up, "/usr/bin/stress-ng", "--quiet", "--mmap",
	"N", "--mmap-ops", "N", "--mmap-bytes", "256k");
PROGRAM(hackbench, programs_set_up, "/usr/bin/hackbench", "--pipe", "--threads",
	"--groups", "1", "--fds", "2", "--loops", "20");
PROGRAM(pigz, write_input, "/usr/bin/pigz", "--fast", "--processes", "N",
	"--blocksize", "32", "--keep", "--force", INPUT);
/* Maps one file after the other, hashes it by all threads, and unmaps it. */
PROGRAM(b3sum, write_sums, "/usr/bin/b3sum", "--num-threads", "N", "--check",
	"--quiet", SUMS);
