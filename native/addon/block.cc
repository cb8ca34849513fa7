#include "block.h"

#include <array>
#include <cstdlib>
#include <mutex>

namespace vfm {

namespace {

class Spares {
 public:
  uint8_t* Take() noexcept {
    const std::lock_guard lock(mutex_);
    return count_ == 0 ? nullptr : blocks_[--count_];
  }
  bool Keep(uint8_t* block) noexcept {
    const std::lock_guard lock(mutex_);
    if (count_ == blocks_.size()) return false;
    blocks_[count_++] = block;
    return true;
  }

 private:
  std::mutex mutex_;
  size_t count_ = 0;
  std::array<uint8_t*, kSpareBlocks> blocks_{};
};

/* Never destroyed: a thread may still be in a call when the process ends. */
Spares& spares() {
  static Spares* const all = new Spares;
  return *all;
}

/* Small ones stay what they are: nothing is gained by keeping a mebibyte for them. */
bool IsReused(size_t capacity) {
  return capacity > kBlockSize / 2 && capacity <= kBlockSize;
}

}  // namespace

void FreeBlock::operator()(uint8_t* memory) const noexcept {
  if (!IsReused(capacity) || !spares().Keep(memory)) std::free(memory);
}

Block NewBlock(size_t capacity) noexcept {
  uint8_t* memory = nullptr;
  if (IsReused(capacity)) {
    memory = spares().Take();
    if (memory == nullptr) memory = static_cast<uint8_t*>(std::malloc(kBlockSize));
  } else {
    memory = static_cast<uint8_t*>(std::malloc(capacity == 0 ? 1 : capacity));
  }
  return {{memory, {capacity}}, 0};
}

}  // namespace vfm
