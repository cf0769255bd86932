// SPDX-License-Identifier: GPL-2.0-only
#include "engine/cpu_quota.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>

#include "base/error.h"
#include "base/fd.h"
#include "base/read_file.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRoot = "/sys/fs/cgroup";
// Short against a run, which shall have many of them; the kernel's default is ten times that.
constexpr std::uint64_t kPeriodUs = 10'000;
// The kernel takes no less in a period (min_cfs_quota_period in kernel/sched/core.c).
constexpr std::uint64_t kLeastUs = 1000;
constexpr int kMostAttempts = 1000;

[[noreturn]] void refuse(const fs::path& file, int error) {
  throw Error(ExitCode::kEnvironment,
              fmt::format("Cannot limit the CPU time of a VM: {}: {}; it takes root and cgroup v2 "
                          "with the cpu controller, or a run without --quota.",
                          file.string(), errno_text(error)));
}

// One write, as cgroup files want it; the errno value, or 0.
int put(const fs::path& file, std::string_view text) noexcept {
  const Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno;
  return ::write(fd.get(), text.data(), text.size()) < 0 ? errno : 0;
}

void must_put(const fs::path& file, std::string_view text) {
  if (const int error = put(file, text); error != 0) refuse(file, error);
}

// This process's group; its line in cgroup v2's hierarchy begins with "0::".
fs::path own_group() {
  const std::string path = first_field("/proc/self/cgroup", "0::/");
  if (path.empty() && first_field("/proc/self/cgroup", "0::").empty()) {
    refuse("/proc/self/cgroup", ENOENT);
  }
  return fs::path(kRoot) / path;
}

bool lists(const fs::path& file, std::string_view word) {
  std::istringstream words(read_file(file).value_or(""));
  for (std::string each; words >> each;) {
    if (each == word) return true;
  }
  return false;
}

}  // namespace

CpuQuota::CpuQuota(std::uint32_t percent, std::uint32_t vms, std::size_t cpus)
    : parent_(own_group()) {
  try {
    for (std::uint32_t vm = 0; vm < vms; vm++) {
      const fs::path group = parent_ / fmt::format("dyield-{}-vm{}", ::getpid(), vm);
      std::error_code error;
      if (!fs::create_directory(group, error)) refuse(group, error ? error.value() : EEXIST);
      groups_.push_back(group);
      must_put(group / "cgroup.type", "threaded");
    }
    const fs::path control = parent_ / "cgroup.subtree_control";
    enabled_ = !lists(control, "cpu");
    if (enabled_) must_put(control, "+cpu");
    const std::uint64_t share = cpus * percent;  // percent of one CPU
    const std::uint64_t period = std::max(kPeriodUs, (kLeastUs * 100 + share - 1) / share);
    for (const fs::path& group : groups_) {
      must_put(group / "cpu.max", fmt::format("{} {}", period * share / 100, period));
    }
  } catch (...) {
    remove_groups();
    throw;
  }
}

CpuQuota::~CpuQuota() {
  remove_groups();
}

void CpuQuota::remove_groups() const noexcept {
  for (const fs::path& group : groups_) {
    // A thread that has been joined is a member for a moment more.
    for (int attempt = 0; ::rmdir(group.c_str()) != 0 && errno == EBUSY && attempt < kMostAttempts;
         attempt++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  if (!enabled_) return;
  // Another dyield's groups may have come to rely on it.
  std::error_code error;
  for (fs::directory_iterator entry(parent_, error), end; !error && entry != end;
       entry.increment(error))
    if (entry->path().filename().string().starts_with("dyield-")) return;
  put(parent_ / "cgroup.subtree_control", "-cpu");
}

bool CpuQuota::holds() const {
  return std::ranges::all_of(groups_, [](const fs::path& group) {
    std::error_code error;
    return fs::exists(group / "cpu.max", error);
  });
}

void CpuQuota::limit(pid_t thread, std::uint32_t vm) const {
  must_put(groups_.at(vm) / "cgroup.threads", std::to_string(thread));
}

Json CpuQuota::stat() const {
  Json all = Json::array();
  for (const fs::path& group : groups_) {
    std::istringstream lines(read_file(group / "cpu.stat").value_or(""));
    Json& own = all.emplace_back(Json::object());
    std::string name;
    for (std::uint64_t value = 0; lines >> name >> value;) own[name] = value;
  }
  return all;
}

}  // namespace dyield
