// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <bpf/btf.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mapping.h"

struct bpf_map;
struct bpf_object;
struct bpf_prog_info;
struct bpf_program;

namespace dyield {

// Of the series.
inline constexpr const char* kReasons = "kvm_directed_yield";

// Takes libbpf's messages from here on: they go to the debug log, and the first warning into
// the Error of a step that fails. `advice` is a sentence for its end, or empty. One loader at a
// time, from one thread.
void begin_loading(const char* advice);

// Throws Error (kEnvironment): the step (a verb) failed with this errno value, of either sign.
[[noreturn]] void fail_loading(const char* step, int error);
// The same, unless `error` is 0.
void check_loading(const char* step, int error);

// Whether the running kernel has the tracepoint of a program on one. Asks libbpf, which has to read
// the kernel's BTF for this object anyway.
bool has_target(bpf_program* tracepoint_program, const char* name);

// The memory of a map with BPF_F_MMAPABLE, shared with the kernel: the first `size` bytes.
// `flags` of mmap(2) beside MAP_SHARED.
Mapping map_memory(bpf_map* map, std::size_t size, int protection, int flags = 0);

// What the kernel says of each program of the object that is loaded. (Not its name: without
// networking, libbpf does not give it one.)
void for_each_loaded(
    bpf_object* object,
    const std::function<void(const char* name, const bpf_prog_info& info)>& handler);
// BTF of the running KVM, a module or built in.
class RunningTypes {
 public:
  RunningTypes();
  [[nodiscard]] bool has_kernel() const { return kernel_ != nullptr; }
  [[nodiscard]] bool has_module() const { return module_ != nullptr; }
  [[nodiscard]] bool has(const std::string& name, std::uint32_t kind) const;
  [[nodiscard]] bool has_tracepoint(const std::string& name) const;

 private:
  struct Deleter {
    void operator()(btf* types) const { btf__free(types); }
  };
  using Btf = std::unique_ptr<btf, Deleter>;
  Btf kernel_, module_;  // the latter holds on to the former
};

// The processes whose vCPUs a map of processes selects; all of them if there are none.
void choose_processes(bpf_map* map, const std::vector<pid_t>& processes);

// Tells programs that know KVM's vCPUs (lapic.bpf.h) whether the CPU has VMX; before they are
// loaded.
void say_vmx(bpf_map* map);

// Throws Error (kEnvironment) if the running KVM cannot be found by its types.
void require_kvm(const RunningTypes& types);

// This process's PID namespace, such as "pid:[4026532178]", if it is not the initial one, by whose
// IDs BPF programs know a thread; else empty.
std::string foreign_pid_namespace();
// Throws Error (kEnvironment) if there is one: no thread would be found, and nothing counted.
void require_host_pids();

// Events that a program of the object missed, because it was under way on that CPU.
std::uint64_t missed_events(bpf_object* object);

}  // namespace dyield
