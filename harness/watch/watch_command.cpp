// SPDX-License-Identifier: GPL-2.0-only
#include "watch/watch_command.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "base/color.h"
#include "base/fd.h"
#include "base/numbers.h"
#include "base/privileges.h"
#include "bpf/watch_loader.h"
#include "engine/environment.h"
#include "loop/event_loop.h"
#include "watch/interval.h"
#include "watch/view.h"
#include "watch/vm_processes.h"

namespace dyield {
namespace {

constexpr const char* kFooter =
    R"(Watches the VMs of QEMU or any other VMM, from now on, without their knowing. A vCPU is
there once it has run. Ends with Ctrl-C, or when every process named by --pid has ended.

A row is a VM or one of its vCPUs:
  PAUSE/s  PAUSE exits a second (calls of kvm_vcpu_on_spin())
  yield/s  directed yields made for them, a second
  hit      percent of the yields judged whose target had yet to take an IPI with the vector that
           the spinning vCPU sent last; the others went past a vCPU that had
  known    percent of the yields made that can be judged: the rest spins for something else
  none     percent of the PAUSE exits that found nobody to try
  rcv pnd krn rdy rlx   percent of the yields made to a vCPU that is a receiver (the series), was
           preempted in user mode with an interrupt pending or in kernel mode, is ready, or had been
           refused, there being nobody else (the series)
  runq99   99 % of the waits for a CPU were shorter (a power of two of ns)
  recv99   the same, of those that ended with an interrupt pending
A hit is likely, not certain, to be whom the spinning vCPU waits for: another vCPU may have sent
that IPI. As the series goes by the same rule, compare kernels by PAUSE/s and recv99, not by hit.
Where there are more PAUSE exits than --limit, a yield counting as three more and each vCPU that is
looked at to judge it as 0.7, it rests for so many intervals as the first line says: its programs
are taken off, and cost nothing. The default keeps what PAUSE exits cost below 1 % of the whole
host's CPU time (at 3 instructions a nanosecond; --cost measures it).
n/a: this kernel has no such tier. "tiers by tracepoint": the kernel says why it chose (the
series); "by state": concluded from the target's state. "lost" counts what the probes missed,
and each time that a vCPU beyond --threads came.

On a terminal the table is redrawn in place, else printed anew for each interval. --json
prints an object a line for each interval, with counts in it (dyield.watch/1).

Examples:
  dyield watch
  dyield watch --pid $(pidof qemu-system-x86_64) --interval 5
  dyield watch --json --count 10 >watch.ndjson)";

struct WatchOptions {
  std::vector<pid_t> pids;
  double interval = 1;
  double duration = 0;
  std::uint64_t count = 0;
  bool json = false;
  bool cost = false;
  double limit = 100000;  // PAUSE exits a second for each CPU; 0: none
  std::uint32_t threads = DYIELD_WATCH_VCPUS;
};

class Watch {
 public:
  explicit Watch(const WatchOptions& options)
      : options_(options),
        probes_(options.pids, options.cost, options.threads),
        intervals_(probes_.has_reasons()) {
    const char* term = std::getenv("TERM");
    live_ = !options.json && ::isatty(STDOUT_FILENO) == 1 && term != nullptr &&
            std::string_view(term) != "dumb";
    emulated_ = collect_environment().contains("lab");
    left_ = options.count;
    if (options.duration > 0) {
      end_ = static_cast<std::uint64_t>(std::ceil(options.duration / options.interval));
    }
  }

