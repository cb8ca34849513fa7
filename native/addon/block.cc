#include "block.h"

#include <array>
#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>
#include <utility>

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
    if (users_ == 0 || count_ == blocks_.size()) return false;
    blocks_[count_++] = block;
    return true;
  }
  void Begin() noexcept {
    const std::lock_guard lock(mutex_);
    ++users_;
  }
  void End() noexcept {
    const std::lock_guard lock(mutex_);
    if (--users_ > 0) return;
    while (count_ > 0) std::free(blocks_[--count_]);
  }

 private:
  std::mutex mutex_;
  size_t users_ = 0;
  size_t count_ = 0;
  std::array<uint8_t*, kSpareBlocks> blocks_{};
};

/* By the address of their first byte. */
struct Lent {
  std::mutex mutex;
  std::map<uintptr_t, std::weak_ptr<const Block>> blocks;
};

/* Never destroyed: a thread may still be in a call when the process ends. */
Spares& spares() {
  static Spares* const all = new Spares;
  return *all;
}

Lent& lent() {
  static Lent* const all = new Lent;
  return *all;
}

uintptr_t Address(const uint8_t* memory) {
  return reinterpret_cast<uintptr_t>(memory);
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

Loan::Loan(Block block) : block_(std::make_shared<const Block>(std::move(block))) {
  const std::lock_guard lock(lent().mutex);
  lent().blocks[Address(block_->data.get())] = block_;
}

Loan::~Loan() {
  const std::lock_guard lock(lent().mutex);
  lent().blocks.erase(Address(block_->data.get()));
}

std::shared_ptr<const Block> FindLent(const uint8_t* bytes, size_t size) {
  const std::lock_guard lock(lent().mutex);
  auto after = lent().blocks.upper_bound(Address(bytes));
  if (after == lent().blocks.begin()) return nullptr;
  std::shared_ptr<const Block> block = std::prev(after)->second.lock();
  if (!block) return nullptr;
  const uintptr_t from = Address(bytes) - Address(block->data.get());
  return from <= block->size && size <= block->size - from ? block : nullptr;
}

KeepSpares::KeepSpares() noexcept {
  spares().Begin();
}

KeepSpares::~KeepSpares() {
  spares().End();
}

}  // namespace vfm
