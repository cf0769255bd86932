// SPDX-License-Identifier: GPL-2.0-only
#include "watch/vm_processes.h"

#include <fmt/format.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/task.h"
#include "bpf/loading.h"
#include "engine/environment.h"

namespace dyield {
namespace {

// Whether the process has a VM: KVM names the descriptor so (create_vm in virt/kvm/kvm_main.c).
bool has_vm(pid_t pid) {
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), error)) {
    std::error_code unreadable;
    if (std::filesystem::read_symlink(entry.path(), unreadable).string() == "anon_inode:kvm-vm")
      return true;
  }
  return false;
}

}  // namespace

void add_pid_option(CLI::App& command, std::vector<pid_t>& pids) {
  command.add_option("--pid", pids, "Only this process's VMs; repeatable (default: all)")
      ->type_name("PID")
      ->check(CLI::PositiveNumber);
}

void require_vms(const std::vector<pid_t>& pids) {
  for (const pid_t pid : pids) {
    if (!task_exists(pid)) {
      throw Error(ExitCode::kUsage, fmt::format("--pid {}: there is no such process.", pid));
    }
    if (!has_vm(pid)) {
      throw Error(
          ExitCode::kUsage,
          fmt::format("--pid {}: that process has no VM of KVM that is visible to this user; "
                      "name the VMM's process, as root.",
                      pid));
    }
  }
}

void require_something_to_see() {
  require_host_pids();
  require_pause_exits();
}

bool all_ended(const std::vector<pid_t>& pids) {
  return !pids.empty() && std::ranges::none_of(pids, task_exists);
}

Fd make_timer(double seconds) {
  Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  start_timer(timer, seconds);
  return timer;
}

void start_timer(const Fd& timer, double seconds) {
  const auto ns = static_cast<long>(std::llround(seconds * 1e9));
  const timespec each{ns / 1'000'000'000, ns % 1'000'000'000};
  const itimerspec spec{each, each};
  if (!timer || ::timerfd_settime(timer.get(), 0, &spec, nullptr) != 0) {
    throw Error(ExitCode::kEnvironment,
                "Cannot set a timer: " + errno_text(errno) + "; raise the limit of open files.");
  }
}

}  // namespace dyield
