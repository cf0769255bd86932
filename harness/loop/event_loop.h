// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <liburing.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>

#include "base/fd.h"

namespace dyield {

// The one loop of the main thread, on io_uring: guest doorbells, timers, signals,
// the kernel's buffers, and the writes of files. Handlers run in the thread that
// calls run().
class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using Prepare = std::function<void(io_uring_sqe*)>;

  // Throws Error (kEnvironment) if the kernel offers no io_uring.
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls the handler each time the eventfd is signalled. The descriptor must
  // be in blocking mode and outlive the loop.
  void on_event(const Fd& eventfd, std::function<void()> handler);
  // Calls the handler each time that a descriptor wakes those who wait to read from it. It
  // must outlive the loop.
  void on_readable(int fd, std::function<void()> handler);
  // Calls the handler with the number of each signal of the set, but for a SIGHUP that is ignored,
  // as nohup(1) has it. Blocks these signals in the calling thread for good, and so in threads
  // that it starts later: one that comes behind this loop is the next one's.
  void on_signals(std::initializer_list<int> signals, std::function<void(int)> handler);
  // Calls the handler once, after the delay.
  void after(std::chrono::nanoseconds delay, std::function<void()> handler);

  // Serves events until stop().
  void run();
  void stop() { stopped_ = true; }

  // Has the kernel carry out one operation, serving events until it is done; its result, or
  // an errno value negated.
  int await(const Prepare& prepare);

 private:
  struct Source {
    Prepare prepare;
    std::function<void(int result)> handler;
    bool again = true;  // prepared anew once it has ended
    __kernel_timespec delay{};
    std::uint64_t value = 0;  // the eventfd's
  };
  void arm(Source& source);
  void serve(const std::function<bool()>& done);

  io_uring ring_{};
  std::list<Source> sources_;
  bool stopped_ = false;
  Fd signals_;
};

}  // namespace dyield
