// SPDX-License-Identifier: GPL-2.0-only
#include "engine/run.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <latch>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <semaphore>
#include <set>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/privileges.h"
#include "base/read_file.h"
#include "base/thread.h"
#include "bpf/probes_loader.h"
#include "engine/cpu_quota.h"
#include "engine/guest_counts.h"
#include "engine/guest_memory.h"
#include "engine/limits.h"
#include "engine/own_memory.h"
#include "engine/stuck.h"
#include "kvm/workload.h"
#include "loop/event_loop.h"
#include "perf/counters.h"

namespace dyield {
namespace {

using std::chrono::nanoseconds;

// While it lives, the calling thread goes before all others that are not real-time
// (nice(2) is a thread's own on Linux). Behind a hundred vCPUs on the same CPU the
// measurement began late and ended late: it took 6.5 s instead of 1. Not a
// real-time class: a guest that rings its doorbells without end would have the
// thread take a CPU from its neighbours. Best effort, as it takes CAP_SYS_NICE: without, how
// long it took is checked all the same.
class GoFirst {
 public:
  GoFirst() : before_(::getpriority(PRIO_PROCESS, 0)) {
    static bool said = false;  // once for all runs
    if (::setpriority(PRIO_PROCESS, 0, -20) != 0 && !std::exchange(said, true)) {
      spdlog::warn(
          "The event loop may not raise its priority and runs at nice {}: on busy CPUs the "
          "measurement takes longer than asked for; run as root or with CAP_SYS_NICE.",
          before_);
    }
  }
  // Threads inherit it: the next run's vCPUs must not.
  ~GoFirst() { ::setpriority(PRIO_PROCESS, 0, before_); }
  GoFirst(const GoFirst&) = delete;
  GoFirst& operator=(const GoFirst&) = delete;

 private:
  int before_;
};

// Descriptors of a VM apart from its vCPUs: itself and its doorbells. And of a
// run: BPF, the loop, files; generous, for they are few.
constexpr std::uint64_t kFilesPerVm = 4, kOtherFiles = 128;
// For threads to end, whatever --limit is: a thousand of them take their time.
constexpr std::chrono::seconds kLeastTimeToStop(10);
// A vCPU thread only runs KVM_RUN; at its worst it words one error.
#ifdef __SANITIZE_THREAD__
constexpr std::size_t kStackSize = 4 * 1024 * 1024;  // it keeps a megabyte of each thread there
#else
constexpr std::size_t kStackSize = 128 * 1024;
#endif
// Of a set for affinity; the kernel's NR_CPUS goes up to 8192.
constexpr std::size_t kMostCpus = 8192;
// A sentence names no more stuck vCPUs than these.
constexpr std::size_t kMostStuck = 8;

// Everything that lives as long as one run. Members are destroyed in reverse
// order: threads first, then what they use.
class Runner {
 public:
  Runner(const KvmSystem& system, const Guests& guests, const RunConfig& config)
      : config_(config), stopped_event_(make_eventfd()) {
    // From here on: an interrupt during the start ends the run in order, too.
    loop_.on_signals({SIGINT, SIGTERM, SIGHUP}, [this](int signal) {
      // Even behind the measurement: what the guests have not acknowledged cannot be checked.
      end(RunStatus::kPartial,
          fmt::format("interrupted by SIG{} {}", sigabbrev_np(signal), moment()));
    });
    if (config.vcpus > system.max_vcpus()) {
      throw Error(
          ExitCode::kSkipped,
          fmt::format("This KVM runs at most {} vCPUs a VM (KVM_CAP_MAX_VCPUS), not {}; ask "
                      "for fewer.",
                      system.max_vcpus(), config.vcpus));
    }
    const std::uint64_t slots = std::uint64_t{config.vms} * config.vcpus;
    const std::uint64_t files = slots + config.vms * kFilesPerVm + kOtherFiles;
    spare_files_ = provide_open_files(files) - files;
    if (config.quota != 0) quota_.emplace(config.quota, config.vms, config.cpus.size());
    if (config.probes) {
      probes_.emplace(Probes::Config{config.vms, config.vcpus, config.audit});
    }
    handle_kicks();
    require_way(system, workload_info(config.workload));
    created_ = EventLoop::Clock::now();
    for (std::uint32_t i = 0; i < config.vms; i++) {
      // VMs of one run differ in their seeds, runs of one seed do not.
      const Vm::Config vm{config.vcpus,
                          config.seed * 1000003 + i,
                          workload_info(config.workload).of_vm(i),
                          config.fault,
                          config.think,
                          config.unit};
      if (linux_guest()) {
        vms_.push_back(std::make_unique<LinuxVm>(system, guests.linux_guest.value(), vm));
      } else {
        vms_.push_back(std::make_unique<PayloadVm>(system, guests.payload.value(), vm));
      }
    }
    for (std::uint32_t i = 0; probes_ && i < config.vms; i++) {
      probes_->adopt(i, vms_[i]->shared());
    }
  }

