/* Memory for read(2) to fill and write(2) to take from. Not zeroed first: that would cost as much as the
 * call. Blocks of up to a mebibyte are used again: memory that a process gets anew costs a page fault for
 * every page, five times what copying into it does. */
#ifndef VFIO_MIGRATE_ADDON_BLOCK_H
#define VFIO_MIGRATE_ADDON_BLOCK_H

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vfm {

/* What blocks are cut to that are used again, and how many are kept for that: as many as a script's heap lets
 * go of at once, which V8 makes to be about 64 MiB. */
inline constexpr size_t kBlockSize = size_t{1} << 20;
inline constexpr size_t kSpareBlocks = 64;

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

/* A block that a script has, too, as the memory of a buffer: FindLent() finds it until this is destroyed. Any
 * thread; may throw std::bad_alloc. */
class Loan {
 public:
  explicit Loan(Block block);
  ~Loan();
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  const Block& block() const { return *block_; }

 private:
  std::shared_ptr<const Block> block_;
};
/* The block that these bytes are in, or null. It stays as long as it is held, whatever becomes of the buffer.
 * Any thread. */
std::shared_ptr<const Block> FindLent(const uint8_t* bytes, size_t size);

/* While one of these exists, blocks are kept to be used again. Any thread. */
class KeepSpares {
 public:
  KeepSpares() noexcept;
  ~KeepSpares();
  KeepSpares(const KeepSpares&) = delete;
  KeepSpares& operator=(const KeepSpares&) = delete;
};

}  // namespace vfm
#endif
