/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of a kernel as the functions of directed yield need, for user space:
 * a VM is what one record of a recording says of it. The functions themselves
 * are the kernel's own, cut out of its source by scripts/policy-source.
 */
#ifndef DYIELD_SHIM_H
#define DYIELD_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "replay/policy.h"

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#define READ_ONCE(x) (x)
#define WRITE_ONCE(x, v) ((x) = (v))
#define data_race(x) (x)
#define smp_rmb()
#define rcu_read_lock()
#define rcu_read_unlock()
#define rcu_dereference(p) (p)
#define atomic_read(p) (*(p))
#define __weak __attribute__((weak))

/* Intel SDM volume 3, chapter "APIC". */
#define APIC_IRR 0x200
#define APIC_ICR 0x300
#define APIC_VECTOR_MASK 0xff
#define APIC_MODE_MASK 0x700
#define APIC_DM_FIXED 0
#define APIC_SHORT_MASK 0xc0000
#define APIC_DEST_SELF 0x40000

#define NSEC_PER_MSEC 1000000L
#define ktime_get_mono_fast_ns() ((u64)0)

#define CONFIG_HAVE_KVM_CPU_RELAX_INTERCEPT 1
#define enable_apicv true

enum { OUTSIDE_GUEST_MODE, IN_GUEST_MODE };

struct kvm_vcpu;

struct kvm_lapic {
  struct kvm_vcpu* vcpu;
  u8* regs;
  bool guest_apic_protected;
  u8 hypercall_ipi_vector;
  /* Of the posted design, which no policy here is: a recording lacks what it remembers. */
  struct {
    int to, from;
    u8 vector;
    u64 sent;
  } lab;
};

struct kvm_apic_map {
  u32 nr_ids;
  struct kvm_lapic* phys_map[DYIELD_RECORDING_VCPUS];
};

struct xarray {
  struct kvm_vcpu* vcpu[DYIELD_RECORDING_VCPUS];
};

struct kvm {
  int online_vcpus;
  int last_boosted_vcpu;
  int last_boosted_id;
  struct xarray vcpu_array;
  struct {
    struct kvm_apic_map* apic_map;
  } arch;
  bool awaited_known;
};

struct kvm_vcpu {
  struct kvm* kvm;
  int vcpu_id, vcpu_idx;
  bool ready, preempted;
  int mode;
  struct {
    bool in_spin_loop, dy_eligible;
  } spin_loop;
  struct {
    struct kvm_lapic* apic;
    struct kvm_lapic lapic;
  } arch;
  /* Counted and not looked at. */
  struct {
    struct {
      unsigned long spin_yield_receiver, spin_yield_other;
    } generic;
  } stat;
  dyield_u16 state;
};

/* What 6.12 walks the vCPUs by. */
#define kvm_for_each_vcpu(i, vcpu, kvm)                                                           \
  for ((i) = 0; (i) < (unsigned long)(kvm)->online_vcpus && ((vcpu) = (kvm)->vcpu_array.vcpu[i]); \
       (i)++)

static inline struct kvm_vcpu* xa_load(struct xarray* array, unsigned long i) {
  return array->vcpu[i];
}

static inline void kvm_vcpu_set_in_spin_loop(struct kvm_vcpu* vcpu, bool val) {
  vcpu->spin_loop.in_spin_loop = val;
}

static inline void kvm_vcpu_set_dy_eligible(struct kvm_vcpu* vcpu, bool val) {
  vcpu->spin_loop.dy_eligible = val;
}

static inline bool kvm_vcpu_is_blocking(struct kvm_vcpu* vcpu) {
  return vcpu->state & DYIELD_STATE_BLOCKING;
}

/* The policy's own. */
bool kvm_arch_dy_has_pending_interrupt(struct kvm_vcpu* vcpu);

static inline bool vcpu_dy_runnable(struct kvm_vcpu* vcpu) {
  return vcpu->state & DYIELD_STATE_EVENT || kvm_arch_dy_has_pending_interrupt(vcpu);
}

static inline bool kvm_arch_vcpu_preempted_in_kernel(struct kvm_vcpu* vcpu) {
  return vcpu->state & DYIELD_STATE_IN_KERNEL;
}

static inline struct kvm_vcpu* kvm_get_vcpu(struct kvm* kvm, int i) {
  return kvm->vcpu_array.vcpu[i];
}

/* The only thing that a policy reads there: whom the guest says that it awaits. */
static inline int kvm_vcpu_read_guest(struct kvm_vcpu* me, u64 gpa, void* data,
                                      unsigned long size) {
  struct kvm* kvm = me->kvm;
  int i;

  (void)gpa;
  if (!kvm->awaited_known) return -1;
  memset(data, 0, size);
  for (i = 0; i < kvm->online_vcpus && i / 8 < (int)size; i++) {
    if (kvm->vcpu_array.vcpu[i]->state & DYIELD_STATE_AWAITED)
      ((u64*)data)[i / 64] |= 1ull << i % 64;
  }
  return 0;
}

/* Some vector, of those that the APIC delivers: a recording has no more of it. */
static inline int kvm_lapic_find_highest_irr(struct kvm_vcpu* vcpu) {
  return vcpu->state & DYIELD_STATE_IRR ? 255 : -1;
}

static inline bool lapic_in_kernel(struct kvm_vcpu* vcpu) {
  return vcpu->arch.apic;
}

static inline u32 kvm_lapic_get_reg(struct kvm_lapic* apic, int at) {
  return *(u32*)(apic->regs + at);
}

static inline bool apic_test_vector(int vector, u8* bitmap) {
  return *(u32*)(bitmap + vector / 32 * 0x10) >> (vector % 32) & 1;
}

#define kvm_x86_call(function) shim_##function
#define kvm_vcpu_apicv_active(vcpu) true
static inline bool shim_dy_apicv_has_pending_interrupt(struct kvm_vcpu* vcpu) {
  return vcpu->state & DYIELD_STATE_POSTED;
}

/* The vector, if it was posted, is in the IRR here: a recording has the sum of both. */
static inline bool shim_dy_apicv_is_vector_posted(struct kvm_vcpu* vcpu, u8 vector) {
  return false;
}

int kvm_vcpu_yield_to(struct kvm_vcpu* target);
void trace_kvm_directed_yield(unsigned int vcpu_id, int target_id, unsigned int reason,
                              int yielded);

#endif