  ~Runner() { stop_threads(); }

  Run run() {
    loop_.on_event(stopped_event_, [this] {
      const std::lock_guard lock(mutex_);
      end(RunStatus::kFailed, thread_failure_);
    });
    for (std::uint32_t i = 0; i < vms_.size(); i++) {
      Vm& vm = *vms_[i];
      // A guest can ring as often and as early as it likes.
      loop_.on_event(vm.doorbell(DYIELD_PORT_READY), [this, i] {
        if (ready_.insert(i).second && ready_.size() == vms_.size()) start();
      });
      loop_.on_event(vm.doorbell(DYIELD_PORT_DONE), [this, i] {
        if (phase_ != DYIELD_PHASE_STOP) {
          end(RunStatus::kFailed, fmt::format("VM {} says that it has stopped, {}", i, moment()));
        } else if (done_.insert(i).second && done_.size() == vms_.size()) {
          end(RunStatus::kComplete, "");
        }
      });
      loop_.on_event(vm.doorbell(DYIELD_PORT_FAULT), [this, i] {
        end(RunStatus::kFailed, fmt::format("in VM {}, {}", i, describe(vms_[i]->shared().error)));
      });
    }
    loop_.after(config_.warmup + config_.duration + config_.limit,
                [this] { end(RunStatus::kFailed, kHang); });
    // What is stuck at the limit has made no progress for the second half of it.
    loop_.after(config_.warmup + config_.duration + config_.limit / 2, [this] {
      for (const auto& vm : vms_) {
        for (std::uint32_t i = 0; i < config_.vcpus; i++) {
          progress_.push_back(load(vm->shared().vcpu[i].progress));
        }
      }
    });
    start_threads();
    {
      const GoFirst go_first;
      if (config_.when_set_up) config_.when_set_up();
      release_threads();
      loop_.run();
    }
    collect_memory();
    stop_threads();
    // Only now: registers can be read of a vCPU that is out of KVM_RUN.
    if (run_.reason == kHang) run_.reason = describe_hang();
    collect();
    return std::move(run_);
  }

 private:
  // The start gun: every vCPU is up, its APIC enabled, and halted.
  void start() {
    startup_ = EventLoop::Clock::now() - created_;
    set_phase(config_.warmup.count() > 0 ? DYIELD_PHASE_WARMUP : DYIELD_PHASE_MEASURE);
    started_ = EventLoop::Clock::now();
    for (auto& vm : vms_) vm->fire_start_gun();
    loop_.after(config_.warmup, [this] {
      set_phase(DYIELD_PHASE_MEASURE);
      started_ = EventLoop::Clock::now();
      if (perf_) perf_->start();
      loop_.after(config_.duration, [this] {
        if (perf_) perf_->stop();
        set_phase(DYIELD_PHASE_STOP);
        measured_ = EventLoop::Clock::now() - started_;
      });
    });
  }

  void set_phase(dyield_phase phase) {
    phase_ = phase;
    for (auto& vm : vms_) std::atomic_ref(vm->shared().phase).store(phase);
  }

  void end(RunStatus status, const std::string& reason) {
    if (status == RunStatus::kPartial && !measured_ && phase_ == DYIELD_PHASE_MEASURE) {
      measured_ = EventLoop::Clock::now() - started_;
      if (perf_) perf_->stop();
      set_phase(DYIELD_PHASE_STOP);
    }
    run_.status = status;
    run_.reason = status == RunStatus::kComplete ? "" : reason;
    loop_.stop();
  }

