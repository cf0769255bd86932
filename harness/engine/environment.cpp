// SPDX-License-Identifier: GPL-2.0-only
#include "engine/environment.h"

#include <sys/utsname.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace dyield {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

std::string cpu_model() {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with("model name")) continue;
    const auto colon = line.find(": ");
    return colon == std::string::npos ? "" : line.substr(colon + 2);
  }
  return "";
}

Json module_parameters(const std::string& module) {
  Json parameters = Json::object();
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/sys/module/" + module + "/parameters", error)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) parameters[file.filename().string()] = first_line(file);
  return parameters;
}

}  // namespace

Json collect_environment() {
  Json environment = Json::object();
  utsname name{};
  uname(&name);
  environment["uname"] = std::string(name.release) + " " + name.version;
  environment["cpu_model"] = cpu_model();
  environment["cpus_online"] = std::thread::hardware_concurrency();
  environment["clocksource"] =
      first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  environment["preempt"] = first_line("/sys/kernel/debug/sched/preempt");
  environment["cgroup"] = first_line("/proc/self/cgroup");
  Json modules = Json::object();
  for (const char* module : {"kvm", "kvm_amd", "kvm_intel"}) {
    if (fs::exists(fs::path("/sys/module") / module)) modules[module] = module_parameters(module);
  }
  environment["modules"] = std::move(modules);
  // scripts/kernel's account of how the lab's kernel was built.
  std::ifstream manifest("/lib/dyield/kernel.json");
  if (manifest) {
    Json kernel = Json::parse(manifest, nullptr, false);
    if (kernel.is_object()) {
      kernel.erase("build_seconds");  // says something of the build machine only
      environment["kernel"] = std::move(kernel);
    }
  }
  if (environment["cpu_model"].get<std::string>().find("QEMU TCG") != std::string::npos) {
    environment["lab"] = {{"emulated", true},
                          {"machine", "qemu-tcg-svm"},
                          {"time", "virtual: the sum of the instructions of all CPUs"}};
  }
  return environment;
}

std::string pause_exits_obstacle() {
  const std::string amd = first_line("/sys/module/kvm_amd/parameters/pause_filter_count");
  const std::string intel = first_line("/sys/module/kvm_intel/parameters/ple_gap");
  if (amd.empty() && intel.empty()) {
    return "/dev/kvm is here, but neither kvm-amd nor kvm-intel is behind it: such a KVM takes no "
           "PAUSE exits. Load one of them, or use the lab (scripts/lab).";
  }
  if (!amd.empty() && amd == "0") {
    return "kvm-amd does not intercept PAUSE (pause_filter_count is 0): this CPU or hypervisor has "
           "no pause filter, or the parameter was set. Reload kvm-amd without it, or use the lab "
           "(scripts/lab).";
  }
  if (!intel.empty() && intel == "0") {
    return "kvm-intel does not intercept PAUSE loops (ple_gap is 0): this CPU or hypervisor has no "
           "PAUSE-loop exiting, or the parameter was set. Reload kvm-intel without it, or use the "
           "lab (scripts/lab).";
  }
  return "";
}

}  // namespace dyield
