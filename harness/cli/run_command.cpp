// SPDX-License-Identifier: GPL-2.0-only
#include "cli/run_command.h"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <sys/capability.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>
#include <mutex>
#include <utility>

#include "base/numbers.h"
#include "base/privileges.h"
#include "base/read_file.h"
#include "base/sha256.h"
#include "cli/cpus.h"
#include "cli/kernel_log.h"
#include "cli/session.h"
#include "engine/environment.h"
#include "engine/run.h"
#include "kvm/workload.h"
#include "linux/cpuid.h"
#include "linux/linux_vm.h"
#include "loop/file_writer.h"
#include "result/atomic_file.h"
#include "result/json_reader.h"
#include "result/result.h"
#include "result/run_directory.h"

namespace dyield {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string workload;
  std::uint32_t vcpus = 4, vms = 1, cpus = 0;
  std::string pin = "none";
  std::uint32_t quota = 0;
  std::uint64_t seed = 1, seeds = 1;
  double duration = 1, warmup = 0.2, limit = 30;
  std::uint32_t think = 256, unit = 64;
  std::string fault = "none";
  std::string label, output, payload, series_hash, base;
  std::string until_ci, ci_metric, order = "abba";
  std::optional<std::uint64_t> max_seeds;
  std::vector<std::string> sides;
  std::string resume;
  bool aa = false;
  bool no_probes = false, audit = false, json = false, dry_run = false;
  std::string guest_kernel, guest_initramfs, guest_modules, guest_append;
  std::optional<std::uint32_t> guest_memory;
  std::vector<std::string> hide_pv;
  bool xapic = false;
};

// What --resume takes from its own command line and not from the plan.
constexpr std::array kNotInPlan = {"help", "resume", "output", "json", "dry-run"};

void add_options(CLI::App& sub, Options& options);

// A file that comes with the harness; throws Error (kEnvironment) saying how to make it.
fs::path find_beside(const std::string& given, const std::string& name, const char* what,
                     const char* made_by, const char* option) {
  if (!given.empty()) return given;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& place : {self / "../lib" / name, self / "../lib/dyield" / name,
                                fs::path("/usr/local/lib/dyield") / name}) {
    if (fs::exists(place, error)) return place;
  }
  throw Error(
      ExitCode::kEnvironment,
      fmt::format("The {} ({}) is not beside {}; build it with `{}`, and name it with {} if it is "
                  "elsewhere.",
                  what, name, self.string(), made_by, option));
}

Guests read_guests(const Options& options) {
  Guests guests;
  if (!find_workload(options.workload).linux_guest()) {
    guests.payload = Payload::from_file(find_payload(options.payload));
    return guests;
  }
  const WorkloadInfo& workload = find_workload(options.workload);
  const bool programs = (workload.does & DYIELD_DOES_PROGRAMS) != 0;
  std::vector<std::byte> initramfs = read_guest_file(
      programs ? find_beside(options.guest_initramfs, "linux-programs", "guest's programs",
                             "make setup-amd-ple harness", "--guest-initramfs")
               : find_beside(options.guest_initramfs, "linux-initramfs", "guest initramfs",
                             "make harness", "--guest-initramfs"),
      "guest initramfs");
  // An initramfs can be several archives in a row, each of whole words.
  if (workload.has_module()) {
    const std::vector<std::byte> modules = read_guest_file(
        find_beside(options.guest_modules, "guest-modules", "archive of the guest kernel's module",
                    "scripts/kernel build guest", "--guest-modules"),
        "archive of the guest kernel's module");
    initramfs.resize((initramfs.size() + 3) / 4 * 4);
    initramfs.insert(initramfs.end(), modules.begin(), modules.end());
  }
  // It is there twice, packed and unpacked, until the guest is up.
  const std::size_t mib = options.guest_memory.value_or(128 + 2 * (initramfs.size() >> 20));
  guests.linux_guest = {
      BzImage::from_file(find_beside(options.guest_kernel, "guest-bzImage", "guest kernel",
                                     "scripts/kernel build guest", "--guest-kernel")),
      std::move(initramfs),
      mib << 20,
      options.xapic,
      pv_bits(options.hide_pv),
      options.guest_append};
  return guests;
}

