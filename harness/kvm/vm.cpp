// SPDX-License-Identifier: GPL-2.0-only
#include "kvm/vm.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <array>
#include <atomic>
#include <cstring>

#include "base/error.h"

namespace dyield {
namespace {

constexpr std::uint64_t kPageSize = 4096;
constexpr std::uint64_t kLargePage = 2 * 1024 * 1024;

// With the sizes that the structures have in C; see struct Cpuid.
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, std::uint64_t);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, std::uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, std::uint64_t);

// Page-table bits, AMD64 manual volume 2, 5.4 "Page-Translation-Table Entry Fields".
constexpr std::uint64_t kPresentWriteUser = 0x7;
constexpr std::uint64_t kPresentWrite = 0x3;
constexpr std::uint64_t kUncached = 0x18;  // PCD, PWT
constexpr std::uint64_t kPageSizeBit = 0x80;

// Where a reset sends a processor, ibidem, 14.1.3 "Processor Initialization State".
constexpr std::uint64_t kResetRip = 0xfff0, kResetCsBase = 0xffff0000;

struct Requirement {
  int capability;
  const char* name;
  const char* why;
};

constexpr std::array kRequirements = {
    Requirement{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "the guests' local APICs are in the kernel"},
    Requirement{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory"},
    Requirement{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "the guests' doorbells"},
    Requirement{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI", "the start gun"},
    Requirement{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "starting vCPUs without INIT and SIPI"},
    Requirement{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "stopping vCPU threads"},
};

const char* exit_name(std::uint32_t reason) {
  switch (reason) {
    case KVM_EXIT_SHUTDOWN:
      return "a triple fault (KVM_EXIT_SHUTDOWN)";
    case KVM_EXIT_FAIL_ENTRY:
      return "a failed guest entry (KVM_EXIT_FAIL_ENTRY)";
    case KVM_EXIT_INTERNAL_ERROR:
      return "an emulation failure (KVM_EXIT_INTERNAL_ERROR)";
    case KVM_EXIT_IO:
      return "an access to an I/O port nobody serves (KVM_EXIT_IO)";
    case KVM_EXIT_MMIO:
      return "an access outside guest memory (KVM_EXIT_MMIO)";
    default:
      return "an unexpected exit";
  }
}

void set_long_mode(const Fd& vcpu, const VcpuEntry& entry) {
  kvm_sregs sregs;
  kvm_ioctl(vcpu, KVM_GET_SREGS, argument(&sregs), "KVM_GET_SREGS");
  kvm_segment code{};
  code.limit = 0xffffffff;
  code.selector = entry.code_selector;
  code.type = 0xb;
  code.present = 1;
  code.s = 1;
  code.l = 1;
  code.g = 1;
  kvm_segment data = code;
  data.selector = entry.data_selector;
  data.type = 0x3;
  data.l = 0;
  data.db = 1;
  sregs.cs = code;
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
  sregs.gdt.base = entry.gdt;
  sregs.gdt.limit = entry.gdt_limit;
  sregs.cr0 = 0x80010033;  // PG WP NE ET MP PE
  sregs.cr3 = entry.cr3;
  sregs.cr4 = 0x20;    // PAE
  sregs.efer = 0x500;  // LMA LME
  kvm_ioctl(vcpu, KVM_SET_SREGS, argument(&sregs), "KVM_SET_SREGS");
}

}  // namespace

Fd make_eventfd() {
  Fd event(::eventfd(0, EFD_CLOEXEC));
  if (!event) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("Cannot create an eventfd: {}; raise the limit of open files "
                            "(ulimit -n).",
                            errno_text(errno)));
  }
  return event;
}

void handle_kicks() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(kKickSignal, &action, nullptr);
}

int try_kvm_ioctl(const Fd& fd, unsigned long request, std::uint64_t arg) {
  const int result = ::ioctl(fd.get(), request, arg);
  return result < 0 ? -errno : result;
}