  // When something came in between, for a person.
  std::string moment() const {
    switch (phase_) {
      case DYIELD_PHASE_BOOT:
        return "before the start gun";
      case DYIELD_PHASE_WARMUP:
        return "during the warm-up";
      case DYIELD_PHASE_MEASURE:
        return "during the measurement";
      default:
        return "after the measurement, before the guests had stopped";
    }
  }

  void collect_memory() {
    run_.detail["startup_ns"] = startup_ ? Json(startup_->count()) : Json();
    auto own = process_resident_bytes();
    for (const auto& vm : vms_) {
      // mincore() also counts the zero page, and the process' own sum may lag behind.
      const auto guest = resident_bytes(vm->memory());
      own = own && guest && *guest <= *own ? std::optional(*own - *guest) : std::nullopt;
    }
    run_.detail["own_memory_bytes"] = own ? Json(*own) : Json();
  }

  std::string describe_hang() const {
    if (phase_ == DYIELD_PHASE_WARMUP || phase_ == DYIELD_PHASE_MEASURE) {
      return fmt::format(
          "the guests were up after {} ms only, too late for all of the measurement; raise --limit",
          std::chrono::duration_cast<std::chrono::milliseconds>(*startup_).count());
    }
    std::string text =
        fmt::format("the guests did not {} within {} ms",
                    ready_.size() < vms_.size() ? "come up" : "stop after the measurement",
                    std::chrono::duration_cast<std::chrono::milliseconds>(config_.limit).count());
    std::vector<VcpuState> states;
    for (std::uint32_t v = 0; v < vms_.size(); v++) {
      const auto before = progress_.empty()
                              ? std::span<const std::uint64_t>{}
                              : std::span(progress_).subspan(v * config_.vcpus, config_.vcpus);
      std::ranges::move(read_states(v, vms_[v]->shared(), config_.vcpus, before),
                        std::back_inserter(states));
    }
    text += describe_stuck(std::move(states), kMostStuck, [this](const VcpuState& state) {
      return vms_[state.vm]->vcpus()[state.vcpu].describe_registers();
    });
    // Of the first VM that it is about.
    const auto& others = ready_.size() < vms_.size() ? ready_ : done_;
    std::uint32_t late = 0;
    while (others.contains(late) && late + 1 < vms_.size()) late++;
    return text + vms_[late]->last_words();
  }

  // Does Linux run in the VMs?
  [[nodiscard]] bool linux_guest() const { return workload_info(config_.workload).linux_guest(); }

  void start_threads() {
    const std::size_t count = vms_.size() * config_.vcpus;
    registered_ = std::make_unique<std::latch>(static_cast<std::ptrdiff_t>(count));
    go_ = std::make_unique<std::latch>(1);
    tids_.resize(count);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackSize);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
    for (std::uint32_t v = 0; v < vms_.size(); v++) {
      for (std::uint32_t i = 0; i < config_.vcpus; i++) {
        threads_.push_back(start_thread([this, v, i] {
          const std::size_t slot = std::size_t{v} * config_.vcpus + i;
          tids_[slot] = ::gettid();
          pthread_setname_np(pthread_self(), fmt::format("vm{}/vcpu{}", v, i).c_str());
          bool prepared = false;
          try {
            keep_capabilities({});
            place(slot);
            prepared = true;
          } catch (const Error& error) {
            end_thread(error.what());
          }
          registered_->count_down();
          go_->wait();
          if (prepared) vcpu_main(v, i);
          ended_threads_.release();
        }));
      }
    }
    registered_->wait();
    for (std::uint32_t slot = 0; quota_ && slot < count; slot++) {
      quota_->limit(tids_[slot], slot / config_.vcpus);
    }
    for (std::uint32_t slot = 0; probes_ && slot < count; slot++) {
      const std::uint32_t vm = slot / config_.vcpus;
      dyield_thread thread{};
      thread.vm = vm;
      thread.vcpu = slot % config_.vcpus;
      thread.slot = slot;
      thread.vcpus = config_.vcpus;
      thread.publishes = workload_info(config_.workload).publishes();
      const bool stray = config_.fault == DYIELD_FAULT_STRAY && thread.vcpu == 0;
      thread.owner = stray ? vm + config_.vms : vm;
      probes_->add_thread(tids_[slot], thread);
    }
    if (config_.audit) {
      perf_.emplace(thread_events(), tids_, spare_files_);
      // Over the whole run, like the other accounts of the audit.
      perf_audit_.emplace(kvm_events(), tids_, spare_files_ - perf_->open_files());
      perf_audit_->start();
    }
  }