nlohmann::ordered_json dimensions(const Options& options, const Guests& guests, std::size_t cpus) {
  const double overcommit =
      static_cast<double>(options.vcpus) * options.vms / static_cast<double>(cpus);
  nlohmann::ordered_json all = {{"workload", options.workload},
                                {"vcpus", options.vcpus},
                                {"vms", options.vms},
                                {"cpus", cpus},
                                {"overcommit", overcommit},
                                {"pin", options.pin},
                                {"duration_s", options.duration},
                                {"warmup_s", options.warmup},
                                {"think", options.think},
                                {"unit", options.unit},
                                {"probes", !options.no_probes},
                                {"audit", options.audit},
                                {"fault", options.fault}};
  if (options.quota != 0) all["quota_percent"] = options.quota;
  if (guests.linux_guest) {
    std::vector<std::string> hidden = options.hide_pv;
    std::ranges::sort(hidden);
    constexpr std::size_t kShown = 12;
    all["guest_kernel"] = guests.linux_guest->image.hash().substr(0, kShown);
    all["guest_initramfs"] = sha256(guests.linux_guest->initramfs).substr(0, kShown);
    all["guest_memory_mib"] = guests.linux_guest->memory >> 20;
    all["guest_append"] = options.guest_append;
    all["apic"] = options.xapic ? "xapic" : "x2apic";
    all["hidden_pv"] = fmt::format("{}", fmt::join(hidden, ","));
  }
  return all;
}

std::string default_label() {
  utsname name{};
  uname(&name);
  return name.release;
}

std::vector<std::string> pv_names() {
  std::vector<std::string> names;
  for (const PvFeature& feature : pv_features()) names.emplace_back(feature.name);
  return names;
}

std::vector<std::string> fault_names() {
  std::vector<std::string> names;
  for (const FaultInfo& fault : faults()) names.push_back(fault.name);
  return names;
}

// The headline metrics that some run has.
std::vector<const MetricInfo*> columns(const Result& result) {
  std::vector<const MetricInfo*> found;
  for (const MetricInfo& metric : metrics()) {
    if (metric.headline && std::ranges::any_of(result.runs, [&](const Run& run) {
          return metric_value(metric, run.counts).has_value();
        })) {
      found.push_back(&metric);
    }
  }
  return found;
}

void print_table(const Result& result) {
  fmt::print("{}, {} vCPUs x {} VMs on {} CPUs, kernel {}\n",
             result.dimensions["workload"].get<std::string>(),
             result.dimensions["vcpus"].get<std::uint32_t>(),
             result.dimensions["vms"].get<std::uint32_t>(),
             result.dimensions["cpus"].get<std::size_t>(), result.kernel);
  fmt::print("{:>10}", "seed");
  const auto shown = columns(result);
  for (const MetricInfo* metric : shown) fmt::print("  {:>25}", metric->name);
  fmt::print("  status\n");
  for (const Run& run : result.runs) {
    fmt::print("{:>10}", run.seed);
    for (const MetricInfo* metric : shown) {
      const auto value = metric_value(*metric, run.counts);
      if (!value) {
        fmt::print("  {:>25}", "-");
      } else if (metric->source == MetricSource::kCount) {
        fmt::print("  {:>25.0f}", *value);
      } else {
        fmt::print("  {:>25.4f}", *value);
      }
    }
    fmt::print("  {}\n", run.status == RunStatus::kComplete  ? "complete"
                         : run.status == RunStatus::kPartial ? "partial: " + run.reason
                                                             : "failed: " + run.reason);
  }
  if (result.emulated()) {
    fmt::print("Lab ({}): emulated, virtual time; not bare-metal time.\n", result.machine());
  }
}

