#include "bitmap.h"

#include <algorithm>
#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vfm {

namespace {

constexpr unsigned kWordBits = 64;
/* Words of a cache line. */
constexpr size_t kLine = 8;

/* The lowest `n` bits, n < 64. */
uint64_t Low(unsigned n) {
  return (uint64_t{1} << n) - 1;
}

/* The bits that differ from the one before them: where runs of ones start, and the first bit behind them. */
inline uint64_t Edges(uint64_t word, uint64_t before) {
  return word ^ (word << 1 | before >> (kWordBits - 1));
}

// ---- plain
// ----------------------------------------------------------------------------------------------------------

/* The body of two versions: only the instruction differs that a popcount becomes. Most pages are clean, and a
 * look at a cache line costs less than counting it. */
#define VFM_COUNT_WORDS(words, n)                                                                   \
  uint64_t sum = 0;                                                                                 \
  size_t i = 0;                                                                                     \
  for (; i + kLine <= (n); i += kLine) {                                                            \
    uint64_t any = 0;                                                                               \
    for (size_t k = 0; k < kLine; k++) any |= (words)[i + k];                                       \
    if (any == 0) continue;                                                                         \
    for (size_t k = 0; k < kLine; k++) sum += static_cast<uint64_t>(std::popcount((words)[i + k])); \
  }                                                                                                 \
  for (; i < (n); i++) sum += static_cast<uint64_t>(std::popcount((words)[i]));                     \
  return sum

uint64_t CountPlain(const uint64_t* words, size_t n) {
  VFM_COUNT_WORDS(words, n);
}

/* A line is looked at word by word only when it does not go on as the bit before it. */
void EdgesPlain(const uint64_t* words, size_t blocks, uint64_t* masks) {
  for (size_t b = 0; b < blocks; b++) {
    uint64_t mask = 0;
    for (size_t line = 0; line < kBitmapBlock; line += kLine, words += kLine) {
      const uint64_t same = 0 - (words[-1] >> (kWordBits - 1));
      uint64_t differs = 0;
      for (size_t k = 0; k < kLine; k++) differs |= words[k] ^ same;
      if (differs == 0) continue;
      uint64_t before = words[-1];
      for (size_t k = 0; k < kLine; before = words[k++])
        mask |= uint64_t{Edges(words[k], before) != 0} << (line + k);
    }
    masks[b] = mask;
  }
}

// ---- instructions of x86-64
// -----------------------------------------------------------------------------------------------

#if defined(__x86_64__)

__attribute__((target("popcnt"))) uint64_t CountPopcnt(const uint64_t* words, size_t n) {
  VFM_COUNT_WORDS(words, n);
}

#define VFM_AVX2_TARGET __attribute__((target("avx2,popcnt")))

/* What is read so far ahead is there when it is needed: processors fetch by themselves, but not over the end
 * of a page, and no more than a part of what memory gives. Behind the end of the bitmap it does nothing. */
constexpr size_t kAhead = 1024;
inline void FetchAhead(const uint64_t* words) {
  _mm_prefetch(reinterpret_cast<const char*>(words + kAhead), _MM_HINT_T0);
}

/* Of each byte by its halves, in a table of sixteen. */
VFM_AVX2_TARGET inline __m256i CountBytes(__m256i v) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const __m256i half = _mm256_set1_epi8(15);
  return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(v, half)),
                         _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), half)));
}

VFM_AVX2_TARGET uint64_t CountAvx2(const uint64_t* words, size_t n) {
  constexpr size_t kStep = 16, kLanes = 4;
  const __m256i zero = _mm256_setzero_si256();
  __m256i sums = zero;
  size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    __m256i bytes = zero;  // at most 4 * 8 each
    FetchAhead(words + i);
    FetchAhead(words + i + kLine);
    for (size_t k = 0; k < kStep; k += kLanes) {
      const auto* p = reinterpret_cast<const __m256i*>(words + i + k);
      bytes = _mm256_add_epi8(bytes, CountBytes(_mm256_loadu_si256(p)));
    }
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(bytes, zero));
  }
  uint64_t lanes[kLanes];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sums);
  uint64_t sum = lanes[0] + lanes[1] + lanes[2] + lanes[3];
  for (; i < n; i++) sum += static_cast<uint64_t>(std::popcount(words[i]));
  return sum;
}

VFM_AVX2_TARGET void EdgesAvx2(const uint64_t* words, size_t blocks, uint64_t* masks) {
  constexpr size_t kLanes = 4;
  const __m256i zero = _mm256_setzero_si256();
  for (size_t b = 0; b < blocks; b++) {
    uint64_t same = 0;
    for (size_t k = 0; k < kBitmapBlock; k += kLanes, words += kLanes) {
      if (k % kLine == 0) FetchAhead(words);
      const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
      const __m256i before = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words - 1));
      const __m256i moved = _mm256_or_si256(_mm256_slli_epi64(word, 1), _mm256_srli_epi64(before, 63));
      const __m256i equal = _mm256_cmpeq_epi64(_mm256_xor_si256(word, moved), zero);
      same |= static_cast<uint64_t>(_mm256_movemask_pd(_mm256_castsi256_pd(equal))) << k;
    }
    masks[b] = ~same;
  }
}
#endif

