// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "bpf/record.h"

struct record_bpf;
struct ring_buffer;

namespace dyield {

// The BPF programs of record.bpf.c, loaded and attached.
class RecordProbes {
 public:
  // Called with each decision, a struct dyield_decision cut off behind its states.
  using Handler = std::function<void(std::string_view decision)>;

  // Of the vCPUs of these processes; of all if there are none. What has not been consumed
  // is in a buffer of so many bytes, whole pages and a power of two. Of `one_in` decisions, one is
  // recorded, chosen by chance. Throws Error (kEnvironment).
  RecordProbes(const std::vector<pid_t>& processes, std::uint32_t buffer, std::uint32_t one_in,
               Handler handler);
  ~RecordProbes();
  RecordProbes(const RecordProbes&) = delete;
  RecordProbes& operator=(const RecordProbes&) = delete;

  // Wakes those who wait to read from it when the buffer is filling up.
  [[nodiscard]] int descriptor() const;
  // Hands over what has come since, in this thread.
  void consume();
  // Whether a `dyield run` was under way, whose guests publish whom they await.
  [[nodiscard]] bool has_truth() const { return has_truth_; }
  // Decisions that were not recorded: no room, or KVM's memory could not be read.
  [[nodiscard]] std::uint64_t lost() const;

 private:
  static int on_decision(void* self, void* data, std::size_t size);
  struct Deleter {
    void operator()(record_bpf* skeleton) const;
    void operator()(ring_buffer* ring) const;
  };
  Handler handler_;
  bool has_truth_ = false;
  std::unique_ptr<record_bpf, Deleter> skeleton_;
  std::unique_ptr<ring_buffer, Deleter> ring_;
};

}  // namespace dyield