// Every option by its name with the value it has, given or default. Read back by
// command_of().
Json arguments_of(const CLI::App& sub) {
  Json arguments = Json::object();
  for (const CLI::Option* option : sub.get_options()) {
    const std::string name = option->get_single_name();
    if (std::ranges::find(kNotInPlan, name) != kNotInPlan.end()) continue;
    if (option->get_expected_max() == 0) {
      arguments[name] = option->count() > 0;
    } else if (option->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll) {
      arguments[name] = option->results();
    } else if (option->count() > 0) {
      arguments[name] = option->results().back();
    } else if (!option->get_default_str().empty()) {
      arguments[name] = option->get_default_str();
    }
  }
  return arguments;
}

// The words behind `dyield run` that give these arguments.
std::vector<std::string> command_of(const Json& arguments) {
  std::vector<std::string> words = {arguments.at("workload").get<std::string>()};
  // In one word, but for nothing: CLI11 takes the next word for the value that = lacks.
  const auto add = [&](const std::string& name, const std::string& value) {
    words.push_back("--" + name + (value.empty() ? "" : "=" + value));
    if (value.empty()) words.push_back(value);
  };
  for (const auto& [name, value] : arguments.items()) {
    if (name == "workload" || value == false) continue;
    if (value.is_boolean()) {
      words.push_back("--" + name);
    } else if (value.is_array()) {
      for (const Json& element : value) add(name, element.get<std::string>());
    } else {
      add(name, value.get<std::string>());
    }
  }
  return words;
}

// For a POSIX shell, quoted only where it needs to be.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("-_./=:,%+@").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

// What scripts/lab was given to run; empty outside the lab and in its shell.
std::string lab_command() {
  return first_line("/in/.command");
}

// What scripts/lab --machine calls it.
std::string_view lab_option(std::string_view machine) {
  if (machine.starts_with("bochs")) return "intel";
  return machine.ends_with("-ple") ? "amd-ple" : "amd";
}

std::string reproduce_script(const Json& arguments, const Result& header) {
  const Json& environment = header.environment;
  std::string text = fmt::format(
      "#!/bin/sh\n"
      "# Repeats these runs into the folder given as $1. Made by dyield {} on kernel\n# {}",
      DYIELD_VERSION, environment.value("uname", ""));
  if (!header.base.empty()) text += "\n# base " + header.base;
  if (!header.series.empty()) text += ", series " + header.series;
  const std::string command = header.emulated() ? lab_command() : "";
  if (!command.empty() && environment.contains("kernel")) {
    // In the lab every instruction since the boot is part of a run: the same samples
    // come from the same whole command only.
    return text + fmt::format(R"(
# In the lab ({}). Run it in the checkout that made these: it gives the same samples,
# if files that the machine was given are what they were then.
exec scripts/lab --machine {} --cpus {} {}--out "${{1:?name a folder for the results}}" {} -- \
  {}
)",
                              header.machine(), lab_option(header.machine()),
                              environment["cpus_online"].dump(), first_line("/in/.options"),
                              quoted(environment["kernel"].value("name", "")), command);
  }
  text += "\nexec dyield run -o \"${1:?name a folder for the results}\"";
  for (const std::string& word : command_of(arguments)) text += " \\\n  " + quoted(word);
  return text + "\n";
}

// Throws Error (kUsage) if the folder has no plan.
Json read_plan(const fs::path& folder) {
  const fs::path path = folder / kPlanFile;
  const std::optional<std::string> text = read_file(path);
  if (!text && errno != ENOENT && errno != ENOTDIR) {
    throw Error(ExitCode::kUsage, fmt::format("Cannot read \"{}\": {}; check its permissions.",
                                              path.string(), errno_text(errno)));
  }
  if (!text) {
    throw Error(ExitCode::kUsage,
                fmt::format("There is no plan in \"{}\" ({} is missing); name the folder that an "
                            "earlier `dyield run -o` made.",
                            folder.string(), path.string()));
  }
  const std::string file = path.string();
  const Json document = parse_json(*text, file);
  const JsonReader plan(document, file);
  if (plan.at("schema").text() != kPlanSchema) plan.at("schema").fail(kPlanSchema);
  const JsonReader arguments = plan.at("arguments");
  static_cast<void>(arguments.at("workload").text());
  return arguments.object();
}

