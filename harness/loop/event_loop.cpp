// SPDX-License-Identifier: GPL-2.0-only
#include "loop/event_loop.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "base/error.h"

namespace dyield {
namespace {

constexpr unsigned kEntries = 256;

void check(const char* what, int result) {
  if (result < 0) {
    throw Error(ExitCode::kEnvironment,
                fmt::format("io_uring failed to {}: {}; see the kernel log, and run again.", what,
                            errno_text(-result)));
  }
}

}  // namespace

EventLoop::EventLoop() {
  if (const int result = io_uring_queue_init(kEntries, &ring_, 0); result < 0) {
    throw Error(
        ExitCode::kEnvironment,
        fmt::format("Cannot start io_uring, which dyield needs: {}; set the sysctl "
                    "kernel.io_uring_disabled to 0, allow it in the container's seccomp filter, "
                    "and see the limits of memory (ulimit -l) and open files (ulimit -n).",
                    errno_text(-result)));
  }
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
  source.prepare(entry);
  io_uring_sqe_set_data(entry, &source);
}

void EventLoop::on_event(const Fd& eventfd, std::function<void()> handler) {
  Source& source = sources_.emplace_back();
  source.prepare = [fd = eventfd.get(), value = &source.value](io_uring_sqe* entry) {
    io_uring_prep_read(entry, fd, value, sizeof *value, 0);
  };
  source.handler = [handler = std::move(handler)](int result) {
    check("read an event", result);
    handler();
  };
  arm(source);
}

void EventLoop::on_readable(int fd, std::function<void()> handler) {
  Source& source = sources_.emplace_back();
  // Once for each time that it wakes, and not for as long as there is something to read:
  // a kernel that fills a buffer without pause would have it called without pause.
  source.prepare = [fd](io_uring_sqe* entry) { io_uring_prep_poll_multishot(entry, fd, POLLIN); };
  source.handler = [handler = std::move(handler)](int result) {
    check("wait for a descriptor", result);
    handler();
  };
  arm(source);
}

void EventLoop::on_signals(std::initializer_list<int> signals, std::function<void(int)> handler) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    struct sigaction now {};
    if (signal == SIGHUP && sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN)
      continue;
    sigaddset(&set, signal);
  }
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) check("watch signals", -errno);
  // Read in the handler, not by the ring: that would take a signal that nobody serves any more.
  on_readable(signals_.get(), [this, handler = std::move(handler)] {
    signalfd_siginfo info;
    while (!stopped_ && ::read(signals_.get(), &info, sizeof info) == sizeof info)
      handler(static_cast<int>(info.ssi_signo));
  });
}

void EventLoop::after(std::chrono::nanoseconds delay, std::function<void()> handler) {
  Source& source = sources_.emplace_back();
  source.again = false;
  source.delay.tv_sec = delay.count() / 1'000'000'000;
  source.delay.tv_nsec = delay.count() % 1'000'000'000;
  source.prepare = [time = &source.delay](io_uring_sqe* entry) {
    io_uring_prep_timeout(entry, time, 0, 0);
  };
  source.handler = [handler = std::move(handler)](int result) {
    if (result != -ETIME) check("run a timer", result);
    handler();
  };
  arm(source);
}

void EventLoop::run() {
  serve([this] { return stopped_; });
}

int EventLoop::await(const Prepare& prepare) {
  std::optional<int> outcome;
  Source source;
  source.again = false;
  source.prepare = prepare;
  source.handler = [&outcome](int result) { outcome = result; };
  arm(source);
  serve([&outcome] { return outcome.has_value(); });
  return *outcome;
}

void EventLoop::serve(const std::function<bool()>& done) {
  while (!done()) {
    const int result = io_uring_submit_and_wait(&ring_, 1);
    if (result == -EINTR) continue;
    check("wait for events", result);
    io_uring_cqe* entry = nullptr;
    while (!done() && io_uring_peek_cqe(&ring_, &entry) == 0) {
      auto& source = *static_cast<Source*>(io_uring_cqe_get_data(entry));
      const int outcome = entry->res;
      const bool ended = (entry->flags & IORING_CQE_F_MORE) == 0;
      io_uring_cqe_seen(&ring_, entry);
      source.handler(outcome);
      if (ended && source.again) arm(source);
    }
  }
}

}  // namespace dyield
