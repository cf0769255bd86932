// SPDX-License-Identifier: GPL-2.0-only
#include "races/round.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/thread.h"

namespace dyield {
namespace {

using std::chrono::microseconds;

// Of the guest: a sender that sends without a pause in between.
constexpr std::uint32_t kThink = 16, kUnit = 64;
// Beside the guest's own slot 0, which ends below.
constexpr std::uint32_t kSlot = 1;
constexpr std::uint64_t kSlotGpa = 0x10000000, kSlotSize = 0x200000;
static_assert(kSlotGpa >= DYIELD_MEMORY_SIZE);

constexpr std::uint32_t kApicBaseMsr = 0x1b;
constexpr std::uint64_t kApicEnable = 1 << 11, kX2ApicEnable = 1 << 10, kBsp = 1 << 8;
// Where a vCPU goes on after a SIPI, and in System Management Mode (Intel SDM 3, 9.4.4 and
// 32.4: the vector's page, and SMBASE + 0x8000 with SMBASE at its default). In long mode,
// where the base of CS does not count, a SIPI without a reset leads to address 0, as do the
// interrupt vectors of real mode, all zero.
constexpr std::size_t kSipiVector = 0x10, kSipiGpa = kSipiVector << 12, kSmiGpa = 0x38000,
                      kStartGpa = 0;
// Registers in struct kvm_lapic_state, by their offsets in the APIC's page.
constexpr std::size_t kApicIdRegister = 0x20, kIcrRegister = 0x300, kIrrRegister = 0x200;

// Takes the place of descriptors that are closed under a thread.
Fd open_placeholder() {
  Fd fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!fd) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("Cannot open /dev/null: {}; raise the limit of open files (ulimit -n).",
                            errno_text(errno)));
  }
  return fd;
}

class RaceVm : public PayloadVm {
 public:
  using PayloadVm::PayloadVm;
  using Vm::fd;
};

// Ends the process when a round does not end: what it waits for may be the kernel.
class Watchdog {
 public:
  Watchdog(std::chrono::nanoseconds limit, std::uint64_t seed)
      : thread_(start_thread([this, limit, seed] {
          std::unique_lock lock(mutex_);
          if (ended_.wait_for(lock, limit, [this] { return over_; })) return;
          fmt::print(stderr,
                     "dyield: error: The round of seed {} does not end within {} ms; it is at "
                     "{}. See the kernel log, and --seed {} --rounds 1.\n",
                     seed, std::chrono::duration_cast<std::chrono::milliseconds>(limit).count(),
                     at_.load(), seed);
          std::fflush(nullptr);
          std::_Exit(static_cast<int>(ExitCode::kTimeout));
        })) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    ended_.notify_one();
    thread_.join();
  }
  // `what` is a literal.
  void now_at(const char* what) { at_ = what; }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::atomic<const char*> at_ = "its beginning";
  std::thread thread_;
};

class Round {
 public:
  Round(const KvmSystem& system, const Payload& payload, const RoundPlan& plan,
        std::chrono::nanoseconds limit, RaceCounts& counts)
      : system_(system),
        plan_(plan),
        counts_(counts),
        placeholder_(open_placeholder()),
        watchdog_(limit, plan.seed),
        extra_(kSlotSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
               "a memory slot"),
        vm_(system, payload,
            {plan.vcpus, plan.seed, plan.workload, DYIELD_FAULT_NONE, kThink, kUnit}) {}
  ~Round() { stop(); }

  void run() {
    give_reset_vcpus_code();
    const Fd& ready = vm_.doorbell(DYIELD_PORT_READY);
    for (Vcpu& vcpu : vm_.vcpus()) start(vcpu);
    watchdog_.now_at("the guest's start");
    std::uint64_t value = 0;
    while (::read(ready.get(), &value, sizeof value) < 0 && errno == EINTR) {
    }
    std::atomic_ref(vm_.shared().phase).store(DYIELD_PHASE_MEASURE);
    vm_.fire_start_gun();
    std::uint64_t before = progress();
    for (const RaceStep& step : plan_.steps) {
      std::this_thread::sleep_for(step.after);
      const std::uint64_t after = progress();
      ActCount& count = counts_.acts[step.act];
      count.tried++;
      if (after != before) count.in_storm++;
      before = after;
      watchdog_.now_at(acts()[static_cast<std::size_t>(step.act)].name.data());
      act(step);
    }
    watchdog_.now_at("its end: a thread does not leave KVM_RUN");
    stop();
    counts_.rounds++;
    counts_.vcpus += vcpus_.size();
  }