void begin_folder(const fs::path& folder, const Json& arguments,
                  const std::vector<std::string>& command, const Result& header) {
  // First, as JSON is UTF-8: what could not be resumed is not begun.
  std::string plan;
  try {
    plan = Json{{"schema", kPlanSchema}, {"command", command}, {"arguments", arguments}}.dump(2);
  } catch (const Json::type_error&) {
    throw Error(ExitCode::kUsage,
                "The command line is not UTF-8, which a plan is; name files by UTF-8.");
  }
  make_result_folder(folder, {kPlanFile, kHeaderFile, kSamplesFile});
  const fs::path script = folder / "reproduce.sh";
  write_file_atomically(script, reproduce_script(arguments, header));
  std::error_code error;
  fs::permissions(script, fs::perms::owner_exec | fs::perms::group_exec | fs::perms::others_exec,
                  fs::perm_options::add, error);
  // Last: with it there is something to resume.
  write_file_atomically(folder / kPlanFile, plan + "\n");
}

class ConsoleLog : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit ConsoleLog(const fs::path& file) : writer_(file), file_(open_for_appending(file)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    writer_.write(file_, {text.data(), text.size()}, 0);
  }
  void flush_() override {}

 private:
  // Made before this is a sink: what it has to say itself comes to the others.
  FileWriter writer_;
  Fd file_;
};

// Everything that is logged, without times or colour.
void log_to(const fs::path& file) {
  auto sink = std::make_shared<ConsoleLog>(file);
  sink->set_pattern("%l: %v");
  // What a guest has said, too, which goes to a terminal with -v only.
  spdlog::register_logger(std::make_shared<spdlog::logger>(kGuestLogger, sink));
  spdlog::default_logger()->sinks().push_back(std::move(sink));
}

void set_up(const SideSpec& side) {
  if (side.setup.empty()) return;
  spdlog::debug("side {}: {}", side.name, side.setup);
  // The runs' event loops have blocked them here, and the command would inherit that: Ctrl-C
  // could not end it.
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  pthread_sigmask(SIG_UNBLOCK, &set, &before);
  // What the command says is no result.
  const int status = std::system(("exec 1>&2\n" + side.setup).c_str());
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (status == 0) return;
  if (status == -1) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("Cannot start a shell for the setup of side {}: {}; raise the limit of "
                            "processes (ulimit -u), or free memory.",
                            side.name, errno_text(error)));
  }
  throw Error(
      ExitCode::kEnvironment,
      fmt::format("The setup of side {} failed ({} {}): {}; see what it says above.", side.name,
                  WIFSIGNALED(status) ? "signal" : "exit status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), side.setup));
}

// An option that would change nothing is a mistake. Throws Error (kUsage).
void refuse_without_effect(const Options& options) {
  const auto refuse = [](std::string_view option, const std::string& why) {
    throw Error(ExitCode::kUsage, fmt::format("{} would change nothing: {}.", option, why));
  };
  if (options.audit && options.no_probes)
    refuse("--audit", "it counts what the probes count once more; leave out --no-probes");
  if (find_workload(options.workload).linux_guest()) return;
  for (const auto& [option, given] :
       {std::pair("--xapic", options.xapic), std::pair("--hide-pv", !options.hide_pv.empty()),
        std::pair("--guest-memory", options.guest_memory.has_value()),
        std::pair("--guest-append", !options.guest_append.empty()),
        std::pair("--guest-kernel", !options.guest_kernel.empty()),
        std::pair("--guest-initramfs", !options.guest_initramfs.empty()),
        std::pair("--guest-modules", !options.guest_modules.empty())}) {
    if (given) {
      refuse(option, fmt::format("it is about Linux guests, and {} runs in another; leave it out, "
                                 "or take a linux-... workload",
                                 options.workload));
    }
  }
}

RunConfig run_config(const Options& options) {
  const auto seconds = [](double value) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(value));
  };
  RunConfig config;
  refuse_without_effect(options);
  const WorkloadInfo& workload = find_workload(options.workload);
  const FaultInfo& fault = find_fault(options.fault);
  check_workload(workload, options.vcpus, options.vms, fault);
  config.workload = workload.id;
  config.vcpus = options.vcpus;
  config.vms = options.vms;
  config.cpus = choose_cpus(options.cpus);
  config.pin = options.pin == "each" ? Pin::kEach : Pin::kNone;
  if (config.pin == Pin::kNone)
    refuse_isolated(config.cpus, parse_cpu_list(first_line("/sys/devices/system/cpu/isolated")));
  config.quota = options.quota;
  config.warmup = seconds(options.warmup);
  config.duration = seconds(options.duration);
  config.limit = seconds(options.limit);
  config.think = options.think;
  config.unit = options.unit;
  config.fault = fault.id;
  config.probes = !options.no_probes;
  config.audit = options.audit;
  return config;
}

