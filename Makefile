# SPDX-License-Identifier: GPL-2.0-only
#
# The front door. Everything that is made goes under build/; the work is done by
# the scripts, which have --help.

SEEDS ?= 10
SERIES ?= 7.3

# A backport has everything of its own: source, kernels, harness, results.
ifneq ($(SERIES),7.3)
ifeq ($(wildcard patches/$(SERIES)/series),)
$(error there is no patches/$(SERIES)/series; take SERIES=6.12, or leave it out)
endif
override export DYIELD_PATCHES := $(CURDIR)/patches/$(SERIES)
override export DYIELD_BUILD := $(or $(DYIELD_BUILD),$(CURDIR)/build)/$(SERIES)
endif
BUILD := $(or $(DYIELD_BUILD),build)

.PHONY: help setup setup-intel setup-amd-ple harness kernels guest-kernel demo demo-linux matrix ablation demo-intel test test-quick robust series-apply series-check series-check-more series-export series-post lab-shell format clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-22s %s\n", $$1, $$2}'
	@echo
	@echo 'Variables: SEEDS=N (demo, demo-intel, demo-linux, matrix, ablation; default 10), DEMO_OPTIONS, MATRIX_OPTIONS,'
	@echo '(options of scripts/matrix; with demo-intel, of that), ABLATION_OPTIONS (of scripts/ablation),'
	@echo 'LINUX_ROWS, LINUX_PROGRAMS (workloads of demo-linux),'
	@echo 'SERIES=6.12 (the backport: setup, kernels, demo, series-check, ...),'
	@echo 'KERNEL_TREE=/path (a kernel source of your own), DYIELD_BUILD=/path (instead of build/).'

setup: ## install what is missing (as root), fetch the kernel source
	@scripts/setup

setup-intel: setup ## build Bochs, for scripts/lab --machine intel
	@scripts/setup intel

setup-amd-ple: setup ## build QEMU, for scripts/lab --machine amd-ple
	@scripts/setup amd-ple

harness: setup ## build the harness and the guest payload
	@scripts/harness

kernels: setup ## build the lab kernels mainline and patched
	@scripts/kernel build mainline patched

guest-kernel: setup ## build the kernel of the Linux guests
	@scripts/kernel build guest

demo: harness kernels ## compare patched with mainline in the lab, print the table
	@scripts/demo --seeds $(SEEDS) $(DEMO_OPTIONS)

matrix: harness kernels ## every workload x overcommit x placement; goes on where it stopped
	@scripts/matrix --seeds $(SEEDS) $(MATRIX_OPTIONS)

ablation: harness ## what each patch and each other policy contributes
	@scripts/ablation --seeds $(SEEDS) $(ABLATION_OPTIONS)

demo-intel: setup-intel harness kernels ## the same on kvm-intel, with APICv off and on
	@scripts/demo-intel --seeds $(SEEDS) $(DEMO_OPTIONS)

LINUX_ROWS ?= linux-munmap,linux-madvise,linux-mprotect,linux-membarrier
LINUX_PROGRAMS ?= linux-stress-tlb,linux-stress-mprotect,linux-hackbench,linux-pigz,linux-b3sum
LINUX_OUT ?= $(BUILD)/results/demo-linux
demo-linux: setup-amd-ple harness kernels guest-kernel ## the same with Linux guests, then programs in them
	@scripts/matrix --rows $(LINUX_ROWS) --overcommit 2 --pin none --seeds $(SEEDS) --out $(LINUX_OUT) $(DEMO_OPTIONS)
	@scripts/matrix --rows $(LINUX_PROGRAMS) --overcommit 2 --pin none --duration 1 --seeds $(SEEDS) \
	  --out $(LINUX_OUT)-programs $(DEMO_OPTIONS)

test: setup ## run every test; closes with "N passed, N failed, N skipped"
	@scripts/test

test-quick: setup ## the tests that need no kernel
	@scripts/test --quick

robust: setup-amd-ple setup-intel harness kernels guest-kernel ## hostile guests, faults, sanitizers, the model: all in full
	@scripts/robust

series-apply: ## git am the series into KERNEL_TREE, after saying what applies
	@scripts/series apply

series-check: setup ## every patch applies, compiles, is checkpatch and sparse clean
	@scripts/series check

series-check-more: harness ## gcc and clang W=1, arm64, s390, riscv; boot each prefix; lockdep, selftests
	@scripts/setup checks
	@scripts/series check-more

series-export: ## write the patches anew from the branch that scripts/series branch made
	@scripts/series export

series-post: setup ## make the mails of a posting, with your sign-off; sends nothing
	@scripts/series post

lab-shell: harness kernels ## a shell in the lab, on the patched kernel
	@scripts/lab patched --shell

format: ## format the C and C++ sources
	@scripts/format

clean: ## remove what was made, but not the sources, the emulators and the compiler cache
	rm -rf $(addprefix $(BUILD)/,harness kernels lab results linux/obj linux/obj-* sanitize fuzz selftests post)
