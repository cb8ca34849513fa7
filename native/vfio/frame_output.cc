#include "frame_output.h"

#include <algorithm>

#include "crc32c.h"

namespace vfm {

bool FrameOutput::Begin(const std::function<bool()>& stopped) {
  std::unique_lock lock(mutex_);
  const uint64_t ticket = tickets_++;
  waiting_.push_back(ticket);
  bool over = false;
  changed_.wait(lock, [&] {
    over = broken_ || stopped();
    return over || (!taken_ && waiting_.front() == ticket);
  });
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), ticket));
  if (over) {
    // Whoever is next may go now.
    changed_.notify_all();
    return false;
  }
  taken_ = true;
  return true;
}

void FrameOutput::End(bool whole, uint32_t crc, uint64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    taken_ = false;
    if (whole) {
      crc_ = Crc32cCombine(crc_, crc, bytes);
      bytes_ += bytes;
    } else {
      broken_ = true;
    }
  }
  changed_.notify_all();
}

void FrameOutput::Wake() {
  { const std::lock_guard lock(mutex_); }
  changed_.notify_all();
}

uint32_t FrameOutput::crc() const {
  const std::lock_guard lock(mutex_);
  return crc_;
}

uint64_t FrameOutput::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace vfm