  void run() {
    loop_.on_signals({SIGINT, SIGTERM, SIGHUP}, [this](int) {
      if (rest_ == 0) show();
      loop_.stop();
    });
    loop_.on_event(timer_, [this] {
      const bool resting = rest_ > 0;
      if (!resting) {
        show();
      } else if (--rest_ == 0) {
        resume();
      }
      const bool last = left_ > 0 && !resting && --left_ == 0;
      const bool over = end_ > 0 && --end_ == 0;
      if (last || over || all_ended(options_.pids)) loop_.stop();
    });
    loop_.run();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void show() {
    const auto reading = probes_.read();
    // At once, so that both are of the same time.
    auto costs = probes_.costs();
    const auto now = Clock::now();
    WatchInterval interval;
    interval.at = std::chrono::duration<double>(now - begin_).count();
    interval.seconds = std::chrono::duration<double>(now - last_).count();
    interval.rest = std::exchange(rested_, 0);
    last_ = now;
    interval.has_reasons = probes_.has_reasons();
    interval.emulated = emulated_;
    interval.lost = probes_.lost();
    interval.vms = intervals_.next(reading);
    for (const auto& [name, cost] : costs) {
      interval.probes[name] = {cost.runs - costs_[name].runs, cost.ns - costs_[name].ns};
    }
    costs_ = std::move(costs);
    rest(interval);
    if (options_.json) {
      fmt::print("{}\n",
                 to_json(interval).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    } else if (live_) {
      redraw(interval);
    } else {
      fmt::print("{}\n", render(interval, {.color = false}));
    }
    if (std::fflush(stdout) != 0) {
      throw Error(
          ExitCode::kEnvironment,
          fmt::format("Cannot write to standard output: {}; free space, or see where it goes.",
                      errno_text(errno)));
    }
  }

  // As long as it takes for the average to be at the limit, if all intervals are like this one.
  // Programs are attached, one after another, for longer than they are read: to put them on and
  // take them off the kernel waits until nobody is in what it patches.
  void rest(WatchInterval& interval) {
    const double times = limit_ > 0 ? load(interval) / limit_ : 0;
    if (times <= 1) return;
    const auto begin = Clock::now();
    probes_.detach();
    const std::chrono::duration<double> patching = attaching_ + (Clock::now() - begin);
    constexpr double kDay = 86400;
    const double seconds = (interval.seconds + patching.count()) * (times - 1);
    interval.rests =
        static_cast<std::uint64_t>(std::ceil(std::min(seconds, kDay) / options_.interval));
    rest_ = interval.rests;
    // The timer has not told of this time.
    const auto untold = static_cast<std::uint64_t>(patching.count() / options_.interval);
    if (end_ > 0) end_ = std::max<std::uint64_t>(end_, untold + 1) - untold;
    start_timer(timer_, options_.interval);
  }

  // What is counted from here on is the next interval's.
  void resume() {
    const auto begin = Clock::now();
    probes_.attach();
    attaching_ = Clock::now() - begin;
    (void)intervals_.next(probes_.read());
    costs_ = probes_.costs();
    const auto now = Clock::now();
    rested_ = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    start_timer(timer_, options_.interval);
  }

  // From the upper left corner, over what was there (ECMA-48: CUP, ED, EL).
  void redraw(const WatchInterval& interval) {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
      size.ws_col = 80;
      size.ws_row = 24;
    }
    const std::string text =
        render(interval, {.width = size.ws_col, .height = size.ws_row - 1U, .color = want_color()});
    std::string screen = first_ ? "\x1b[2J\x1b[H" : "\x1b[H";
    first_ = false;
    for (const char c : text) screen += c == '\n' ? std::string("\x1b[K\n") : std::string(1, c);
    fmt::print("{}\x1b[J", screen);
  }

  const WatchOptions& options_;
  EventLoop loop_;
  WatchProbes probes_;
  Intervals intervals_;
  std::map<std::string, WatchProbes::Cost> costs_;
  Clock::time_point begin_ = Clock::now(), last_ = begin_;
  Clock::duration attaching_{};  // how long it took last
  double limit_ = options_.limit * static_cast<double>(::sysconf(_SC_NPROCESSORS_ONLN));
  Fd timer_ = make_timer(options_.interval);
  double rested_ = 0;       // seconds before this interval
  std::uint64_t left_ = 0;  // intervals to show; 0: no end
  std::uint64_t end_ = 0;   // intervals to let pass, shown or not; 0: no end
  std::uint64_t rest_ = 0;  // intervals that are not watched from here on
  bool live_ = false, emulated_ = false, first_ = true;
};

}  // namespace

void add_watch_command(CLI::App& app,
                       const std::function<void(std::function<ExitCode()>)>& select) {
  auto options = std::make_shared<WatchOptions>();
  CLI::App* command =
      app.add_subcommand("watch", "Watch the yields of VMs that run already, of any VMM");
  add_pid_option(*command, options->pids);
  command->add_option("--interval", options->interval, "Seconds between two readings")
      ->type_name("SECONDS")
      ->check(number_between(0.01, 3600))
      ->capture_default_str();
  command
      ->add_option("--duration", options->duration,
                   "End after this many seconds, in whole intervals (default: never)")
      ->type_name("SECONDS")
      ->check(number_between(0.01, 1e9));
  command->add_option("--count", options->count, "End after this many intervals (default: never)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", options->json, "Print an object a line for each interval");
  command->add_flag("--cost", options->cost,
                    "Measure what the probes take, too (the measuring makes them slower)");
  command
      ->add_option("--limit", options->limit,
                   "PAUSE exits a second and CPU of the host that may be looked at; 0: any number")
      ->type_name("N")
      ->check(number_between(0, 1e12))
      ->capture_default_str();
  command
      ->add_option("--threads", options->threads,
                   "Room for so many vCPU threads; those beyond it are counted as lost")
      ->type_name("N")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->footer(kFooter);
  command->callback([options, select] {
    select([options] {
      require_vms(options->pids);
      require_something_to_see();
      Watch watch(*options);
      // Maps are read by their descriptors.
      keep_capabilities({});
      watch.run();
      return ExitCode::kOk;
    });
  });
}

}  // namespace dyield