  // Also when the start failed half-way: no thread is left behind the gate.
  void release_threads() {
    if (go_ && !go_->try_wait()) go_->count_down();
  }

  // The CPUs were checked when they were chosen, but a side's command, hotplug or a cgroup can take
  // some away; the kernel then goes on with the others.
  void place(std::size_t slot) const {
    std::vector<cpu_set_t> set(kMostCpus / CPU_SETSIZE), got(set.size());
    const std::size_t size = set.size() * sizeof(cpu_set_t);
    if (config_.pin == Pin::kEach) {
      CPU_SET_S(config_.cpus[slot % config_.cpus.size()], size, set.data());
    } else {
      for (const int cpu : config_.cpus) CPU_SET_S(cpu, size, set.data());
    }
    int error = pthread_setaffinity_np(pthread_self(), size, set.data());
    if (error == 0) error = pthread_getaffinity_np(pthread_self(), size, got.data());
    if (error == 0 && CPU_EQUAL_S(size, set.data(), got.data())) return;
    throw Error(ExitCode::kEnvironment,
                fmt::format("VM {} vCPU {} cannot be placed on its CPUs{}: {} of {} may be used; "
                            "see what took CPUs away (hotplug, cpuset, --side), and run again",
                            slot / config_.vcpus, slot % config_.vcpus,
                            error == 0 ? "" : " (" + errno_text(error) + ")",
                            CPU_COUNT_S(size, got.data()), CPU_COUNT_S(size, set.data())));
  }

  // The first of the threads that fail says why.
  void end_thread(const std::string& why) {
    const std::lock_guard lock(mutex_);
    if (!thread_failure_.empty()) return;
    thread_failure_ = why;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(stopped_event_.get(), &one, sizeof one);
  }

  void vcpu_main(std::uint32_t vm, std::uint32_t index) {
    Vcpu& vcpu = vms_[vm]->vcpus()[index];
    while (!stopping_.load()) {
      const int result = vcpu.run();
      if (result == -EINTR || result == -EAGAIN) continue;
      if (result == 0 && (vcpu.exit().exit_reason == KVM_EXIT_INTR || vms_[vm]->serve(vcpu))) {
        continue;
      }
      return end_thread(fmt::format("in VM {}, {}, progress {}{}", vm, vcpu.describe_exit(result),
                                    load(vms_[vm]->shared().vcpu[index].progress),
                                    vms_[vm]->last_words()));
    }
  }

