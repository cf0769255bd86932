// SPDX-License-Identifier: GPL-2.0-only
#include "engine/environment.h"

#include <asm/kvm_para.h>
#include <elf.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/read_file.h"
#include "base/sha256.h"
#include "kvm/vm.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> lines(const fs::path& file) {
  std::ifstream stream(file);
  std::vector<std::string> all;
  for (std::string line; std::getline(stream, line);) all.push_back(line);
  return all;
}

// What scripts/lab and scripts/kernel have put into the lab's machine; an empty object elsewhere.
// Not to be read is an error: a result of the lab has to say that it is one.
Json lab_file(const fs::path& path) {
  const auto text = read_file(path);
  if (!text && errno == ENOENT) return Json::object();
  Json object = text ? Json::parse(*text, nullptr, false) : Json();
  if (object.is_object()) return object;
  throw Error(
      ExitCode::kEnvironment,
      fmt::format("Cannot read {}, which says what machine this is: {}; start the lab anew.",
                  path.string(), text ? "it is no JSON object" : errno_text(errno)));
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> all;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    all.push_back(it->path());
  std::ranges::sort(all);
  return all;
}

// The first lines of a folder's files by their names, without those that are
// closed to this user or empty.
Json folder_to_json(const fs::path& folder) {
  Json object = Json::object();
  std::error_code error;
  for (const fs::path& file : entries(folder)) {
    if (!fs::is_regular_file(file, error)) continue;
    if (std::string line = first_line(file); !line.empty())
      object[file.filename().string()] = std::move(line);
  }
  return object;
}

void put(Json& object, const char* key, Json value) {
  if (!value.empty() && value != "") object[key] = std::move(value);
}

// The text of a file that may be compressed; empty if there is none.
std::string unzipped(const fs::path& file) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> stream(::gzopen(file.c_str(), "rb"), ::gzclose);
  std::string text;
  std::array<char, 65536> block;
  for (int n; stream && (n = ::gzread(stream.get(), block.data(), block.size())) > 0;)
    text.append(block.data(), static_cast<std::size_t>(n));
  return text;
}

// As sha256sum gives it for the .config that the kernel was built with.
std::string config_hash(const std::string& release) {
  for (const fs::path& file : {fs::path("/proc/config.gz"), fs::path("/boot/config-" + release),
                               fs::path("/lib/modules/" + release + "/config")}) {
    if (const std::string text = unzipped(file); !text.empty())
      return sha256(std::as_bytes(std::span(text)));
  }
  return "";
}

// The first processor's row of that name in /proc/cpuinfo.
std::string cpuinfo(std::string_view name) {
  for (const std::string& line : lines("/proc/cpuinfo")) {
    const auto colon = line.find(": ");
    if (line.starts_with(name) && colon != std::string::npos &&
        line.find_first_of("\t:") == name.size()) {
      return line.substr(colon + 2);
    }
  }
  return "";
}

Json topology() {
  const fs::path cpus = "/sys/devices/system/cpu";
  std::set<std::string> packages;
  std::set<std::pair<std::string, std::string>> cores;
  for (const fs::path& cpu : entries(cpus)) {
    const std::string package = first_line(cpu / "topology/physical_package_id");
    if (package.empty()) continue;
    packages.insert(package);
    cores.emplace(package, first_line(cpu / "topology/core_id"));
  }
  Json nodes = Json::object();
  for (const fs::path& node : entries("/sys/devices/system/node"))
    put(nodes, node.filename().c_str(), first_line(node / "cpulist"));
  Json result = {{"packages", packages.size()}, {"cores", cores.size()}};
  put(result, "online", first_line(cpus / "online"));
  put(result, "smt", first_line(cpus / "smt/control"));
  put(result, "numa", std::move(nodes));
  put(result, "cpufreq_governor", first_line(cpus / "cpu0/cpufreq/scaling_governor"));
  return result;
}

Json scheduler() {
  Json knobs = folder_to_json("/sys/kernel/debug/sched");
  knobs.erase("debug");  // its tables change all the time
  for (const char* name : {"sched_rt_runtime_us", "sched_autogroup_enabled", "sched_schedstats"})
    put(knobs, name, first_line(fs::path("/proc/sys/kernel") / name));
  return knobs;
}

// Where this process is in each hierarchy, and the limits on the way from the
// root of the unified one.
Json cgroup() {
  Json result = Json::object();
  result["membership"] = lines("/proc/self/cgroup");
  const fs::path root = "/sys/fs/cgroup";
  put(result, "controllers", first_line(root / "cgroup.controllers"));
  for (const std::string& line : lines("/proc/self/cgroup")) {
    if (!line.starts_with("0::/")) continue;
    fs::path folder = root;
    for (const fs::path& part : fs::path(line.substr(4))) {
      folder /= part;
      Json limits = Json::object();
      for (const char* name : {"cpu.max", "cpu.weight", "cpu.idle", "cpuset.cpus.effective"})
        put(limits, name, first_line(folder / name));
      put(result["limits"], folder.c_str(), std::move(limits));
    }
  }
  if (result.contains("limits") && result["limits"].empty()) result.erase("limits");
  return result;
}

