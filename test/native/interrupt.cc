#include "vfio/interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "check.h"

using namespace vfm;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

struct Pipe {
  Pipe() { CHECK_EQ(pipe2(fds, O_CLOEXEC), 0); }
  ~Pipe() {
    close(fds[0]);
    close(fds[1]);
  }
  int fds[2];
};

long ReadOne(int fd) {
  char byte;
  const ssize_t got = read(fd, &byte, 1);
  return got < 0 ? -errno : got;
}

}  // namespace

TEST(interrupt_ends_a_blocked_read) {
  Pipe empty;
  Interruptible target;
  std::atomic<long> result{1};
  std::thread thread([&] {
    const Interruptible::Attachment attachment(target);
    result = target.Call([&] { return ReadOne(empty.fds[0]); });
  });
  std::this_thread::sleep_for(milliseconds(20));
  target.Interrupt();
  thread.join();
  CHECK_EQ(result.load(), kInterrupted);
}

TEST(interrupt_before_the_call_keeps_it_from_the_kernel) {
  Interruptible target;
  const Interruptible::Attachment attachment(target);
  target.Interrupt();
  int calls = 0;
  CHECK_EQ(target.Call([&] { return ++calls; }), kInterrupted);
  CHECK_EQ(calls, 0);
  target.Clear();
  CHECK_EQ(target.Call([&] { return ++calls; }), 1);
}

// The race that one signal loses: it arrives after the look at the flag and before the call blocks.
TEST(interrupt_repeats_until_the_call_was_left) {
  Pipe empty;
  Interruptible target;
  std::atomic<bool> inside{false};
  std::atomic<long> result{1};
  std::thread thread([&] {
    const Interruptible::Attachment attachment(target);
    result = target.Call([&] {
      inside = true;
      const auto until = Clock::now() + milliseconds(30);
      while (Clock::now() < until) {
      }  // signals that come now are lost
      return ReadOne(empty.fds[0]);
    });
  });
  while (!inside) std::this_thread::yield();
  target.Interrupt();
  thread.join();
  CHECK_EQ(result.load(), kInterrupted);
}

TEST(interrupt_at_any_moment) {
  Pipe empty;
  for (int i = 0; i < 200; ++i) {
    Interruptible target;
    std::atomic<bool> started{false};
    std::atomic<long> result{1};
    std::thread thread([&] {
      const Interruptible::Attachment attachment(target);
      started = true;
      result = target.Call([&] { return ReadOne(empty.fds[0]); });
    });
    while (!started) std::this_thread::yield();
    for (int spin = 0; spin < i * 20; ++spin) static_cast<void>(started.load());
    target.Interrupt();
    thread.join();
    CHECK_EQ(result.load(), kInterrupted);
  }
}

// A thread that serves several requests: no signal of a forgotten request may reach the next call.
TEST(clear_leaves_no_signal_behind) {
  Pipe empty;
  Interruptible target;
  std::atomic<int> round{0}, asked{0}, done{0};
  std::atomic<int> stray{0};
  constexpr int kRounds = 200;
  std::thread thread([&] {
    const Interruptible::Attachment attachment(target);
    for (int i = 1; i <= kRounds; ++i) {
      round = i;
      if (target.Call([&] { return ReadOne(empty.fds[0]); }) != kInterrupted) ++stray;
      while (asked != i) std::this_thread::yield();
      target.Clear();
      // `retry` off: an EINTR is a signal that should not have come.
      if (target.Call([] { return poll(nullptr, 0, 1) < 0 ? -errno : 0; }, false) != 0) ++stray;
      done = i;
    }
  });
  for (int i = 1; i <= kRounds; ++i) {
    while (round != i) std::this_thread::yield();
    target.Interrupt();
    target.Interrupt();
    asked = i;
    while (done != i) std::this_thread::yield();
  }
  thread.join();
  CHECK_EQ(stray.load(), 0);
}

