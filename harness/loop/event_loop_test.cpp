// SPDX-License-Identifier: GPL-2.0-only
#include "loop/event_loop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <memory>
#include <thread>
#include <vector>

namespace dyield {
namespace {

using std::chrono::milliseconds;

TEST(EventLoop, TimersFireInTheOrderOfTheirDelays) {
  EventLoop loop;
  std::vector<int> order;
  loop.after(milliseconds(40), [&] {
    order.push_back(2);
    loop.stop();
  });
  loop.after(milliseconds(1), [&] { order.push_back(1); });
  loop.run();
  EXPECT_EQ(order, (std::vector{1, 2}));
}

TEST(EventLoop, EverySignalOfAnEventfdIsSeenAndItIsArmedAgain) {
  const Fd event(::eventfd(0, EFD_CLOEXEC));
  EventLoop loop;
  int seen = 0;
  loop.on_event(event, [&] {
    if (++seen == 3) {
      loop.stop();
    } else {
      eventfd_write(event.get(), 1);
    }
  });
  eventfd_write(event.get(), 1);
  loop.run();
  EXPECT_EQ(seen, 3);
}

TEST(EventLoop, AnEventfdSignalledByAnotherThreadWakesIt) {
  const Fd event(::eventfd(0, EFD_CLOEXEC));
  EventLoop loop;
  loop.on_event(event, [&] { loop.stop(); });
  std::jthread thread([&] { eventfd_write(event.get(), 1); });
  loop.run();
}

TEST(EventLoop, SignalsArriveAsEvents) {
  EventLoop loop;
  int number = 0;
  loop.on_signals({SIGTERM, SIGINT}, [&](int signal) {
    number = signal;
    loop.stop();
  });
  kill(getpid(), SIGINT);
  loop.run();
  EXPECT_EQ(number, SIGINT);
}

TEST(EventLoop, ASignalBehindALoopIsTheNextOnes) {
  int number = 0;
  {
    EventLoop first;
    first.on_signals({SIGTERM}, [](int signal) { ADD_FAILURE() << signal; });
    first.after(std::chrono::nanoseconds(1), [&] { first.stop(); });
    first.run();
    kill(getpid(), SIGTERM);
  }
  EventLoop next;
  next.on_signals({SIGTERM}, [&](int signal) {
    number = signal;
    next.stop();
  });
  next.after(std::chrono::seconds(5), [&] { next.stop(); });  // it was lost
  next.run();
  EXPECT_EQ(number, SIGTERM);
}

TEST(EventLoop, AHangupThatIsIgnoredStaysIgnored) {
  const auto before = ::signal(SIGHUP, SIG_IGN);
  EventLoop loop;
  int number = 0;
  loop.on_signals({SIGHUP, SIGTERM}, [&](int signal) {
    number = signal;
    loop.stop();
  });
  kill(getpid(), SIGHUP);
  kill(getpid(), SIGTERM);
  loop.run();
  ::signal(SIGHUP, before);
  EXPECT_EQ(number, SIGTERM);
}

TEST(EventLoop, ADescriptorThatStaysReadableIsServedOnceForEachTimeThatItWakes) {
  const Fd event(::eventfd(0, EFD_CLOEXEC));
  EventLoop loop;
  int woken = 0;
  loop.on_readable(event.get(), [&] {
    if (++woken == 1) loop.after(milliseconds(20), [&] { eventfd_write(event.get(), 1); });
    if (woken == 2) loop.after(milliseconds(20), [&] { loop.stop(); });
  });
  loop.after(milliseconds(1), [&] { eventfd_write(event.get(), 1); });
  loop.run();
  EXPECT_EQ(woken, 2);
}

TEST(EventLoop, ServesWhatElseHappensWhileAnOperationIsUnderWay) {
  const Fd event(::eventfd(0, EFD_CLOEXEC));
  EventLoop loop;
  loop.after(milliseconds(1), [&] { eventfd_write(event.get(), 7); });
  std::uint64_t value = 0;
  EXPECT_EQ(loop.await([&](io_uring_sqe* entry) {
    io_uring_prep_read(entry, event.get(), &value, sizeof value, 0);
  }),
            static_cast<int>(sizeof value));
  EXPECT_EQ(value, 7U);
  EXPECT_EQ(loop.await([&](io_uring_sqe* entry) { io_uring_prep_fsync(entry, event.get(), 0); }),
            -EINVAL);
}

}  // namespace
}  // namespace dyield