 private:
  // Keeps a vCPU out of the guest, so that its thread lets other ioctls in.
  class Kept {
   public:
    Kept(Round& round, std::size_t vcpu) : vcpu_(*round.vcpus_[vcpu]) {
      vcpu_.kick();
      pthread_kill(round.threads_[vcpu].native_handle(), kKickSignal);
    }
    ~Kept() { vcpu_.let_go(); }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

   private:
    Vcpu& vcpu_;
  };

  // A vCPU that gets a SIPI, an SMI or, reset, an exception, spins. It would execute
  // whatever is there and go on into the guest's page tables: where an instruction reaches
  // from one into the next, QEMU 10.0 hangs in its translator.
  void give_reset_vcpus_code() {
    constexpr unsigned char kSpin[] = {0xf3, 0x90, 0xeb, 0xfc};  // pause; jmp to it
    for (const std::size_t gpa : {kSipiGpa, kSmiGpa, kStartGpa})
      std::memcpy(vm_.memory().data() + gpa, kSpin, sizeof kSpin);
  }

  void start(Vcpu& vcpu) {
    vcpus_.push_back(&vcpu);
    threads_.push_back(start_thread([this, &vcpu] { vcpu_main(vcpu); }));
  }

  void vcpu_main(Vcpu& vcpu) {
    while (!stopping_.load()) {
      const int result = vcpu.run();
      if (result < 0 && result != -EINTR) {
        // Closed: not an answer of KVM's.
        if (result == -ENOTTY) return;
        const std::lock_guard lock(mutex_);
        counts_.run_errors[-result]++;
      } else if (result == 0 && !closed_.load()) {
        const std::lock_guard lock(mutex_);
        // Unmapped by abandon() only with the mutex held.
        if (!closed_.load()) counts_.exits[vcpu.exit().exit_reason]++;
      }
      // No devices, no memory here, a triple fault: a VMM that goes on regardless.
      std::this_thread::yield();
    }
  }

  void stop() {
    stopping_ = true;
    for (Vcpu* vcpu : vcpus_) {
      if (!closed_.load()) vcpu->kick();
    }
    for (std::thread& thread : threads_) pthread_kill(thread.native_handle(), kKickSignal);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  std::uint64_t progress() const {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < plan_.vcpus; i++) {
      sum += std::atomic_ref(vm_.shared().vcpu[i].progress).load();
    }
    return sum;
  }

  void answer(Act act, int result) {
    if (result < 0) counts_.acts[act].refused[-result]++;
  }

  int set_slot(std::uint32_t slot, std::uint64_t gpa, std::uint64_t size, const std::byte* memory,
               std::uint32_t flags) {
    kvm_userspace_memory_region region{slot, flags, gpa, size, argument(memory)};
    return try_kvm_ioctl(vm_.fd(), KVM_SET_USER_MEMORY_REGION, argument(&region));
  }