Session session_of(const Options& options) {
  Session session;
  session.title = options.workload;
  session.sides = parse_sides(options.sides, options.aa);
  session.order = options.order == "random" ? Order::kRandom : Order::kAbba;
  session.first_seed = options.seed;
  session.seeds = options.seeds;
  session.run_time = std::chrono::duration<double>(options.warmup + options.duration);
  if (!options.ci_metric.empty()) session.metric = find_metric(options.ci_metric);
  session.output = options.resume.empty() ? options.output : options.resume;
  session.resume = !options.resume.empty();
  if (!options.ci_metric.empty() && !session.metric) {
    throw Error(ExitCode::kUsage,
                fmt::format("--ci-metric {} is no metric; the counts in a result are named "
                            "as they are here.",
                            options.ci_metric));
  }
  if (!options.until_ci.empty()) {
    session.until = parse_fraction("--until-ci", options.until_ci);
    // Fewer have no interval.
    session.seeds = std::max<std::uint64_t>(session.seeds, kMinPairs);
    if (options.max_seeds && *options.max_seeds < session.seeds) {
      throw Error(
          ExitCode::kUsage,
          fmt::format("--max-seeds {} is too few: there will be {} seeds at the least, as "
                      "{}; ask for more.",
                      *options.max_seeds, session.seeds,
                      session.seeds == options.seeds ? "--seeds says" : "fewer have no interval"));
    }
    session.max_seeds = options.max_seeds.value_or(std::max<std::uint64_t>(100, session.seeds));
  }
  if (!session.sides.empty() && !options.output.empty() && !is_run_directory(options.output)) {
    throw Error(ExitCode::kUsage,
                fmt::format("-o {} is a file, but each side has its own results; name a folder.",
                            options.output));
  }
  return session;
}

