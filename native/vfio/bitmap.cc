#include "bitmap.h"

#include <algorithm>
#include <bit>

namespace vfm {

namespace {

constexpr unsigned kWordBits = 64;
/* Words of a cache line. */
constexpr size_t kLine = 8;

/* The lowest `n` bits, n < 64. */
uint64_t Low(unsigned n) {
  return (uint64_t{1} << n) - 1;
}

/* The body of both versions: only the instruction differs that a popcount becomes. Most pages are clean, and
 * a look at a cache line costs less than counting it. */
#define VFM_COUNT_WORDS(words, n)                                                                          \
  uint64_t sum = 0;                                                                                        \
  size_t i = 0;                                                                                            \
  for (; i + kLine <= (n); i += kLine) {                                                                   \
    uint64_t any = 0;                                                                                      \
    for (size_t k = 0; k < kLine; k++) any |= (words)[i + k];                                              \
    if (any == 0) continue;                                                                                \
    for (size_t k = 0; k < kLine; k++) sum += static_cast<uint64_t>(__builtin_popcountll((words)[i + k])); \
  }                                                                                                        \
  for (; i < (n); i++) sum += static_cast<uint64_t>(__builtin_popcountll((words)[i]));                     \
  return sum

uint64_t CountPlain(const uint64_t* words, size_t n) {
  VFM_COUNT_WORDS(words, n);
}

#if defined(__x86_64__)
__attribute__((target("popcnt"))) uint64_t CountPopcnt(const uint64_t* words, size_t n) {
  VFM_COUNT_WORDS(words, n);
}
#endif

using Counter = uint64_t (*)(const uint64_t*, size_t);

Counter PickCounter() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("popcnt")) return CountPopcnt;
#endif
  return CountPlain;
}

/* Index of the first word at or after `i` that is not `same`, at most `end`. Pages are dirty or clean in long
 * stretches, so this is where the time goes. */
size_t SkipWords(const uint64_t* words, size_t i, size_t end, uint64_t same) {
  for (; i + kLine <= end; i += kLine) {
    uint64_t differs = 0;
    for (size_t k = 0; k < kLine; k++) differs |= words[i + k] ^ same;
    if (differs != 0) break;
  }
  while (i < end && words[i] == same) i++;
  return i;
}

/* First bit at or after `from` that is set (`flip` 0) or clear (`flip` ~0); `bits` when there is none. */
uint64_t FindBit(const uint64_t* words, uint64_t bits, uint64_t from, uint64_t flip) {
  if (from >= bits) return bits;
  size_t i = from / kWordBits;
  const size_t end = static_cast<size_t>((bits + kWordBits - 1) / kWordBits);
  uint64_t word = (words[i] ^ flip) & ~Low(from % kWordBits);
  if (word == 0) {
    i = SkipWords(words, i + 1, end, flip);
    if (i == end) return bits;
    word = words[i] ^ flip;
  }
  return std::min<uint64_t>(bits, uint64_t{i} * kWordBits + static_cast<unsigned>(std::countr_zero(word)));
}

}  // namespace

uint64_t BitmapCount(const uint64_t* words, uint64_t bits) {
  static const Counter counter = PickCounter();
  const size_t whole = static_cast<size_t>(bits / kWordBits);
  const unsigned rest = bits % kWordBits;
  uint64_t sum = counter(words, whole);
  if (rest != 0) sum += static_cast<uint64_t>(std::popcount(words[whole] & Low(rest)));
  return sum;
}

size_t BitmapRuns(const uint64_t* words, uint64_t bits, uint64_t& from, BitmapRun* out, size_t max) {
  size_t n = 0;
  while (n < max) {
    const uint64_t start = FindBit(words, bits, from, 0);
    if (start == bits) {
      from = bits;
      return n;
    }
    from = FindBit(words, bits, start, ~uint64_t{0});
    out[n++] = {start, from - start};
  }
  return n;
}

void BitmapOr(uint64_t* into, const uint64_t* other, size_t words) {
  for (size_t i = 0; i < words; i++) into[i] |= other[i];
}

}  // namespace vfm
