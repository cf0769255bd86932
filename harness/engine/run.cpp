// SPDX-License-Identifier: GPL-2.0-only
#include "engine/run.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "base/error.h"
#include "bpf/probes_loader.h"
#include "engine/event_loop.h"
#include "engine/limits.h"
#include "engine/own_memory.h"
#include "engine/stuck.h"
#include "perf/counters.h"

namespace dyield {
namespace {

using std::chrono::nanoseconds;

// Makes KVM_RUN return; its handler does nothing.
constexpr int kKickSignal = SIGUSR1;

// Descriptors of a VM apart from its vCPUs: itself and its doorbells. And of a
// run: BPF, the loop, files; generous, for they are few.
constexpr std::uint64_t kFilesPerVm = 4, kOtherFiles = 128;
// A vCPU thread only runs KVM_RUN; at its worst it words one error.
constexpr std::size_t kStackSize = 128 * 1024;
// A sentence names no more stuck vCPUs than these.
constexpr std::size_t kMostStuck = 8;

std::uint32_t load(const std::uint32_t& field) {
  return std::atomic_ref(const_cast<std::uint32_t&>(field)).load();
}

std::uint64_t total(const dyield_vcpu& vcpu,
                    const dyield_u64 (dyield_vcpu::*field)[DYIELD_PHASES]) {
  return std::accumulate(std::begin(vcpu.*field), std::end(vcpu.*field), std::uint64_t{0});
}

// What the guest wrote into its error record, as a sentence.
std::string describe(const dyield_error& error) {
  switch (load(error.code)) {
    case DYIELD_ERROR_STALE_TRANSLATION:
      return fmt::format(
          "vCPU {} read a freed page through window {}: it found {:#x} after generation {}, so a "
          "TLB entry outlived its shootdown",
          error.vcpu, error.detail[0], error.detail[1], error.detail[2]);
    case DYIELD_ERROR_EXCEPTION:
      return fmt::format("vCPU {} took exception {} at RIP {:#x}, error code {:#x}, CR2 {:#x}",
                         error.vcpu, error.detail[0], error.detail[1], error.detail[2],
                         error.detail[3]);
    case DYIELD_ERROR_ABI:
      return fmt::format(
          "the payload was built for another layout: it found magic {:#x}, version "
          "{}; build both again",
          error.detail[0], error.detail[1]);
    case DYIELD_ERROR_APIC_ID:
      return fmt::format("vCPU {} has APIC ID {} instead of {}", error.vcpu, error.detail[1],
                         error.detail[0]);
    default:
      return fmt::format("vCPU {} reported the unknown error {}", error.vcpu, load(error.code));
  }
}

// Everything that lives as long as one run. Members are destroyed in reverse
// order: threads first, then what they use.
class Runner {
 public:
  Runner(const KvmSystem& system, const Payload& payload, const RunConfig& config)
      : config_(config), stopped_event_(::eventfd(0, EFD_CLOEXEC)) {
    if (!stopped_event_) {
      throw Error(ExitCode::kEnvironment,
                  fmt::format("Cannot create an eventfd: {}; raise the limit of open files "
                              "(ulimit -n).",
                              errno_text(errno)));
    }
    // From here on: an interrupt during the start ends the run in order, too.
    loop_.on_signals({SIGINT, SIGTERM}, [this](int signal) {
      // Even behind the measurement: what the guests have not acknowledged cannot be checked.
      end(RunStatus::kPartial,
          fmt::format("interrupted by {} {}", signal == SIGINT ? "SIGINT" : "SIGTERM", moment()));
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
    if (config.probes) {
      probes_.emplace(Probes::Config{config.vms * config.vcpus, config.vcpus, config.audit});
    }
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(kKickSignal, &action, nullptr);

    created_ = EventLoop::Clock::now();
    for (std::uint32_t i = 0; i < config.vms; i++) {
      // VMs of one run differ in their seeds, runs of one seed do not.
      vms_.push_back(
          std::make_unique<Vm>(system, payload,
                               Vm::Config{config.vcpus, config.seed * 1000003 + i, config.workload,
                                          config.fault, config.think, config.unit}));
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
      loop_.on_event(vm.doorbell(DYIELD_PORT_READY), [this] {
        if (++ready_ == vms_.size()) start();
      });
      loop_.on_event(vm.doorbell(DYIELD_PORT_DONE), [this] {
        if (++done_ == vms_.size()) end(RunStatus::kComplete, "");
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
          progress_.push_back(vm->shared().vcpu[i].progress);
        }
      }
    });
    start_threads();
    loop_.run();
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
    for (auto& vm : vms_) {
      for (std::uint32_t i = 0; i < config_.vcpus; i++) vm->interrupt(i, DYIELD_VECTOR_START);
    }
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
    for (auto& vm : vms_) std::atomic_ref(vm->shared().phase).store(phase);
  }

  void end(RunStatus status, const std::string& reason) {
    if (status == RunStatus::kPartial && !measured_ &&
        load(vms_.front()->shared().phase) == DYIELD_PHASE_MEASURE) {
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
    switch (load(vms_.empty() ? kBoot : vms_.front()->shared().phase)) {
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
      const auto guest = resident_bytes(vm->memory());
      own = own && guest ? std::optional(*own - *guest) : std::nullopt;
    }
    run_.detail["own_memory_bytes"] = own ? Json(*own) : Json();
  }

  std::string describe_hang() const {
    std::string text =
        fmt::format("the guests did not {} within {} ms",
                    ready_ < vms_.size() ? "come up" : "stop after the measurement",
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
    return text;
  }

  void start_threads() {
    const std::size_t count = vms_.size() * config_.vcpus;
    std::latch registered(static_cast<std::ptrdiff_t>(count));
    go_ = std::make_unique<std::latch>(1);
    tids_.resize(count);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackSize);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
    for (std::uint32_t v = 0; v < vms_.size(); v++) {
      for (std::uint32_t i = 0; i < config_.vcpus; i++) {
        threads_.emplace_back([this, v, i, &registered] {
          const std::size_t slot = std::size_t{v} * config_.vcpus + i;
          tids_[slot] = ::gettid();
          pthread_setname_np(pthread_self(), fmt::format("vm{}/vcpu{}", v, i).c_str());
          place(slot);
          registered.count_down();
          go_->wait();
          vcpu_main(v, i);
        });
      }
    }
    registered.wait();
    for (std::uint32_t slot = 0; probes_ && slot < count; slot++) {
      const std::uint32_t vm = slot / config_.vcpus;
      dyield_thread thread{};
      thread.shared = reinterpret_cast<std::uint64_t>(&vms_[vm]->shared());
      thread.vcpu = slot % config_.vcpus;
      thread.slot = slot;
      thread.vcpus = config_.vcpus;
      probes_->add_thread(tids_[slot], thread);
    }
    if (config_.probes) perf_.emplace(thread_events(), tids_, spare_files_);
    go_->count_down();
  }

  // Affinity is best effort here: the CPUs were checked when they were chosen.
  void place(std::size_t slot) const {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (config_.pin == Pin::kEach) {
      CPU_SET(config_.cpus[slot % config_.cpus.size()], &set);
    } else {
      for (const int cpu : config_.cpus) CPU_SET(cpu, &set);
    }
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  }

  void vcpu_main(std::uint32_t vm, std::uint32_t index) {
    Vcpu& vcpu = vms_[vm]->vcpus()[index];
    while (!stopping_.load()) {
      const int result = vcpu.run();
      if (result == -EINTR || result == -EAGAIN) continue;
      if (result == 0 && vcpu.exit().exit_reason == KVM_EXIT_INTR) continue;
      const std::lock_guard lock(mutex_);
      if (thread_failure_.empty()) {
        thread_failure_ = fmt::format("in VM {}, {}, progress {}", vm, vcpu.describe_exit(result),
                                      vms_[vm]->shared().vcpu[index].progress);
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(stopped_event_.get(), &one, sizeof one);
      }
      return;
    }
  }

  void stop_threads() {
    stopping_ = true;
    for (auto& vm : vms_) {
      for (Vcpu& vcpu : vm->vcpus()) vcpu.kick();
    }
    for (std::thread& thread : threads_) pthread_kill(thread.native_handle(), kKickSignal);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  void collect();
  void collect_probes();
  void collect_perf();
  void collect_audit();

  const RunConfig& config_;
  Fd stopped_event_;  // a vCPU thread ended by itself; why is in thread_failure_
  std::vector<std::unique_ptr<Vm>> vms_;
  std::optional<Probes> probes_;
  std::optional<PerfCounters> perf_;
  std::uint64_t spare_files_ = 0;
  EventLoop loop_;

  std::size_t ready_ = 0, done_ = 0;
  static constexpr const char* kHang = "hang";  // worded when the threads are stopped
  static constexpr std::uint32_t kBoot = DYIELD_PHASE_BOOT;
  EventLoop::Clock::time_point created_{}, started_{};
  std::optional<nanoseconds> startup_;
  std::vector<std::uint64_t> progress_;  // of all vCPUs, some time before the limit
  std::optional<nanoseconds> measured_;
  Run run_;

  std::mutex mutex_;
  std::string thread_failure_;
  std::atomic<bool> stopping_ = false;
  std::vector<pid_t> tids_;
  std::unique_ptr<std::latch> go_;
  std::vector<std::thread> threads_;
};

void Runner::collect() {
  run_.seed = config_.seed;
  run_.detail["measured_ns"] = measured_.value_or(nanoseconds{}).count();

  std::uint64_t sent = 0, flushes = 0;
  Json vms = Json::array();
  for (const auto& vm : vms_) {
    Json vcpus = Json::array();
    for (std::uint32_t i = 0; i < config_.vcpus; i++) {
      const dyield_vcpu& v = vm->shared().vcpu[i];
      run_.counts["shootdowns"] += v.shootdowns[DYIELD_PHASE_MEASURE];
      run_.counts["work"] += v.work[DYIELD_PHASE_MEASURE];
      run_.counts["ipis"] += v.ipis_sent[DYIELD_PHASE_MEASURE];
      run_.counts["pauses"] += v.pauses[DYIELD_PHASE_MEASURE];
      sent += total(v, &dyield_vcpu::ipis_sent);
      flushes += total(v, &dyield_vcpu::flushes);
      vcpus.push_back({{"shootdowns", v.shootdowns[DYIELD_PHASE_MEASURE]},
                       {"work", v.work[DYIELD_PHASE_MEASURE]},
                       {"ipis_sent", v.ipis_sent[DYIELD_PHASE_MEASURE]},
                       {"flushes", v.flushes[DYIELD_PHASE_MEASURE]},
                       {"pauses", v.pauses[DYIELD_PHASE_MEASURE]}});
    }
    vms.push_back({{"vcpus", std::move(vcpus)}});
  }
  run_.detail["vms"] = std::move(vms);
  run_.detail["whole_run"] = {{"ipis_sent", sent}, {"flushes", flushes}};
  if (run_.status == RunStatus::kComplete && sent != flushes) {
    // Every receiver of every shootdown clears one bit, once.
    run_.status = RunStatus::kFailed;
    run_.reason = fmt::format("{} IPIs were sent and {} flushes acknowledged", sent, flushes);
  }
  if (probes_) collect_probes();
  if (perf_) collect_perf();
  if (run_.status == RunStatus::kFailed) run_.counts.clear();
}

void Runner::collect_perf() {
  Json perf = Json::object();
  for (const PerfCount& c : perf_->read()) {
    Json& entry = perf[std::string(c.name)];
    if (c.value) {
      entry = {{"value", *c.value}, {"unit", c.unit}, {"share_counted", c.share_counted}};
    } else {
      entry = {{"absent", c.absent}};
    }
  }
  run_.detail["perf"] = std::move(perf);
}

void Runner::collect_probes() {
  std::uint64_t lost = 0;
  for (const dyield_counts& c : probes_->counts()) {
    run_.counts["pause_exits"] += c.pause_exits[DYIELD_PHASE_MEASURE];
    run_.counts["yields_tried"] += c.yields_tried[DYIELD_PHASE_MEASURE];
    run_.counts["yields_made"] += c.yields_made[DYIELD_PHASE_MEASURE];
    run_.counts["yields_while_waiting"] += c.yields_while_waiting[DYIELD_PHASE_MEASURE];
    run_.counts["yields_to_awaited"] += c.yields_to_awaited[DYIELD_PHASE_MEASURE];
    lost += c.lost;
  }
  if (lost > 0) {
    run_.notes.push_back(
        fmt::format("{} events could not read the guest's memory and are counted "
                    "as outside the measurement",
                    lost));
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

void Runner::collect_audit() {
  std::uint64_t spins = 0, exits = 0, pause_exits = 0, ipis = 0;
  for (const dyield_counts& c : probes_->counts()) {
    spins += std::accumulate(std::begin(c.pause_exits), std::end(c.pause_exits), std::uint64_t{0});
    exits += c.audit_exits;
    pause_exits += c.audit_pause_exits;
    ipis += c.audit_ipis;
  }
  Json kvm = Json::object();
  for (const auto& vm : vms_) {
    for (const Vcpu& vcpu : vm->vcpus()) {
      for (const auto& [name, value] : vcpu.stats()) {
        if (name == "exits" || name.starts_with("directed_yield")) {
          kvm[name] = kvm.value(name, std::uint64_t{0}) + value;
        }
      }
    }
  }
  // Whole-run totals of the same facts from sources that know nothing of each other.
  run_.detail["audit"] = {
      {"kvm_stat", std::move(kvm)},
      {"bpf",
       {{"on_spin_calls", spins},
        {"kvm_exit", exits},
        {"kvm_exit_pause", pause_exits},
        {"kvm_apic_accept_irq", ipis}}},
      {"guest", {{"ipis_sent", run_.detail["whole_run"]["ipis_sent"]}}},
  };
}

}  // namespace

Run run_once(const KvmSystem& system, const Payload& payload, const RunConfig& config) {
  return Runner(system, payload, config).run();
}

}  // namespace dyield