// What would run, for --dry-run.
void print_plan(const Options& options, const Session& session, const Json& dimensions) {
  const std::size_t sides = std::max<std::size_t>(1, session.sides.size());
  const std::uint64_t most = session.until ? session.max_seeds : session.seeds;
  const double seconds = static_cast<double>(sides * most) * (options.warmup + options.duration);
  Json blocks = Json::array();
  for (std::uint64_t block = 0; !session.sides.empty() && block < most; block++) {
    Json order = Json::array();
    for (const RunStep& step : block_steps(session.order, sides, options.seed, block))
      order.push_back(session.sides[step.side].name);
    blocks.push_back({{"seed", options.seed + block}, {"order", order}});
  }
  if (options.json) {
    const Json plan = {{"dimensions", dimensions},     {"runs", sides * most},
                       {"first_seed", options.seed},   {"last_seed", options.seed + most - 1},
                       {"seconds_of_guests", seconds}, {"blocks", blocks}};
    fmt::print("{}\n", plan.dump(2));
    return;
  }
  for (const auto& [name, value] : dimensions.items())
    fmt::print("{}: {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
  fmt::print("{} run(s), seeds {} to {}, about {:.1f} s\n", sides * most, options.seed,
             options.seed + most - 1, seconds);
  for (const Json& block : blocks) {
    fmt::print("seed {}:", block["seed"].get<std::uint64_t>());
    for (const Json& side : block["order"]) fmt::print(" {}", side.get<std::string>());
    fmt::print("\n");
  }
}

ExitCode run(const Options& options, const Json& arguments,
             const std::vector<std::string>& command) {
  const RunConfig config = run_config(options);
  const Session session = session_of(options);
  const Guests guests = read_guests(options);
  const auto describe = [&] {
    Result result;
    result.tool_version = DYIELD_VERSION;
    result.command = command;
    result.arguments = arguments;
    result.kernel = options.label.empty() ? default_label() : options.label;
    result.environment = collect_environment();
    const Series series = find_series(result.environment);
    result.series = options.series_hash.empty() ? series.hash : options.series_hash;
    result.base = options.base.empty() ? series.base : options.base;
    result.volatile_facts = collect_volatile_facts();
    result.dimensions = dimensions(options, guests, config.cpus.size());
    return result;
  };

  if (options.dry_run) {
    print_plan(options, session, dimensions(options, guests, config.cpus.size()));
    return ExitCode::kOk;
  }

  // Now rather than behind the first run.
  if (!session.output.empty() && !is_run_directory(session.output)) check_writable(session.output);
  {
    const KvmSystem probe;
    require_pause_exits();
  }
  if (is_run_directory(session.output)) {
    if (!session.resume) begin_folder(session.output, arguments, command, describe());
    log_to(session.output / kConsoleFile);
  }
  KernelLog kernel_log;
  if (!kernel_log.obstacle().empty())
    spdlog::warn("There will be no kernel log: {}.", kernel_log.obstacle());
  // A side's command may do anything. Otherwise, until the last run has been set up: BPF,
  // tracepoints, and a priority for the event loop; and results into anybody's folder.
  if (session.sides.empty())
    keep_capabilities({CAP_SYS_ADMIN, CAP_BPF, CAP_PERFMON, CAP_SYS_NICE, CAP_DAC_OVERRIDE});
  const bool emulated = collect_environment().contains("lab");
  World world;
  world.set_up = set_up;
  world.describe = describe;
  world.kernel_log = [&] { return kernel_log.drain(); };
  world.run = [&](std::uint64_t seed, bool last) {
    RunConfig seeded = config;
    seeded.seed = seed;
    if (last) seeded.when_set_up = [] { keep_capabilities({CAP_DAC_OVERRIDE}); };
    // Opened for each run: a side's setup may reload the module.
    const KvmSystem system;
    const Json machine = collect_run_facts();
    Run run = run_once(system, guests, seeded);
    // The lab gives each run a boot or a restored snapshot, and has no other load.
    if (!emulated) run.detail["machine"] = machine;
    return run;
  };
  const SessionResult result = run_session(session, world);

  if (options.json) {
    // Several sides are an array.
    for (std::size_t i = 0; i < result.sides.size(); i++) {
      if (!session.sides.empty()) fmt::print("{}", i == 0 ? "[" : ",");
      fmt::print("{}", to_text(result.sides[i]));
    }
    if (!session.sides.empty()) fmt::print("]\n");
  } else {
    for (const Result& side : result.sides) print_table(side);
    for (const Result& side : result.sides)
      if (session.until && !side.ended.empty()) fmt::print("{}: {}\n", side.kernel, side.ended);
  }
  if (result.failure) std::rethrow_exception(result.failure);
  if (!result.complete) spdlog::error("{}", result.sides.front().ended);
  return result.complete ? ExitCode::kOk : ExitCode::kFailed;
}

// The plan's options, and from this command line those that concern only how
// long and how to show it.
ExitCode resume(const Options& given, const CLI::App& sub,
                const std::vector<std::string>& command) {
  Json arguments = read_plan(given.resume);
  for (const CLI::Option* option : sub.get_options()) {
    const std::string name = option->get_single_name();
    if (option->count() == 0 || name == "resume" || name == "json" || name == "dry-run") continue;
    if (name != "seeds" && name != "max-seeds" && name != "until-ci") {
      throw Error(ExitCode::kUsage,
                  fmt::format("--resume takes everything from the plan in {}; only --seeds, "
                              "--max-seeds, --until-ci, --json and --dry-run may go with it, not "
                              "{}.",
                              given.resume, option->get_name()));
    }
    arguments[name] = option->results().back();
  }
  Options options;
  CLI::App parser;
  add_options(parser, options);
  std::vector<std::string> words;
  try {
    words = command_of(arguments);
    std::ranges::reverse(words);  // CLI::App::parse() takes them from the back
    parser.parse(words);
  } catch (const std::exception& error) {
    throw Error(ExitCode::kUsage, fmt::format("The plan in \"{}\" is not usable: {}; begin anew in "
                                              "another folder.",
                                              given.resume, error.what()));
  }
  options.resume = given.resume;
  options.json = given.json;
  options.dry_run = given.dry_run;
  return run(options, arguments_of(parser), command);
}

void add_options(CLI::App& sub, Options& options) {
  sub.add_option("workload", options.workload, "Its name; see `dyield list`")
      ->type_name("WORKLOAD");
  sub.add_option("--vcpus", options.vcpus, "vCPUs a VM")
      ->check(CLI::Range(2, DYIELD_MAX_VCPUS))
      ->capture_default_str();
  sub.add_option("--vms", options.vms,
                 "VMs, all doing the same but for workloads named ...-beside-...")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  sub.add_option("--cpus", options.cpus,
                 "Host CPUs that the vCPUs share: vCPUs x VMs / CPUs is the overcommit; 0 for all")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  sub.add_option("--pin", options.pin,
                 "none: the scheduler moves vCPUs among the CPUs; each: one CPU for each vCPU")
      ->check(CLI::IsMember({"none", "each"}))
      ->capture_default_str();
  sub.add_option("--quota", options.quota,
                 "Percent of the CPUs' time that each VM may have, by cgroup; 0 for no limit")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  sub.add_option("--seed", options.seed, "Of the first run")
      ->check(not_negative())
      ->capture_default_str();
  // The estimator of a comparison holds all pairs of pairs.
  sub.add_option("--seeds", options.seeds, "Runs, each with the next seed and fresh VMs")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  sub.add_option("--duration", options.duration, "Seconds that count")
      ->check(number_between(0.001, 86400))
      ->capture_default_str();
  sub.add_option("--warmup", options.warmup, "Seconds before them that do not")
      ->check(number_between(0, 3600))
      ->capture_default_str();
  sub.add_option("--limit", options.limit, "Seconds for the rest of a run, until it is a hang")
      ->check(number_between(0.1, 3600))
      ->capture_default_str();
  sub.add_option("--think", options.think, "Mean units of work that a sender does between steps")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  sub.add_option("--unit", options.unit, "Multiplications in a unit of work")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  sub.add_option("--fault", options.fault,
                 "Break the guest on purpose, to see that its check finds it")
      ->check(CLI::IsMember(fault_names()))
      ->capture_default_str();
  sub.add_option("--until-ci", options.until_ci,
                 "Add seeds until the 95 % interval is within this of the mean (of the ratio of "
                 "two sides), such as 2%")
      ->type_name("FRACTION");
  sub.add_option("--max-seeds", options.max_seeds,
                 "The cap of --until-ci (default: 100, and not below --seeds)")
      ->check(CLI::Range(1, 10000));
  sub.add_option("--ci-metric", options.ci_metric,
                 "The metric of --until-ci (default: what the workload gets done, the first that "
                 "dyield compare would call a regression)")
      ->type_name("METRIC");
  sub.add_option("--side", options.sides,
                 "A side to compare, given twice: NAME=COMMAND, where the shell's COMMAND switches "
                 "the machine to it before its runs")
      ->type_name("NAME=COMMAND")
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
  sub.add_option("--order", options.order,
                 "Of the sides: abba (A B, B A, ...), or random within each seed")
      ->check(CLI::IsMember({"abba", "random"}))
      ->capture_default_str();
  sub.add_flag("--aa", options.aa,
               "A control: run one side against itself, where no difference is real");
  sub.add_option("--label", options.label, "Name of the kernel in the result (uname -r)");
  sub.add_option("--series-hash", options.series_hash,
                 "Of the patches in this kernel, for the result (the lab's kernels know theirs)");
  sub.add_option("--base", options.base, "What the patches apply to, for the result");
  sub.add_option("--payload", options.payload, "Guest image to use")->type_name("FILE");
  sub.add_option("--guest-kernel", options.guest_kernel, "bzImage of the linux-... workloads")
      ->type_name("FILE");
  sub.add_option("--guest-initramfs", options.guest_initramfs,
                 "Their initramfs; its /init keeps to guest-workloads/include/dyield_abi.h")
      ->type_name("FILE");
  sub.add_option("--guest-modules", options.guest_modules,
                 "Archive of its module (cpio), for the linux-smp-call workloads")
      ->type_name("FILE");
  sub.add_option("--guest-memory", options.guest_memory,
                 "MiB of each Linux VM (default: 128, and more for a large initramfs)")
      ->check(CLI::Range(16, 3072));
  sub.add_option("--guest-append", options.guest_append,
                 "More words for the guest kernel's command line");
  sub.add_option("--hide-pv", options.hide_pv,
                 fmt::format("KVM's PV features that a Linux guest is not shown: all, or some of "
                             "{}",
                             fmt::join(pv_names(), ",")))
      ->delimiter(',')
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all()
      ->type_name("NAME,...");
  sub.add_flag("--xapic", options.xapic, "Hide x2APIC from a Linux guest");
  sub.add_option("-o,--output", options.output,
                 "Folder to make for the results; one ending in .json is a single file instead "
                 "(replaced as a whole)")
      ->type_name("DIR");
  sub.add_option("--resume", options.resume, "Go on with the runs that this folder's plan has left")
      ->type_name("DIR");
  sub.add_flag("--no-probes", options.no_probes, "Do without BPF: only what the guest counts");
  sub.add_flag("--audit", options.audit,
               "Count a second time by KVM's tracepoints and statistics, to check the probes; and "
               "cycles and instructions, by perf");
  sub.add_flag("--json", options.json, "Print the result file instead of a table");
  sub.add_flag("--dry-run", options.dry_run, "Print what would run, and stop");
}

}  // namespace

