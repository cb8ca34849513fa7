// Waiting as a kernel waits: for a time, or for an event, and (where the driver allows it) until a signal.
#pragma once

#include <atomic>
#include <cstdint>

namespace vfm::mock {

// 0, or -EINTR when `interruptible` and the thread took a signal.
int SleepNs(uint64_t ns, bool interruptible);
inline int SleepMs(uint64_t ms, bool interruptible) {
  return SleepNs(ms * 1000000, interruptible);
}

// Something that happens again and again; a futex, because a condition variable does not report signals.
class Event {
 public:
  uint32_t Ticket() const { return word_.load(); }
  // Returns 0 once Notify() was called after `ticket` was taken; -EINTR on a signal.
  int Wait(uint32_t ticket);
  void Notify();

 private:
  std::atomic<uint32_t> word_{0};
};

uint64_t MonotonicNs();

}  // namespace vfm::mock
