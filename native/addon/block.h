/* Memory for read(2) to fill and write(2) to take from. Not zeroed first: that would cost as much as the
 * call. Blocks of up to a mebibyte are used again: memory that a process gets anew costs a page fault for
 * every page, five times what copying into it does. */
#ifndef VFIO_MIGRATE_ADDON_BLOCK_H
#define VFIO_MIGRATE_ADDON_BLOCK_H

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vfm {

/* What blocks are cut to that are used again, and how many are kept for that. */
inline constexpr size_t kBlockSize = size_t{1} << 20;
inline constexpr size_t kSpareBlocks = 16;

/* Any thread. */
struct FreeBlock {
  void operator()(uint8_t* memory) const noexcept;
  size_t capacity = 0;
};

struct Block {
  std::unique_ptr<uint8_t, FreeBlock> data;
  size_t size = 0; /* of what is in it */

  size_t capacity() const { return data.get_deleter().capacity; }
};

/* Room for `capacity` bytes, or `data` null when there is no memory. Any thread. */
Block NewBlock(size_t capacity) noexcept;

}  // namespace vfm
#endif