fs::path find_payload(const std::string& given) {
  return find_beside(given, "payload.elf", "guest payload", "make harness", "--payload");
}

void add_run_command(CLI::App& app, std::vector<std::string> command,
                     const std::function<void(std::function<ExitCode()>)>& select) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("run", "Run a workload on fresh VMs and count what KVM does");
  add_options(*sub, *options);
  sub->footer(
      "Examples:\n"
      "  dyield run unicast --vcpus 4 --cpus 2\n"
      "  dyield run all-to-all --vcpus 16 --vms 2 --cpus 16 --seeds 30 -o results/patched\n"
      "  dyield run unicast --until-ci 2% -o results/narrow\n"
      "  dyield run --resume results/narrow\n"
      "  dyield run unicast --seeds 30 -o results/poll \\\n"
      "    --side on='echo 200000 >/sys/module/kvm/parameters/halt_poll_ns' \\\n"
      "    --side off='echo 0 >/sys/module/kvm/parameters/halt_poll_ns'\n"
      "  dyield run linux-munmap --vcpus 8 --cpus 4 --hide-pv all   # a Linux guest\n"
      "  dyield run unicast --fault early-free     # must fail: the check works");
  sub->callback([options, sub, command = std::move(command), select] {
    if (options->workload.empty() && options->resume.empty())
      throw CLI::RequiredError("workload (or --resume)");
    select([options, sub, command] {
      return options->resume.empty() ? run(*options, arguments_of(*sub), command)
                                     : resume(*options, *sub, command);
    });
  });
}

}  // namespace dyield