Json memory() {
  Json result = Json::object();
  for (const char* name : {"MemTotal", "SwapTotal", "HugePages_Total", "Hugepagesize"})
    put(result, name, first_field("/proc/meminfo", std::string(name) + ":"));
  put(result, "transparent_hugepage", first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  return result;
}

// The build ID of a file of ELF notes, as the kernel shows its own and its modules' (elf(5)), in
// hexadecimal; empty if there is none.
std::string build_id(const fs::path& notes) {
  const std::string bytes = read_file(notes).value_or("");
  for (std::size_t at = 0; at + sizeof(Elf64_Nhdr) <= bytes.size();) {
    Elf64_Nhdr header;
    std::memcpy(&header, bytes.data() + at, sizeof header);
    const auto padded = [](std::size_t size) { return (size + 3) & ~std::size_t{3}; };
    const std::size_t name = at + sizeof header;
    const std::size_t value = name + padded(header.n_namesz);
    at = value + padded(header.n_descsz);
    if (at > bytes.size() || at < value) break;
    if (header.n_type != NT_GNU_BUILD_ID ||
        std::string_view(bytes).substr(name, header.n_namesz) != std::string_view("GNU", 4)) {
      continue;
    }
    const auto id = std::as_bytes(std::span(bytes).subspan(value, header.n_descsz));
    return fmt::format("{:02x}", fmt::join(id, ""));
  }
  return "";
}

Json build_ids() {
  Json result = Json::object();
  put(result, "kernel", build_id("/sys/kernel/notes"));
  for (const fs::path& module : entries("/sys/module")) {
    if (const std::string name = module.filename(); name.starts_with("kvm"))
      put(result, name.c_str(), build_id(module / "notes/.note.gnu.build-id"));
  }
  return result;
}

// Tells machines of one model apart, and nothing else: machine-id(5) is not to be published.
std::string machine() {
  const std::string id = "dyield " + first_line("/etc/machine-id");
  return id.size() < 32 ? "" : sha256(std::as_bytes(std::span(id))).substr(0, 16);
}

struct Feature {
  unsigned bit;
  const char* name;
};

// CPUID 0x40000001 EAX, Documentation/virt/kvm/x86/cpuid.rst.
constexpr std::array kPvFeatures = {
    Feature{KVM_FEATURE_CLOCKSOURCE, "clocksource"},
    Feature{KVM_FEATURE_NOP_IO_DELAY, "nop_io_delay"},
    Feature{KVM_FEATURE_CLOCKSOURCE2, "clocksource2"},
    Feature{KVM_FEATURE_ASYNC_PF, "async_pf"},
    Feature{KVM_FEATURE_STEAL_TIME, "steal_time"},
    Feature{KVM_FEATURE_PV_EOI, "pv_eoi"},
    Feature{KVM_FEATURE_PV_UNHALT, "pv_unhalt"},
    Feature{KVM_FEATURE_PV_TLB_FLUSH, "pv_tlb_flush"},
    Feature{KVM_FEATURE_ASYNC_PF_VMEXIT, "async_pf_vmexit"},
    Feature{KVM_FEATURE_PV_SEND_IPI, "pv_send_ipi"},
    Feature{KVM_FEATURE_POLL_CONTROL, "poll_control"},
    Feature{KVM_FEATURE_PV_SCHED_YIELD, "pv_sched_yield"},
    Feature{KVM_FEATURE_ASYNC_PF_INT, "async_pf_int"},
    Feature{KVM_FEATURE_MSI_EXT_DEST_ID, "msi_ext_dest_id"},
    Feature{KVM_FEATURE_HC_MAP_GPA_RANGE, "hc_map_gpa_range"},
    Feature{KVM_FEATURE_MIGRATION_CONTROL, "migration_control"},
    Feature{KVM_FEATURE_CLOCKSOURCE_STABLE_BIT, "clocksource_stable"},
};

// What a guest reads about KVM: harness/kvm gives it all that KVM supports.
Json guest() {
  try {
    const KvmSystem system;
    Json names = Json::array();
    std::uint32_t bits = 0;
    for (std::uint32_t i = 0; i < system.cpuid().nent; i++) {
      const kvm_cpuid_entry2& entry = system.cpuid().entries[i];
      if (entry.function == KVM_CPUID_FEATURES) bits = entry.eax;
    }
    for (const auto& [bit, name] : kPvFeatures) {
      if ((bits >> bit & 1) != 0) names.push_back(name);
    }
    return {{"pv_features", std::move(names)}, {"pv_features_eax", fmt::format("{:#010x}", bits)}};
  } catch (const Error& error) {
    return {{"unavailable", error.what()}};
  }
}

}  // namespace