int kvm_ioctl(const Fd& fd, unsigned long request, std::uint64_t arg, const char* name) {
  const int result = try_kvm_ioctl(fd, request, arg);
  if (result < 0) {
    throw KvmError(-result,
                   fmt::format("KVM refused {}: {} (errno {}); see the kernel log, and try fewer "
                               "vCPUs or VMs.",
                               name, errno_text(-result), -result));
  }
  return result;
}

KvmSystem::KvmSystem() : fd_(::open("/dev/kvm", O_RDWR | O_CLOEXEC)) {
  if (!fd_) {
    throw Error(
        ExitCode::kEnvironment,
        fmt::format("Cannot open /dev/kvm: {}; load kvm-amd or kvm-intel and run as root or as a "
                    "member of group kvm, or use the lab (scripts/lab).",
                    errno_text(errno)));
  }
  const int version = kvm_ioctl(fd_, KVM_GET_API_VERSION, 0, "KVM_GET_API_VERSION");
  if (version != KVM_API_VERSION) {
    throw Error(ExitCode::kSkipped, fmt::format("/dev/kvm speaks API version {}, dyield {}; use "
                                                "the lab (scripts/lab).",
                                                version, KVM_API_VERSION));
  }
  for (const Requirement& r : kRequirements) {
    if (try_kvm_ioctl(fd_, KVM_CHECK_EXTENSION, static_cast<std::uint64_t>(r.capability)) <= 0) {
      throw Error(ExitCode::kSkipped,
                  fmt::format("This KVM has no {}, which dyield needs for {}; use the lab "
                              "(scripts/lab).",
                              r.name, r.why));
    }
  }
  run_size_ =
      static_cast<std::size_t>(kvm_ioctl(fd_, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE"));
  max_vcpus_ = static_cast<std::uint32_t>(
      kvm_ioctl(fd_, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS, "KVM_CHECK_EXTENSION"));
  kvm_ioctl(fd_, kGetSupportedCpuid, argument(&cpuid_), "KVM_GET_SUPPORTED_CPUID");
}

Vcpu::Vcpu(const KvmSystem& system, const Fd& vm, std::uint32_t index, const Cpuid& cpuid)
    : fd_(kvm_ioctl(vm, KVM_CREATE_VCPU, index, "KVM_CREATE_VCPU")),
      run_(system.run_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), "a vCPU's kvm_run"),
      index_(index) {
  kvm_ioctl(fd_, kSetCpuid2, argument(&cpuid), "KVM_SET_CPUID2");
}

void Vcpu::enter_at(const VcpuEntry& entry) {
  set_long_mode(fd_, entry);

  kvm_regs regs{};
  regs.rip = entry.rip;
  regs.rflags = 0x2;
  regs.rdi = entry.rdi;
  regs.rsi = entry.rsi;
  regs.rsp = entry.rsp;
  kvm_ioctl(fd_, KVM_SET_REGS, argument(&regs), "KVM_SET_REGS");

  kvm_mp_state state{KVM_MP_STATE_RUNNABLE};
  kvm_ioctl(fd_, KVM_SET_MP_STATE, argument(&state), "KVM_SET_MP_STATE");
}

int Vcpu::run() noexcept {
  return try_kvm_ioctl(fd_, KVM_RUN, 0);
}

void Vcpu::kick() noexcept {
  auto* run = reinterpret_cast<kvm_run*>(run_.data());
  std::atomic_ref<__u8>(run->immediate_exit).store(1);
}

void Vcpu::let_go() noexcept {
  auto* run = reinterpret_cast<kvm_run*>(run_.data());
  std::atomic_ref<__u8>(run->immediate_exit).store(0);
}

void Vcpu::abandon(const Fd& placeholder) {
  if (::dup3(placeholder.get(), fd_.get(), O_CLOEXEC) < 0) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("Cannot replace a vCPU's descriptor: {}; please report it.",
                            errno_text(errno)));
  }
  run_ = Mapping();
}

const kvm_run& Vcpu::exit() const noexcept {
  return *reinterpret_cast<kvm_run*>(run_.data());
}

