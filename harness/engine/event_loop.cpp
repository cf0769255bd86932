// SPDX-License-Identifier: GPL-2.0-only
#include "engine/event_loop.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <memory>

#include "base/error.h"

namespace dyield {
namespace {

constexpr unsigned kEntries = 256;

void check(const char* what, int result) {
  if (result < 0) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("io_uring failed to {}: {}; dyield needs it: set the sysctl "
                            "kernel.io_uring_disabled to 0 and see the limits of memory (ulimit "
                            "-l) and open files (ulimit -n).",
                            what, errno_text(-result)));
  }
}

}  // namespace

struct EventLoop::SignalBuffer {
  signalfd_siginfo info;
};

EventLoop::EventLoop() {
  check("start", io_uring_queue_init(kEntries, &ring_, 0));
}

EventLoop::~EventLoop() {
  io_uring_queue_exit(&ring_);
}

void EventLoop::arm(Source& source) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) {
    check("submit requests", io_uring_submit(&ring_));
    entry = io_uring_get_sqe(&ring_);
  }
  if (source.fd >= 0) {
    io_uring_prep_read(entry, source.fd, source.buffer, source.size, 0);
  } else {
    io_uring_prep_timeout(entry, &source.delay, 0, 0);
  }
  io_uring_sqe_set_data(entry, &source);
}

void EventLoop::on_event(const Fd& eventfd, std::function<void()> handler) {
  Source& source = sources_.emplace_back();
  source.handler = std::move(handler);
  source.fd = eventfd.get();
  source.buffer = &source.value;
  source.size = sizeof source.value;
  arm(source);
}

void EventLoop::on_signals(std::initializer_list<int> signals, std::function<void(int)> handler) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!signals_) check("watch signals", -errno);
  signal_buffer_ = std::make_unique<SignalBuffer>();
  Source& source = sources_.emplace_back();
  source.handler = [this, handler = std::move(handler)] {
    handler(static_cast<int>(signal_buffer_->info.ssi_signo));
  };
  source.fd = signals_.get();
  source.buffer = &signal_buffer_->info;
  source.size = sizeof signal_buffer_->info;
  arm(source);
}

void EventLoop::after(std::chrono::nanoseconds delay, std::function<void()> handler) {
  Source& source = sources_.emplace_back();
  source.handler = std::move(handler);
  source.delay.tv_sec = delay.count() / 1'000'000'000;
  source.delay.tv_nsec = delay.count() % 1'000'000'000;
  arm(source);
}

void EventLoop::run() {
  while (!stopped_) {
    const int result = io_uring_submit_and_wait(&ring_, 1);
    if (result == -EINTR) continue;
    check("wait for events", result);
    io_uring_cqe* entry = nullptr;
    while (!stopped_ && io_uring_peek_cqe(&ring_, &entry) == 0) {
      auto& source = *static_cast<Source*>(io_uring_cqe_get_data(entry));
      const int outcome = entry->res;
      io_uring_cqe_seen(&ring_, entry);
      if (source.fd >= 0) {
        check("read an event", outcome);
      } else if (outcome != -ETIME) {
        check("run a timer", outcome);
      }
      source.handler();
      if (source.fd >= 0) arm(source);
    }
  }
}

}  // namespace dyield
