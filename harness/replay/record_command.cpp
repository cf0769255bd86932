// SPDX-License-Identifier: GPL-2.0-only
#include "replay/record_command.h"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/capability.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/numbers.h"
#include "base/privileges.h"
#include "bpf/record_loader.h"
#include "engine/environment.h"
#include "loop/event_loop.h"
#include "replay/recording.h"
#include "result/atomic_file.h"
#include "watch/vm_processes.h"

namespace dyield {
namespace {

constexpr const char* kFooter =
    R"(Records, for each PAUSE exit, what KVM could have known of every vCPU of the VM (who waits for
a CPU, was preempted in kernel mode, has the spinning vCPU's IPI pending, runs), and whom it
chose, for `dyield replay`. If a single `dyield run` is under way, whom its guests await is
recorded, too. The format is in harness/bpf/record.h. Ends with Ctrl-C, when every process named
by --pid has ended, or after --duration; then the file is written.

A record takes 32 bytes and 2 for each vCPU. Taking it costs more than `dyield watch` does:
several reads of KVM's memory for each vCPU of the VM. So it makes PAUSE exits longer, and what
their vCPUs find another; --one-in spares most exits that. What changes meanwhile, as other vCPUs run,
is not known; `dyield replay` shows how often, as the recording kernel's own policy then chooses
another vCPU than was recorded.

Examples:
  dyield record -o yields.rec --duration 10
  dyield record -o yields.rec --duration 100 --one-in 16
  dyield record -o yields.rec --pid $(pidof qemu-system-x86_64) --limit 16)";

struct RecordOptions {
  std::vector<pid_t> pids;
  std::string output;
  double duration = 0;
  std::uint64_t limit = 64;
  std::uint32_t buffer = 4096;
  std::uint16_t one_in = 1;
};

// Each becomes readable when its process ends. (glibc 2.36 has no C linkage for pidfd_open().)
std::vector<Fd> open_processes(const std::vector<pid_t>& pids) {
  std::vector<Fd> processes;
  for (const pid_t pid : pids) {
    processes.emplace_back(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!processes.back()) {
      throw Error(ExitCode::kUsage,
                  fmt::format("--pid {}: cannot watch that process: {}.", pid, errno_text(errno)));
    }
  }
  return processes;
}

ExitCode record(const RecordOptions& options) {
  require_vms(options.pids);
  const std::vector<Fd> processes = open_processes(options.pids);
  utsname name{};
  ::uname(&name);
  Recording recording(name.release, collect_environment().contains("lab"), options.one_in,
                      options.limit << 20);
  check_writable(options.output);
  require_something_to_see();
  EventLoop loop;
  loop.on_signals({SIGINT, SIGTERM, SIGHUP}, [&](int) { loop.stop(); });
  RecordProbes probes(options.pids, options.buffer << 10, options.one_in,
                      [&](std::string_view decision) { recording.add(decision); });
  // The file is written at the end, into anybody's folder.
  keep_capabilities({CAP_DAC_OVERRIDE});
  if (options.duration > 0) {
    loop.after(std::chrono::nanoseconds(static_cast<std::int64_t>(options.duration * 1e9)),
               [&] { loop.stop(); });
  }
  loop.on_readable(probes.descriptor(), [&] { probes.consume(); });
  std::set<int> ended;
  for (const Fd& process : processes) {
    // Twice: it has ended, its parent has taken note.
    loop.on_readable(process.get(), [&] {
      ended.insert(process.get());
      if (ended.size() == processes.size()) loop.stop();
    });
  }
  loop.run();
  probes.consume();
  write_file_atomically(options.output, recording.text(probes.lost()));
  spdlog::info("{} decisions in \"{}\"; lost {}, beyond --limit {}; whom the guest awaits: {}",
               recording.decisions(), options.output, probes.lost(), recording.not_kept(),
               probes.has_truth() ? "known" : "not known");
  // Not at random: it is the busiest moments that fill a buffer.
  if (const auto lost = probes.lost(); lost > 0) {
    spdlog::warn(
        "The recording is incomplete: {} decisions are not in it, for the kernel's buffer was "
        "full, their vCPUs could not be read, or too many threads spin; raise --buffer, or record "
        "fewer VMs (--pid).",
        lost);
  }
  return ExitCode::kOk;
}

}  // namespace

void add_record_command(CLI::App& app,
                        const std::function<void(std::function<ExitCode()>)>& select) {
  auto options = std::make_shared<RecordOptions>();
  CLI::App* command =
      app.add_subcommand("record", "Record every decision about a directed yield in a file");
  command->add_option("-o,--output", options->output, "The file")->type_name("FILE")->required();
  add_pid_option(*command, options->pids);
  command
      ->add_option("--duration", options->duration, "End after this many seconds (default: never)")
      ->type_name("SECONDS")
      ->check(number_between(0.01, 86400));
  command->add_option("--limit", options->limit, "Largest size of the file, MiB")
      ->type_name("MIB")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option(
          "--buffer", options->buffer,
          "Size of the kernel's buffer, which is read when a quarter is full, KiB; a power "
          "of two")
      ->type_name("KIB")
      ->check(CLI::Range(4, 1 << 20))
      ->check([](const std::string& kib) {
        return std::has_single_bit(std::stoul(kib)) ? "" : "is not a power of two";
      })
      ->capture_default_str();
  command
      ->add_option("--one-in", options->one_in,
                   "Record one of N decisions, chosen by chance: the less is recorded, the less it "
                   "disturbs")
      ->type_name("N")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  command->footer(kFooter);
  command->callback([options, select] { select([options] { return record(*options); }); });
}

}  // namespace dyield