std::span<std::byte> Vcpu::io_data() noexcept {
  const kvm_run& run = exit();
  return {run_.data() + run.io.data_offset, std::size_t{run.io.size} * run.io.count};
}

std::span<std::byte> Vcpu::mmio_data() noexcept {
  auto* run = reinterpret_cast<kvm_run*>(run_.data());
  return std::as_writable_bytes(std::span(run->mmio.data)).first(run->mmio.len);
}

std::string Vcpu::describe_exit(int run_result) const {
  std::string text = fmt::format("vCPU {} stopped with ", index_);
  if (run_result < 0) {
    text += fmt::format("KVM_RUN failing: {}", errno_text(-run_result));
  } else {
    text += fmt::format("{}, reason {}", exit_name(exit().exit_reason), exit().exit_reason);
    if (exit().exit_reason == KVM_EXIT_INTERNAL_ERROR) {
      text += fmt::format(", suberror {}", exit().internal.suberror);
    } else if (exit().exit_reason == KVM_EXIT_IO) {
      text += fmt::format(", port {:#x}", exit().io.port);
    } else if (exit().exit_reason == KVM_EXIT_MMIO) {
      text += fmt::format(", address {:#x}", exit().mmio.phys_addr);
    } else if (exit().exit_reason == KVM_EXIT_FAIL_ENTRY) {
      text +=
          fmt::format(", hardware reason {:#x}", exit().fail_entry.hardware_entry_failure_reason);
    }
  }
  return text + describe_registers();
}

std::string Vcpu::describe_registers() const {
  kvm_regs regs;
  kvm_sregs sregs;
  if (try_kvm_ioctl(fd_, KVM_GET_REGS, argument(&regs)) == 0 &&
      try_kvm_ioctl(fd_, KVM_GET_SREGS, argument(&sregs)) == 0) {
    // After a triple fault, SVM's state is undefined, and kvm-amd resets the vCPU.
    const bool reset = regs.rip == kResetRip && sregs.cs.base == kResetCsBase;
    return fmt::format(
        " ({}RIP {:#x} RSP {:#x} RFLAGS {:#x} RAX {:#x} RDI {:#x} CS {:#x} CR2 {:#x} CR3 {:#x})",
        reset ? "reset by KVM, its own registers are gone: " : "", regs.rip, regs.rsp, regs.rflags,
        regs.rax, regs.rdi, sregs.cs.selector, sregs.cr2, sregs.cr3);
  }
  return "";
}

std::uint32_t Vcpu::tsc_khz() const {
  const int khz = try_kvm_ioctl(fd_, KVM_GET_TSC_KHZ, 0);
  return khz < 0 ? 0 : static_cast<std::uint32_t>(khz);
}

int Vcpu::try_set_msr(std::uint32_t index, std::uint64_t value) {
  // struct kvm_msrs with one entry, as C sees it.
  struct {
    std::uint32_t count = 1, padding = 0;
    kvm_msr_entry entry{};
  } msrs;
  msrs.entry.index = index;
  msrs.entry.data = value;
  return try_kvm_ioctl(fd_, kSetMsrs, argument(&msrs));
}

void Vcpu::set_msr(std::uint32_t index, std::uint64_t value) {
  if (const int result = try_set_msr(index, value); result != 1) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("KVM does not take {:#x} for MSR {:#x} (KVM_SET_MSRS: {}); try another "
                            "kernel.",
                            value, index, result < 0 ? errno_text(-result) : "refused"));
  }
}

int Vcpu::try_set_cpuid(const Cpuid& cpuid) {
  return try_kvm_ioctl(fd_, kSetCpuid2, argument(&cpuid));
}