  // Some registers of an APIC written anew, as after a migration.
  void set_lapic(const RaceStep& step) {
    const Kept kept(*this, step.vcpu);
    const Fd& vcpu = vcpus_[step.vcpu]->fd();
    kvm_lapic_state state;
    answer(step.act, try_kvm_ioctl(vcpu, KVM_GET_LAPIC, argument(&state)));
    const auto write = [&state](std::size_t offset, std::uint32_t value) {
      std::memcpy(state.regs + offset, &value, sizeof value);
    };
    if (step.act == Act::kAlterLapic) {
      // One of the payload's vectors, for a fixed IPI; and 32 vectors of the IRR share a
      // register, 16 bytes from the next.
      const std::uint32_t vector =
          step.value % 2 == 0 ? DYIELD_VECTOR_SHOOTDOWN : DYIELD_VECTOR_CALL;
      write(kIcrRegister, vector | static_cast<std::uint32_t>(step.value >> 8 & 0xc0000));
      write(kIrrRegister + DYIELD_VECTOR_SHOOTDOWN / 32 * 16, 1U << DYIELD_VECTOR_SHOOTDOWN % 32);
    } else if (step.act == Act::kApicId) {
      const auto id = static_cast<std::uint32_t>(step.value % 256);
      write(kApicIdRegister, step.value >> 32 & 1 ? id << 24 : id);
    }
    answer(step.act, try_kvm_ioctl(vcpu, KVM_SET_LAPIC, argument(&state)));
  }

  void set_mode(const RaceStep& step) {
    const Kept kept(*this, step.vcpu);
    constexpr std::uint64_t kModes[] = {0, kApicEnable, kApicEnable | kX2ApicEnable};
    const std::uint64_t base = DYIELD_APIC_GPA | (step.vcpu == 0 ? kBsp : 0);
    const int result =
        vcpus_[step.vcpu]->try_set_msr(kApicBaseMsr, base | kModes[step.value % std::size(kModes)]);
    answer(step.act, result == 0 ? -EINVAL : result);
  }

  // With x2APIC, or without.
  Cpuid changed_cpuid(const RaceStep& step) const {
    Cpuid cpuid = system_.cpuid();
    for (kvm_cpuid_entry2& entry : std::span(cpuid.entries).first(cpuid.nent)) {
      constexpr std::uint32_t kX2Apic = 1U << 21;
      if (entry.function == 1 && step.value % 2 == 0) entry.ecx &= ~kX2Apic;
    }
    return cpuid;
  }

  // Of a vCPU that has run: KVM takes what it has already, and refuses anything else.
  void set_cpuid(const RaceStep& step) {
    const Kept kept(*this, step.vcpu);
    answer(step.act, vcpus_[step.vcpu]->try_set_cpuid(changed_cpuid(step)));
  }

  void set_slots(const RaceStep& step) {
    const std::byte* memory = extra_.data();
    switch (step.value % 4) {
      case 0:  // to the next place
        slot_gpa_ = slot_gpa_ == 0 ? kSlotGpa : slot_gpa_ + kSlotSize;
        answer(step.act, set_slot(kSlot, slot_gpa_, kSlotSize, memory, 0));
        return;
      case 1:
        slot_gpa_ = 0;
        answer(step.act, set_slot(kSlot, kSlotGpa, 0, memory, 0));
        return;
      default:
        answer(step.act, set_slot(0, 0, vm_.memory().size(), vm_.memory().data(),
                                  step.value % 4 == 2 ? KVM_MEM_LOG_DIRTY_PAGES : 0));
    }
  }

  void take_memory_away(const RaceStep& step) {
    answer(step.act, set_slot(0, 0, 0, vm_.memory().data(), 0));
    std::this_thread::sleep_for(microseconds(step.value % 300));
    answer(step.act, set_slot(0, 0, vm_.memory().size(), vm_.memory().data(), 0));
  }

  void set_state(const RaceStep& step) {
    const Kept kept(*this, step.vcpu);
    const Fd& vcpu = vcpus_[step.vcpu]->fd();
    constexpr std::uint32_t kStates[] = {KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_UNINITIALIZED,
                                         KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE};
    kvm_mp_state state{kStates[step.value % std::size(kStates)]};
    if (step.act == Act::kSipi) {
      kvm_vcpu_events events;
      answer(step.act, try_kvm_ioctl(vcpu, KVM_GET_VCPU_EVENTS, argument(&events)));
      events.flags = KVM_VCPUEVENT_VALID_SIPI_VECTOR;
      events.sipi_vector = kSipiVector;
      answer(step.act, try_kvm_ioctl(vcpu, KVM_SET_VCPU_EVENTS, argument(&events)));
      state.mp_state = KVM_MP_STATE_SIPI_RECEIVED;
    }
    answer(step.act, try_kvm_ioctl(vcpu, KVM_SET_MP_STATE, argument(&state)));
  }