const BitmapImplementation& Chosen() {
  static const BitmapImplementation& chosen = []() -> const BitmapImplementation& {
    size_t count = 0;
    const BitmapImplementation* all = BitmapImplementations(&count);
    while (!all->available) ++all;
    return *all;
  }();
  return chosen;
}

// ---- runs from edges
// --------------------------------------------------------------------------------------------------

/* Takes the places of edges in order, as many as there is room for: a start, an end, a start … */
class EdgeList {
 public:
  EdgeList(uint64_t* out, size_t room) : begin_(out), next_(out), end_(out + room) {}

  bool full() const { return next_ == end_; }
  size_t size() const { return static_cast<size_t>(next_ - begin_); }
  uint64_t last() const { return next_[-1]; }
  void Add(uint64_t place) { *next_++ = place; }

  /* The edges in word `i`, of which `before` is the word before it. */
  void AddWord(size_t i, uint64_t word, uint64_t before) {
    const uint64_t place = uint64_t{i} * kWordBits;
    uint64_t* next = next_;
    for (uint64_t edges = Edges(word, before); edges != 0 && next != end_; edges &= edges - 1)
      *next++ = place + static_cast<unsigned>(std::countr_zero(edges));
    next_ = next;
  }

 private:
  uint64_t* begin_;
  uint64_t* next_;
  uint64_t* end_;
};

/* The edges of whole blocks between the words `i` and `end`, until the list is full or less than a block is
 * left. Gives the word to go on at. 0 < i. */
size_t AddBlocks(const BitmapImplementation& by, const uint64_t* words, size_t i, size_t end,
                 EdgeList& list) {
  /* More and more at once: a batch that is soon full shall not have looked far ahead. */
  constexpr size_t kMost = 32;
  uint64_t masks[kMost];
  for (size_t most = 1; end - i >= kBitmapBlock; most = std::min(2 * most, kMost)) {
    const size_t blocks = std::min(most, (end - i) / kBitmapBlock);
    by.edges(words + i, blocks, masks);
    for (size_t b = 0; b < blocks; b++, i += kBitmapBlock) {
      for (uint64_t mask = masks[b]; mask != 0; mask &= mask - 1) {
        const size_t k = i + static_cast<unsigned>(std::countr_zero(mask));
        list.AddWord(k, words[k], words[k - 1]);
      }
      if (list.full()) return i;
    }
  }
  return i;
}

}  // namespace

const BitmapImplementation* BitmapImplementations(size_t* count) {
  static const BitmapImplementation all[] = {
#if defined(__x86_64__)
    {"avx2", CountAvx2, EdgesAvx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt")},
    {"popcnt", CountPopcnt, EdgesPlain, static_cast<bool>(__builtin_cpu_supports("popcnt"))},
#endif
    {"plain", CountPlain, EdgesPlain, true},
  };
  *count = sizeof(all) / sizeof(all[0]);
  return all;
}

uint64_t BitmapCount(const BitmapImplementation& by, const uint64_t* words, uint64_t bits) {
  const size_t whole = static_cast<size_t>(bits / kWordBits);
  const unsigned rest = bits % kWordBits;
  uint64_t sum = by.count(words, whole);
  if (rest != 0) sum += static_cast<uint64_t>(std::popcount(words[whole] & Low(rest)));
  return sum;
}

size_t BitmapRuns(const BitmapImplementation& by, const uint64_t* words, uint64_t bits, uint64_t& from,
                  BitmapRun* out, size_t max) {
  if (from >= bits || max == 0) return 0;
  static_assert(sizeof(BitmapRun) == 2 * sizeof(uint64_t));
  EdgeList list(&out->start, 2 * max);
  const size_t whole = static_cast<size_t>(bits / kWordBits);
  const unsigned rest = bits % kWordBits;
  /* Nothing counts before `from` and from `bits` on. */
  const auto word = [&](size_t i) { return i < whole ? words[i] : words[i] & Low(rest); };
  const size_t end = whole + (rest != 0);
  size_t i = static_cast<size_t>(from / kWordBits);
  list.AddWord(i, word(i) & ~Low(from % kWordBits), 0);
  i++;
  if (i < whole && !list.full()) i = AddBlocks(by, words, i, whole, list);
  for (; i < end && !list.full(); i++) list.AddWord(i, word(i), words[i - 1]);
  from = list.full() ? list.last() : bits;
  if (list.size() % 2 != 0) list.Add(bits);
  const size_t n = list.size() / 2;
  for (size_t k = 0; k < n; k++) out[k].length -= out[k].start;
  return n;
}

uint64_t BitmapCount(const uint64_t* words, uint64_t bits) {
  return BitmapCount(Chosen(), words, bits);
}

size_t BitmapRuns(const uint64_t* words, uint64_t bits, uint64_t& from, BitmapRun* out, size_t max) {
  return BitmapRuns(Chosen(), words, bits, from, out, max);
}

void BitmapOr(uint64_t* into, const uint64_t* other, size_t words) {
  for (size_t i = 0; i < words; i++) into[i] |= other[i];
}

}  // namespace vfm