std::optional<std::map<std::string, std::uint64_t>> Vcpu::stats() const {
  std::map<std::string, std::uint64_t> values;
  const int raw = try_kvm_ioctl(fd_, KVM_GET_STATS_FD, 0);
  if (raw < 0) return std::nullopt;
  const Fd stats(raw);
  const auto read_exactly = [&](void* buffer, std::size_t size, off_t offset) {
    return ::pread(stats.get(), buffer, size, offset) == static_cast<ssize_t>(size);
  };
  kvm_stats_header header;
  if (!read_exactly(&header, sizeof header, 0)) return std::nullopt;
  // Not sizeof: as with struct Cpuid, C++ sees another size than the kernel.
  constexpr std::size_t kDescSize = offsetof(kvm_stats_desc, bucket_size) + sizeof(__u32);
  const std::size_t stride = kDescSize + header.name_size;
  std::vector<std::byte> raw_desc(stride);
  for (std::uint32_t i = 0; i < header.num_desc; i++) {
    if (!read_exactly(raw_desc.data(), stride, static_cast<off_t>(header.desc_offset + i * stride)))
      return std::nullopt;
    kvm_stats_desc desc;
    std::memcpy(&desc, raw_desc.data(), kDescSize);
    const char* name = reinterpret_cast<const char*>(raw_desc.data() + kDescSize);
    if (desc.size != 1) continue;  // histograms are not needed here
    std::uint64_t value = 0;
    if (!read_exactly(&value, sizeof value, static_cast<off_t>(header.data_offset + desc.offset)))
      return std::nullopt;
    values.emplace(std::string(name, strnlen(name, header.name_size)), value);
  }
  return values;
}