  void stop_threads() {
    stopping_ = true;
    release_threads();
    for (auto& vm : vms_) {
      for (Vcpu& vcpu : vm->vcpus()) vcpu.kick();
    }
    for (std::thread& thread : threads_) pthread_kill(thread.native_handle(), kKickSignal);
    const auto until =
        EventLoop::Clock::now() + std::max<nanoseconds>(config_.limit, kLeastTimeToStop);
    for (std::size_t i = 0; i < threads_.size(); i++) {
      if (!ended_threads_.try_acquire_until(until)) give_up();
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  // A thread that does not come back from the kernel cannot be waited for, and uses what the
  // rest of this process would free.
  [[noreturn]] void give_up() const {
    const auto task = [this](std::size_t slot) {
      return std::filesystem::path(fmt::format("/proc/self/task/{}", tids_[slot]));
    };
    std::error_code error;
    std::size_t slot = 0;
    while (slot + 1 < tids_.size() && !std::filesystem::exists(task(slot), error)) slot++;
    spdlog::critical(
        "VM {} vCPU {} of seed {} does not come back from the kernel ({}); see the kernel's log "
        "(dmesg), and restart the machine if the process cannot be killed.",
        slot / config_.vcpus, slot % config_.vcpus, config_.seed, first_line(task(slot) / "wchan"));
    std::fflush(nullptr);
    std::_Exit(static_cast<int>(ExitCode::kTimeout));
  }

  void collect();
  void collect_probes();
  void collect_reasons();
  void collect_delays();
  void collect_perf();
  void collect_audit();

  const RunConfig& config_;
  Fd stopped_event_;  // a vCPU thread ended by itself; why is in thread_failure_
  // A VM has a thread of the kernel's, kvm-nx-lpage-recovery, in the group of its vCPUs: it
  // has to go first.
  std::optional<CpuQuota> quota_;
  std::vector<std::unique_ptr<Vm>> vms_;
  std::optional<Probes> probes_;
  std::optional<PerfCounters> perf_;
  std::optional<PerfCounters> perf_audit_;
  std::uint64_t spare_files_ = 0;
  EventLoop loop_;

  std::set<std::uint32_t> ready_, done_;        // VMs that have said so
  dyield_phase phase_ = DYIELD_PHASE_BOOT;      // the guests can write theirs
  static constexpr const char* kHang = "hang";  // worded when the threads are stopped
  EventLoop::Clock::time_point created_{}, started_{};
  std::optional<nanoseconds> startup_;
  std::vector<std::uint64_t> progress_;  // of all vCPUs, some time before the limit
  std::optional<nanoseconds> measured_;
  Run run_;

  std::mutex mutex_;
  std::string thread_failure_;
  std::atomic<bool> stopping_ = false;
  std::vector<pid_t> tids_;
  std::unique_ptr<std::latch> registered_;  // every vCPU thread has stated its ID
  std::unique_ptr<std::latch> go_;
  std::counting_semaphore<> ended_threads_{0};
  std::vector<std::thread> threads_;
};

Json perf_json(const PerfCounters& counters) {
  Json perf = Json::object();
  for (const PerfCount& c : counters.read()) {
    Json& entry = perf[std::string(c.name)];
    if (c.value) {
      entry = {{"value", *c.value}, {"unit", c.unit}, {"share_counted", c.share_counted}};
    } else {
      entry = {{"absent", c.absent}};
    }
  }
  return perf;
}

void Runner::collect() {
  run_.seed = config_.seed;
  if (quota_) {
    run_.detail["cpu_stat"] = quota_->stat();
    if (run_.status == RunStatus::kComplete && !quota_->holds()) {
      run_.status = RunStatus::kFailed;
      run_.reason =
          "the VMs' limit of CPU time was taken away by somebody who disabled the cpu "
          "controller (cgroup.subtree_control) above them";
    }
  }
  run_.detail["measured_ns"] = measured_.value_or(nanoseconds{}).count();
  if (run_.status == RunStatus::kComplete) {
    if (const std::string note = duration_note(config_.duration, *measured_); !note.empty()) {
      run_.notes.push_back(note);
      spdlog::warn("seed {}: {}", config_.seed, note);
    }
  }

  std::vector<const dyield_shared*> guests;
  for (const auto& vm : vms_) guests.push_back(&vm->shared());
  collect_guests(run_, guests, vms_.front()->vcpus().front().tsc_khz(), config_);
  if (probes_) collect_probes();
  collect_perf();
  if (run_.status == RunStatus::kFailed) run_.counts.clear();
}

// Sums of the BPF side's counts.
struct Yields {
  std::uint64_t tried = 0, made = 0, while_waiting = 0, to_awaited = 0, starved_to_awaited = 0,
                needless = 0;

  void add(const dyield_made& some) {
    for (int state = 0; state < DYIELD_EXIT_STATES; state++) {
      for (const bool awaited : {false, true}) {
        const std::uint64_t n = some.by[state][awaited ? 1 : 0];
        tried += n;
        made += n;
        if (state != DYIELD_EXIT_IDLE) while_waiting += n;
        if (state == DYIELD_EXIT_WAITING) needless += n;
        if (awaited) to_awaited += n;
        // A yield made ends the PAUSE exit: counted once.
        if (awaited && state == DYIELD_EXIT_STARVED) starved_to_awaited += n;
      }
    }
  }
  void add(const dyield_reason& reason) {
    add(reason.made);
    tried += reason.failed_state + reason.failed_alone;
  }
};

void Runner::collect_probes() {
  auto& counts = run_.counts;
  const WorkloadInfo& info = workload_info(config_.workload);
  Yields yields;
  for (const dyield_counts& c : probes_->counts()) {
    const auto& exits = c.pause_exits[DYIELD_PHASE_MEASURE];
    const std::uint64_t starved = exits[DYIELD_EXIT_STARVED];
    const std::uint64_t waiting = exits[DYIELD_EXIT_WAITING] + starved;
    counts["pause_exits"] += exits[DYIELD_EXIT_IDLE] + waiting;
    // One account or the other: see struct dyield_counts.
    yields.add(c.made[DYIELD_PHASE_MEASURE]);
    yields.tried += c.failed[DYIELD_PHASE_MEASURE];
    if (probes_->has_reasons() && !config_.audit) {
      for (const dyield_reason& reason : c.reason) yields.add(reason);
    }
    if (!info.publishes()) continue;
    counts["pause_exits_waiting"] += waiting;
    counts["pause_exits_starved"] += starved;
    counts["ipis_awaited"] += c.ipis_awaited[DYIELD_PHASE_MEASURE];
    counts["ipis_to_waiting"] += c.ipis_to_waiting[DYIELD_PHASE_MEASURE];
  }
  counts["yields_tried"] = yields.tried;
  counts["yields_made"] = yields.made;
  if (info.publishes()) {
    counts["starved_to_awaited"] = yields.starved_to_awaited;
    counts["yields_while_waiting"] = yields.while_waiting;
    counts["yields_to_awaited"] = yields.to_awaited;
    counts["yields_needless"] = yields.needless;
  }
  // Linux does not publish whom a vCPU awaits: what rests on that is absent, not zero.
  if (info.publishes()) {
    counts["pause_exits_wasted"] = counts["pause_exits_starved"] - counts["starved_to_awaited"];
    counts["pause_exits_nothing_to_gain"] =
        counts["pause_exits_waiting"] - counts["pause_exits_starved"];
  }
  collect_reasons();
  collect_delays();

  const std::uint64_t lost = probes_->lost();
  run_.detail["probe_events_lost"] = lost;
  if (lost > 0 && run_.status == RunStatus::kComplete) {
    // What is missing is not missing at random, so the run is not to be compared.
    run_.status = RunStatus::kPartial;
    run_.reason = fmt::format(
        "the probes lost {} events, so their counts are too low; have no other BPF tool look on, "
        "and the kernel preempt itself less (echo lazy >/sys/kernel/debug/sched/preempt)",
        lost);
    run_.go_on = true;
  }
  // Rows are spinners, columns targets; all VMs' vCPUs in order.
  Json targets = Json::array();
  for (std::size_t slot = 0; slot < tids_.size(); slot++) {
    const auto row = probes_->targets().subspan(slot * config_.vcpus, config_.vcpus);
    targets.push_back(std::vector<std::uint64_t>(row.begin(), row.end()));
  }
  run_.detail["yields_by_target"] = std::move(targets);
  if (config_.audit) collect_audit();
}

// Yields by the reason that KVM gives for them. A kernel that gives none has no tiers: that is
// absent, not zero.
void Runner::collect_reasons() {
  if (!probes_->has_reasons()) {
    run_.detail["yields_by_reason"] = nullptr;
    return;
  }
  constexpr std::array kNames = {
#define X(id, name) #name,
      DYIELD_REASONS(X)
#undef X
          "unknown"};
  const bool publishes = workload_info(config_.workload).publishes();
  Json reasons = Json::object();
  for (std::size_t i = 0; i < kNames.size(); i++) {
    const std::string name = kNames[i];
    Yields yields;
    std::uint64_t failed_state = 0, failed_alone = 0;
    std::array<std::uint64_t, DYIELD_EXIT_STATES> nobody{};
    for (const dyield_counts& c : probes_->counts()) {
      yields.add(c.reason[i]);
      failed_state += c.reason[i].failed_state;
      failed_alone += c.reason[i].failed_alone;
      for (std::size_t state = 0; state < nobody.size(); state++) {
        nobody[state] += c.reason[i].nobody[state];
      }
    }
    if (i == DYIELD_REASON_NONE || i == DYIELD_REASON_HOLD) {
      const std::uint64_t starved = nobody[DYIELD_EXIT_STARVED];
      const std::uint64_t waiting = nobody[DYIELD_EXIT_WAITING] + starved;
      reasons[name] = {{"pause_exits", nobody[DYIELD_EXIT_IDLE] + waiting}};
      if (publishes) reasons[name].update({{"waiting", waiting}, {"starved", starved}});
      continue;
    }
    reasons[name] = {{"tried", yields.tried},
                     {"made", yields.made},
                     {"failed_target_running_or_asleep", failed_state},
                     {"failed_alone_on_both_cpus", failed_alone}};
    if (!publishes) continue;
    reasons[name].update({{"while_waiting", yields.while_waiting},
                          {"to_awaited", yields.to_awaited},
                          {"starved_to_awaited", yields.starved_to_awaited}});
    if (i == DYIELD_REASON_UNKNOWN) continue;
    for (const char* field : {"while_waiting", "to_awaited", "starved_to_awaited"}) {
      run_.counts[fmt::format("{}_{}", name, field)] = reasons[name][field].get<std::uint64_t>();
    }
  }
  run_.detail["yields_by_reason"] = std::move(reasons);
}

// Histograms: counts[i] is of the delays in [edges[i], edges[i + 1]).
void Runner::collect_delays() {
  const auto collect = [&](const std::string& name, const char* meaning,
                           dyield_histogram dyield_vm::*field) {
    Json per_vm = Json::array();
    std::array<std::uint64_t, DYIELD_BUCKETS> all{};
    std::size_t used = 0;
    for (const dyield_vm& vm : probes_->vms()) {
      const dyield_histogram& histogram = vm.*field;
      run_.counts[name + "_ns"] += histogram.sum;
      for (std::size_t i = 0; i < all.size(); i++) {
        all[i] += histogram.bucket[i];
        if (histogram.bucket[i] > 0) used = std::max(used, i + 1);
      }
    }
    for (const dyield_vm& vm : probes_->vms()) {
      const auto& bucket = (vm.*field).bucket;
      per_vm.push_back(std::vector<std::uint64_t>(bucket, bucket + used));
    }
    run_.counts[name + "s"] = std::accumulate(all.begin(), all.end(), std::uint64_t{0});
    std::vector<std::uint64_t> edges{0};
    for (std::size_t i = 1; i <= used; i++) edges.push_back(std::uint64_t{1} << i);
    run_.detail["histograms"][name] = {
        {"meaning", meaning}, {"unit", "ns"}, {"edges", edges}, {"counts", std::move(per_vm)}};
  };
  if (workload_info(config_.workload).publishes()) {
    collect("receiver_delay",
            "from an awaited IPI to a vCPU without a CPU until it has one; a row a VM",
            &dyield_vm::ipi_to_running);
  }
  collect("run_queue_delay", "from preemption or wake-up of a vCPU until it has a CPU; a row a VM",
          &dyield_vm::runnable_to_running);
  if (config_.audit) {
    collect("yield_delay",
            "from a directed yield to a vCPU without a CPU until it has one; a row a VM",
            &dyield_vm::yield_to_running);
    std::uint64_t& followed = run_.counts["yields_followed"] = 0;
    for (const dyield_vm& vm : probes_->vms()) {
      const auto& bucket = vm.yield_to_running.bucket;
      followed = std::accumulate(bucket, bucket + DYIELD_BUCKETS_FOLLOWED, followed);
    }
  }
}

void Runner::collect_perf() {
  Json& perf = run_.detail["perf"];
  if (perf_) perf = perf_json(*perf_);
  for (const PerfEvent& event : thread_events()) {
    if (!perf_) perf[std::string(event.name)] = {{"absent", "it is counted with --audit only"}};
  }
  if (probes_) {
    std::uint64_t switches = 0, migrations = 0;
    for (const dyield_counts& c : probes_->counts()) {
      switches += c.switches;
      migrations += c.migrations;
    }
    perf["context_switches"] = {{"value", switches}, {"unit", "switches"}, {"share_counted", 1.0}};
    perf["cpu_migrations"] = {
        {"value", migrations}, {"unit", "migrations"}, {"share_counted", 1.0}};
  } else {
    for (const char* name : {"context_switches", "cpu_migrations"})
      perf[name] = {{"absent", "the probes count it, and there were none (--no-probes)"}};
  }
  for (const auto& [name, count] : perf.items()) {
    if (count.contains("value")) run_.counts[name] = count["value"].get<std::uint64_t>();
  }
}

void Runner::collect_audit() {
  std::uint64_t spins = 0, exits = 0, pause_exits = 0, ipis = 0, awaited = 0, flags_only = 0;
  std::uint64_t sched_only = 0, yields = 0, made = 0, outside = 0;
  Json decisions = Json::array();
  for (const dyield_counts& c : probes_->counts()) {
    for (const auto& by_state : c.pause_exits) {
      spins += std::accumulate(std::begin(by_state), std::end(by_state), std::uint64_t{0});
    }
    Yields yields_made;
    for (const dyield_made& some : c.made) yields_made.add(some);
    made += yields_made.made;
    exits += c.audit_exits;
    pause_exits += c.audit_pause_exits;
    ipis += c.audit_ipis;
    awaited += c.audit_awaited;
    flags_only += c.audit_flags_only;
    sched_only += c.audit_sched_only;
    yields += c.audit_yields;
    outside += c.audit_yields_outside;
    const std::uint64_t ns = probes_->has_reasons() ? c.audit_decision_guess : c.audit_decision;
    decisions.push_back(ns > 0 ? Json(ns) : Json());
  }
  Json kvm = Json::object();
  bool whole = true;
  for (const auto& vm : vms_) {
    for (const Vcpu& vcpu : vm->vcpus()) {
      const auto stats = vcpu.stats();
      whole = whole && stats;
      if (!stats) continue;
      for (const auto& [name, value] : *stats) {
        if (name == "exits" || name.starts_with("directed_yield") || name.starts_with("spin_")) {
          kvm[name] = kvm.value(name, std::uint64_t{0}) + value;
        }
      }
    }
  }
  // A sum over some of them is none.
  if (!whole) kvm = nullptr;
  // Whole-run totals of the same facts from sources that know nothing of each other.
  run_.detail["audit"] = {
      {"kvm_stat", std::move(kvm)},
      {"bpf",
       {{"on_spin_calls", spins},
        {"kvm_exit", exits},
        {"kvm_exit_pause", pause_exits},
        {"kvm_apic_accept_irq", ipis},
        {"awaited_vcpus", awaited},
        {"waiting_for_cpu_by_kvm_flags_only", flags_only},
        {"waiting_for_cpu_by_scheduler_only", sched_only},
        {"yield_to_calls", yields},
        {"yields_made", made},
        {"yield_to_outside_vm", outside}}},
      {"perf", perf_json(*perf_audit_)},
      {"guest", {{"ipis_sent", run_.detail["whole_run"]["ipis_sent"]}}},
      // From kvm_vcpu_on_spin() to its first yield, to a vCPU that is no known receiver: the least
      // of each spinning vCPU.
      {"fastest_guess_ns", std::move(decisions)},
  };
  if (outside > 0) {
    run_.status = RunStatus::kFailed;
    run_.reason = fmt::format(
        "KVM asked {} times to yield to a thread that is no vCPU of the spinning one's VM",
        outside);
  }
}

}  // namespace

std::string duration_note(nanoseconds asked, nanoseconds measured) {
  // In the lab it is up to 2.2 %.
  constexpr double kTolerated = 0.05;
  const double more =
      static_cast<double>((measured - asked).count()) / static_cast<double>(asked.count());
  if (more <= kTolerated) return "";
  return fmt::format(
      "the measurement took {:.1f} % longer than asked for, and counts are of all that time: "
      "measure longer, on CPUs that are less busy, or as root",
      more * 100);
}

Run run_once(const KvmSystem& system, const Guests& guests, const RunConfig& config) {
  return Runner(system, guests, config).run();
}

}  // namespace dyield