TEST(call_repeats_after_an_eintr_that_nobody_asked_for) {
  Interruptible target;
  const Interruptible::Attachment attachment(target);
  int calls = 0;
  CHECK_EQ(target.Call([&]() -> long { return ++calls < 4 ? -EINTR : 7; }), 7);
  CHECK_EQ(calls, 4);
  CHECK_EQ(target.Call([&]() -> long { return -EINTR; }, false), -EINTR);
}

// What the kernel did is never reported as not done.
TEST(call_keeps_the_result_of_a_call_that_succeeded) {
  Interruptible target;
  const Interruptible::Attachment attachment(target);
  CHECK_EQ(target.Call([&]() -> long {
    target.Interrupt();
    return 5;
  }),
           5);
  CHECK_EQ(target.Call([&]() -> long { return 5; }), kInterrupted);
}

TEST(interrupt_after_the_thread_has_gone) {
  auto* target = new Interruptible;
  std::thread([&] { const Interruptible::Attachment attachment(*target); }).join();
  target->Interrupt();
  CHECK(target->interrupted());
  delete target;
}

// The repeater may hold the state a moment longer than the object lives.
TEST(interrupt_then_destroy) {
  for (int i = 0; i < 50; ++i) {
    Pipe empty;
    auto* target = new Interruptible;
    std::atomic<bool> inside{false};
    std::thread thread([&] {
      const Interruptible::Attachment attachment(*target);
      target->Call([&] {
        inside = true;
        return ReadOne(empty.fds[0]);
      });
    });
    while (!inside) std::this_thread::yield();
    target->Interrupt();
    thread.join();
    delete target;
  }
}

TEST(attachment_restores_the_mask_and_swallows_its_own_sigpipe) {
  sigset_t before, inside, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  {
    Interruptible target;
    const Interruptible::Attachment attachment(target);
    pthread_sigmask(SIG_SETMASK, nullptr, &inside);
    Pipe pipe;
    close(pipe.fds[0]);
    CHECK_EQ(target.Call([&]() -> long { return write(pipe.fds[1], "x", 1) < 0 ? -errno : 0; }), -EPIPE);
    pipe.fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
  // Alive, so the SIGPIPE was not delivered.
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK_EQ(sigismember(&inside, SIGPIPE), 1);
  CHECK_EQ(sigismember(&inside, SIGINT), 1);
  CHECK_EQ(sigismember(&inside, SIGSEGV), 0);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGCHLD}) {
    CHECK_EQ(sigismember(&after, signal), sigismember(&before, signal));
  }
}

// Last of this file: it takes real-time signals away from our code, as a host program might.
TEST(interrupt_replaces_no_handler_of_the_host) {
  static std::atomic<int> host_calls;
  int ours = 0;
  {
    Interruptible target;
    const Interruptible::Attachment attachment(target);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
      if (!sigismember(&mask, signal)) ours = signal;
    }
  }
  CHECK(ours >= SIGRTMIN);
  CHECK(ours < SIGRTMAX);
  struct sigaction action = {}, old;
  action.sa_handler = [](int) { ++host_calls; };
  CHECK_EQ(sigaction(ours, &action, &old), 0);
  CHECK_EQ(old.sa_flags & SA_RESTART, 0);

  // A thread that attaches now gets another number, and is interrupted by it.
  Pipe empty;
  Interruptible target;
  std::atomic<long> result{1};
  std::thread thread([&] {
    const Interruptible::Attachment attachment(target);
    result = target.Call([&] { return ReadOne(empty.fds[0]); });
  });
  std::this_thread::sleep_for(milliseconds(20));
  target.Interrupt();
  thread.join();
  CHECK_EQ(result.load(), kInterrupted);
  CHECK_EQ(host_calls.load(), 0);
  struct sigaction now;
  CHECK_EQ(sigaction(ours, &old, &now), 0);
  CHECK(now.sa_handler == action.sa_handler);
}