  void send_msi(const RaceStep& step) {
    // Address bits 12 to 19: destination, 2: logical, 3: redirection hint; data bits 0 to 7:
    // vector, 8 to 10: delivery mode, 14 and 15: level and trigger.
    kvm_msi msi{};
    const bool known = step.value % 4 != 0;
    const std::uint32_t to = known ? step.vcpu : static_cast<std::uint32_t>(step.value >> 8 & 0xff);
    msi.address_lo = 0xfee00000U | to << 12 | static_cast<std::uint32_t>(step.value >> 16 & 0xc);
    msi.data = static_cast<std::uint32_t>(step.value >> 32 & 0xc7ff);
    constexpr std::uint32_t kModes = 0x700, kStartUp = 0x600;
    if ((msi.data & kModes) == kStartUp) msi.data = (msi.data & ~0xffU) | kSipiVector;
    answer(step.act, try_kvm_ioctl(vm_.fd(), KVM_SIGNAL_MSI, argument(&msi)));
  }

  void add_vcpu(const RaceStep& step) {
    try {
      Vcpu& vcpu = added_.emplace_back(system_, vm_.fd(), static_cast<std::uint32_t>(vcpus_.size()),
                                       system_.cpuid());
      // Before it runs it is taken, while the others' IPIs look for it already.
      answer(Act::kCpuid, vcpu.try_set_cpuid(changed_cpuid(step)));
      start(vcpu);
    } catch (const KvmError& refusal) {
      counts_.acts[step.act].refused[refusal.error()]++;
    }
  }

  void close_all() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      for (Vcpu* vcpu : vcpus_) vcpu->abandon(placeholder_);
    }
    answer(Act::kClose, ::dup3(placeholder_.get(), vm_.fd().get(), O_CLOEXEC) < 0 ? -errno : 0);
    std::this_thread::sleep_for(plan_.closed_for);
  }

  void act(const RaceStep& step) {
    switch (step.act) {
      case Act::kSetLapic:
      case Act::kAlterLapic:
      case Act::kApicId:
        return set_lapic(step);
      case Act::kApicMode:
        return set_mode(step);
      case Act::kCpuid:
        return set_cpuid(step);
      case Act::kSlots:
        return set_slots(step);
      case Act::kNoMemory:
        return take_memory_away(step);
      case Act::kInit:
      case Act::kSipi:
        return set_state(step);
      case Act::kMsi:
        return send_msi(step);
      case Act::kSignal:
        for (std::uint64_t left = 1 + step.value % 16; left > 0; left--) {
          pthread_kill(threads_[step.vcpu].native_handle(), kKickSignal);
          std::this_thread::sleep_for(microseconds(step.value >> 8 & 0x3f));
        }
        return;
      case Act::kPause: {
        const Kept kept(*this, step.vcpu);
        std::this_thread::sleep_for(microseconds(step.value % 1000));
        return;
      }
      case Act::kAdd:
        return add_vcpu(step);
      case Act::kClose:
        return close_all();
    }
  }

  const KvmSystem& system_;
  const RoundPlan& plan_;
  RaceCounts& counts_;
  Fd placeholder_;
  Watchdog watchdog_;
  Mapping extra_;
  RaceVm vm_;
  std::uint64_t slot_gpa_ = 0;  // 0: not there
  std::deque<Vcpu> added_;
  std::vector<Vcpu*> vcpus_;  // the VM's own, then those that were added
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_ = false, closed_ = false;
  std::mutex mutex_;  // counts of KVM_RUN, and closing against reading them
};

}  // namespace

void race(const KvmSystem& system, const Payload& payload, const RoundPlan& plan,
          std::chrono::nanoseconds limit, RaceCounts& counts) {
  handle_kicks();
  Round(system, payload, plan, limit, counts).run();
}

}  // namespace dyield