Json collect_environment() {
  Json environment = Json::object();
  utsname name{};
  uname(&name);
  environment["uname"] = std::string(name.release) + " " + name.version;
  put(environment, "config_sha256", config_hash(name.release));
  // What follows " -- " is init's, not the kernel's.
  const std::string cmdline = first_line("/proc/cmdline");
  environment["cmdline"] = cmdline.substr(0, cmdline.find(" -- "));
  put(environment, "build_ids", build_ids());
  put(environment, "machine", machine());
  environment["cpu_model"] = cpuinfo("model name");
  Json cpu = Json::object();
  for (const char* row : {"vendor_id", "cpu family", "model", "stepping", "microcode"})
    put(cpu, row, cpuinfo(row));
  environment["cpu"] = std::move(cpu);
  environment["cpus_online"] = std::thread::hardware_concurrency();
  environment["topology"] = topology();
  environment["mitigations"] = folder_to_json("/sys/devices/system/cpu/vulnerabilities");
  environment["clocksource"] =
      first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  environment["scheduler"] = scheduler();
  environment["cgroup"] = cgroup();
  environment["memory"] = memory();
  Json modules = Json::object();
  for (const fs::path& module : entries("/sys/module")) {
    if (const std::string file = module.filename(); file.starts_with("kvm"))
      modules[file] = folder_to_json(module / "parameters");
  }
  environment["modules"] = std::move(modules);
  environment["guest"] = guest();
  // scripts/kernel's account of how the lab's kernel was built.
  if (Json kernel = lab_file("/lib/dyield/kernel.json"); !kernel.empty()) {
    kernel.erase("build_seconds");  // says something of the build machine only
    environment["kernel"] = std::move(kernel);
  }
  if (environment["cpu_model"].get<std::string>().find("QEMU TCG") != std::string::npos) {
    environment["lab"] = {{"emulated", true},
                          {"machine", "qemu-tcg-svm"},
                          {"time", "virtual: the sum of the instructions of all CPUs"}};
  }
  // What scripts/lab knows better: an emulator may have the CPUID of real hardware.
  if (const Json lab = lab_file("/lib/dyield/lab.json"); !lab.empty())
    environment["lab"].update(lab);
  return environment;
}

Json collect_volatile_facts() {
  const auto now = std::chrono::system_clock::now();
  Json facts = {
      {"date", fmt::format("{:%FT%TZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now)))}};
  put(facts, "load_average", first_line("/proc/loadavg"));
  put(facts, "memory_available", first_field("/proc/meminfo", "MemAvailable:"));
  return facts;
}

Json collect_run_facts() {
  Json facts = Json::object();
  put(facts, "boot_id", first_line("/proc/sys/kernel/random/boot_id"));
  put(facts, "load_average", first_line("/proc/loadavg"));
  return facts;
}

Series find_series(const Json& environment) {
  const auto kernel = environment.find("kernel");
  if (kernel == environment.end()) return {};
  Series series;
  series.base = kernel->value("source", "");
  std::string hashes;
  for (const Json& patch : kernel->value("patches", Json::array()))
    hashes += patch.value("sha256", "") + "\n";
  if (!hashes.empty()) series.hash = sha256(std::as_bytes(std::span(hashes)));
  return series;
}

std::string vendor_module(const fs::path& root) {
  const bool amd = is_there(root / "sys/module/kvm_amd");
  const bool intel = is_there(root / "sys/module/kvm_intel");
  if (amd && intel) {
    const std::string flags = " " + first_field(root / "proc/cpuinfo", "flags\t\t:") + " ";
    return flags.find(" vmx ") != std::string::npos ? "kvm_intel" : "kvm_amd";
  }
  return amd ? "kvm_amd" : intel ? "kvm_intel" : "";
}

std::string pause_exits_obstacle(const fs::path& root) {
  const std::string module = vendor_module(root);
  const fs::path parameters = root / "sys/module" / module / "parameters";
  if (module.empty()) {
    std::string others;
    for (const fs::path& other : entries(root / "sys/module")) {
      const std::string name = other.filename();
      if (name.starts_with("kvm_")) others += (others.empty() ? "" : ", ") + name;
    }
    return fmt::format(
        "Neither kvm-amd nor kvm-intel is loaded{}, and no other KVM takes PAUSE exits. Load one "
        "of them, or use the lab (scripts/lab).",
        others.empty() ? "" : " (this KVM is " + others + ")");
  }
  if (module == "kvm_amd" && first_line(parameters / "pause_filter_count") == "0") {
    return "kvm-amd does not intercept PAUSE (pause_filter_count is 0): this CPU or hypervisor has "
           "no pause filter, or the parameter was set. Reload kvm-amd without it, or use the lab "
           "(scripts/lab).";
  }
  if (module == "kvm_intel" && first_line(parameters / "ple_gap") == "0") {
    return "kvm-intel does not intercept PAUSE loops (ple_gap is 0): this CPU or hypervisor has no "
           "PAUSE-loop exiting, or the parameter was set. Reload kvm-intel without it, or use the "
           "lab (scripts/lab).";
  }
  return "";
}

void require_pause_exits() {
  if (const std::string obstacle = pause_exits_obstacle(); !obstacle.empty())
    throw Error(ExitCode::kSkipped, obstacle);
}

}  // namespace dyield
