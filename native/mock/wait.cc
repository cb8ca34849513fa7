#include "mock/wait.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

namespace vfm::mock {

uint64_t MonotonicNs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
}

int SleepNs(uint64_t ns, bool interruptible) {
  if (ns == 0) return 0;
  uint64_t end = MonotonicNs() + ns;
  timespec until{static_cast<time_t>(end / 1000000000), static_cast<long>(end % 1000000000)};
  for (;;) {
    int e = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
    if (e == 0) return 0;
    if (e == EINTR && interruptible) return -EINTR;
  }
}

int Event::Wait(uint32_t ticket) {
  auto* word = reinterpret_cast<uint32_t*>(&word_);
  while (word_.load() == ticket) {
    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, ticket, nullptr, nullptr, 0) == -1 && errno == EINTR) {
      return -EINTR;
    }
  }
  return 0;
}

void Event::Notify() {
  word_.fetch_add(1);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word_), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace vfm::mock
