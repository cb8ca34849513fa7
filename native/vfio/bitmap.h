/* Bitmaps of dirty pages, as VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT fills them: 64-bit words in host byte
 * order, page n is bit n % 64 of word n / 64 (uAPI §1.6). Plain memory, no requests. */
#ifndef VFIO_MIGRATE_VFIO_BITMAP_H
#define VFIO_MIGRATE_VFIO_BITMAP_H

#include <cstddef>
#include <cstdint>

namespace vfm {

/* Bits that are set among the first `bits`. */
uint64_t BitmapCount(const uint64_t* words, uint64_t bits);

/* A run of set bits, as long as it can be. */
struct BitmapRun {
  uint64_t start;
  uint64_t length;
};

/* Writes the runs from bit `from` on, at most `max` of them, and gives how many. `from` becomes the bit to go
 * on at: `bits` when there are no more. */
size_t BitmapRuns(const uint64_t* words, uint64_t bits, uint64_t& from, BitmapRun* out, size_t max);

/* into |= other, word by word. */
void BitmapOr(uint64_t* into, const uint64_t* other, size_t words);

/* Words that are looked at together: a bit of one word says something of each. */
constexpr size_t kBitmapBlock = 64;

/* What is done to every word, by one kind of instructions; for tests that compare them all. */
struct BitmapImplementation {
  const char* name;
  /* Bits that are set in `n` words. */
  uint64_t (*count)(const uint64_t* words, size_t n);
  /* For each of `blocks` blocks, in which of its words a bit differs from the one before it. Reads words[-1]
   * too: what is before the first bit. */
  void (*edges)(const uint64_t* words, size_t blocks, uint64_t* masks);
  bool available;  // on this processor
};

/* All that were compiled in, best first; sets `*count`. The last one is plain C++ and always available. */
const BitmapImplementation* BitmapImplementations(size_t* count);

/* The functions above with the one that is given. */
uint64_t BitmapCount(const BitmapImplementation& by, const uint64_t* words, uint64_t bits);
size_t BitmapRuns(const BitmapImplementation& by, const uint64_t* words, uint64_t bits, uint64_t& from,
                  BitmapRun* out, size_t max);

}  // namespace vfm
#endif
