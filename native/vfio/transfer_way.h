// How a transfer finds out which way moves its bytes fastest, and for how long it keeps to that. Private to
// transfer.cc.
#ifndef VFIO_MIGRATE_VFIO_TRANSFER_WAY_H
#define VFIO_MIGRATE_VFIO_TRANSFER_WAY_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace vfm {

// How many buffers are moved to find out whether one thread is faster or two, and how many in the faster way
// before it is found out again: by then the sink's cache may be full, or other processes may want the
// processors. Twice as many each time when it is what it was, up to the most.
inline constexpr size_t kTrial = 32;
inline constexpr size_t kStay = 512;
inline constexpr size_t kMostStay = 2048;
// What handing a buffer to another thread costs at the least. When two threads could save no more than that,
// there is nothing to be found out.
inline constexpr uint64_t kHandOverNs = 10'000;
// What part of the time two threads must be able to save where a pipe is at one end: what they take of the
// processors is the other end's.
inline constexpr uint64_t kPipePart = 5;

struct Way {
  bool two_threads;
  uint32_t frame_size;
  bool operator==(const Way&) const = default;
};

// For how many buffers a transfer goes on.
class Stays {
 public:
  size_t In(const Way& way) {
    count_ = before_ == way ? std::min(2 * count_, kMostStay) : kStay;
    before_ = way;
    return count_;
  }

 private:
  std::optional<Way> before_;
  size_t count_ = kStay;
};

// Nanoseconds that one thread took for the buffers of a trial.
struct StepTimes {
  uint64_t read = 0, seal = 0, write = 0;

  // Whether two threads could be worth a trial. Either of them may seal.
  [[nodiscard]] bool CanBeShared(size_t buffers, bool piped) const {
    const uint64_t one = read + seal + write;
    const uint64_t two = std::min(std::max(read + seal, write), std::max(read, seal + write));
    return one - two > std::max(buffers * kHandOverNs, piped ? one / kPipePart : 0);
  }
};

}  // namespace vfm

#endif
