// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <liburing.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>

#include "base/fd.h"

namespace dyield {

// The one loop of the main thread, on io_uring: guest doorbells, timers and
// signals. Handlers run in the thread that calls run().
class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;

  // Throws Error (kEnvironment) if the kernel offers no io_uring.
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls the handler each time the eventfd is signalled. The descriptor must
  // be in blocking mode and outlive the loop.
  void on_event(const Fd& eventfd, std::function<void()> handler);
  // Calls the handler with the number of each signal of the set. Blocks these
  // signals in the calling thread, and so in threads that it starts later.
  void on_signals(std::initializer_list<int> signals, std::function<void(int)> handler);
  // Calls the handler once, after the delay.
  void after(std::chrono::nanoseconds delay, std::function<void()> handler);

  // Serves events until stop().
  void run();
  void stop() { stopped_ = true; }

 private:
  struct Source {
    std::function<void()> handler;
    int fd = -1;  // read from again after each event, unless a timer
    void* buffer = nullptr;
    unsigned size = 0;
    __kernel_timespec delay{};
    std::uint64_t value = 0;  // the eventfd's
  };
  void arm(Source& source);

  io_uring ring_{};
  std::list<Source> sources_;
  bool stopped_ = false;
  Fd signals_;
  struct SignalBuffer;
  std::unique_ptr<SignalBuffer> signal_buffer_;
};

}  // namespace dyield
