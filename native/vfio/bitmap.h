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

}  // namespace vfm
#endif