Vm::Vm(const KvmSystem& system, std::size_t memory_size)
    : fd_(kvm_ioctl(system.fd(), KVM_CREATE_VM, 0, "KVM_CREATE_VM")),
      memory_(memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
              "guest memory") {
  // VMX needs three pages for its real-mode TSS and one for the identity map,
  // outside guest memory (Documentation/virt/kvm/api.rst, KVM_SET_TSS_ADDR).
  std::uint64_t identity_map = 0xfffbc000;
  kvm_ioctl(fd_, KVM_SET_IDENTITY_MAP_ADDR, argument(&identity_map), "KVM_SET_IDENTITY_MAP_ADDR");
  kvm_ioctl(fd_, KVM_SET_TSS_ADDR, 0xfffbd000, "KVM_SET_TSS_ADDR");
  kvm_ioctl(fd_, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP");
  add_memory(0, 0, memory());
}

void Vm::add_memory(std::uint32_t slot, std::uint64_t gpa, std::span<std::byte> memory) {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.guest_phys_addr = gpa;
  region.memory_size = memory.size();
  region.userspace_addr = argument(memory.data());
  kvm_ioctl(fd_, KVM_SET_USER_MEMORY_REGION, argument(&region), "KVM_SET_USER_MEMORY_REGION");
}

void Vm::fill_shared(dyield_shared* shared, const Config& config) {
  shared_ = shared;
  shared->magic = DYIELD_ABI_MAGIC;
  shared->version = DYIELD_ABI_VERSION;
  shared->nr_vcpus = config.vcpus;
  shared->seed = config.seed;
  shared->workload = config.workload;
  shared->fault = config.fault;
  shared->think = config.think;
  shared->unit = config.unit;
  for (std::uint32_t i = 0; i < config.vcpus; i++) shared->apic_id[i] = i;
  vcpus_.reserve(config.vcpus);
}

Vcpu& Vm::add_vcpu(const KvmSystem& system, const Cpuid& cpuid) {
  const auto index = static_cast<std::uint32_t>(vcpus_.size());
  return vcpus_.emplace_back(system, fd_, index, cpuid);
}

PayloadVm::PayloadVm(const KvmSystem& system, const Payload& payload, const Config& config)
    : Vm(system, DYIELD_MEMORY_SIZE) {
  // System Management Mode has an address space of its own, in the high half of the slot's
  // number (Documentation/virt/kvm/api.rst, KVM_SET_USER_MEMORY_REGION). A vCPU without
  // memory there dies of its first SMI.
  if (config.workload == DYIELD_WORKLOAD_HOSTILE_RESET &&
      kvm_ioctl(system.fd(), KVM_CHECK_EXTENSION, KVM_CAP_MULTI_ADDRESS_SPACE,
                "KVM_CHECK_EXTENSION") > 1)
    add_memory(1U << 16, 0, memory());
  build_page_tables();
  payload.load(memory());
  fill_shared(reinterpret_cast<dyield_shared*>(memory().data() + DYIELD_SHARED_GPA), config);
  for (std::uint32_t i = 0; i < config.vcpus; i++) {
    VcpuEntry entry;
    entry.rip = payload.entry();
    entry.rdi = i;
    entry.rsp = DYIELD_KSTACK_GPA + (i + 1) * DYIELD_STACK_SIZE;
    entry.cr3 = DYIELD_PML4_GPA;
    // The payload loads its own tables at once.
    entry.code_selector = 0x8;
    entry.data_selector = 0x10;
    add_vcpu(system, system.cpuid()).enter_at(entry);
  }
}

void PayloadVm::build_page_tables() {
  const auto table = [&](std::uint64_t gpa) {
    return reinterpret_cast<std::uint64_t*>(memory().data() + gpa);
  };
  static_assert(DYIELD_MEMORY_SIZE <= 1ULL << 30 && DYIELD_WINDOW_VA == 1ULL << 30,
                "one page directory for memory, the next for the windows");
  table(DYIELD_PML4_GPA)[0] = DYIELD_PDPT_GPA | kPresentWriteUser;
  table(DYIELD_PDPT_GPA)[0] = DYIELD_PD_GPA | kPresentWriteUser;
  table(DYIELD_PDPT_GPA)[1] = DYIELD_WINDOW_PD_GPA | kPresentWriteUser;
  for (std::uint64_t i = 0; i < DYIELD_MEMORY_SIZE / kLargePage; i++) {
    table(DYIELD_PD_GPA)[i] = i * kLargePage | kPresentWriteUser | kPageSizeBit;
  }
  // The local APIC's registers, for xAPIC mode; ring 0, uncached.
  static_assert(DYIELD_APIC_GPA >> 30 == 3);
  table(DYIELD_PDPT_GPA)[3] = DYIELD_APIC_PD_GPA | kPresentWrite;
  table(DYIELD_APIC_PD_GPA)[DYIELD_APIC_GPA / kLargePage % 512] =
      DYIELD_APIC_GPA / kLargePage * kLargePage | kPresentWrite | kPageSizeBit | kUncached;
  // The payload fills in the windows' own table.
  static_assert((DYIELD_MAX_VCPUS + 1) * sizeof(std::uint64_t) <= kPageSize);
  table(DYIELD_WINDOW_PD_GPA)[0] = DYIELD_WINDOW_PT_GPA | kPresentWriteUser;
}

const Fd& Vm::doorbell(std::uint16_t port) {
  const auto found = doorbells_.find(port);
  if (found != doorbells_.end()) return found->second;
  Fd event = make_eventfd();
  kvm_ioeventfd ioeventfd{};
  ioeventfd.addr = port;
  ioeventfd.len = 4;
  ioeventfd.fd = event.get();
  ioeventfd.flags = KVM_IOEVENTFD_FLAG_PIO;
  kvm_ioctl(fd_, KVM_IOEVENTFD, argument(&ioeventfd), "KVM_IOEVENTFD");
  return doorbells_.emplace(port, std::move(event)).first->second;
}

void PayloadVm::fire_start_gun() {
  for (std::uint32_t i = 0; i < vcpus().size(); i++) {
    // An MSI to physical destination APIC ID, fixed, edge (Intel SDM volume 3,
    // 11.11 "Message Signalled Interrupts").
    kvm_msi msi{};
    msi.address_lo = 0xfee00000u | i << 12;
    msi.data = DYIELD_VECTOR_START;
    kvm_ioctl(fd(), KVM_SIGNAL_MSI, argument(&msi), "KVM_SIGNAL_MSI");
  }
}

}  // namespace dyield
