// Bitmaps of dirty pages against a list of bits that is made one bit at a time.
#include "vfio/bitmap.h"

#include <initializer_list>
#include <random>
#include <vector>

#include "check.h"

namespace {

struct Sample {
  std::vector<uint64_t> words;
  std::vector<bool> bits;
};

// `density` of 16 stretches are set; a stretch has 1 .. `stretch` bits. What is behind the last bit is set:
// it is not the caller's.
Sample Make(size_t bits, unsigned density, unsigned stretch, uint32_t seed) {
  std::mt19937 random(seed);
  Sample sample{std::vector<uint64_t>((bits + 63) / 64, ~uint64_t{0}), std::vector<bool>(bits)};
  for (size_t i = 0; i < bits;) {
    const bool set = random() % 16 < density;
    for (size_t n = 1 + random() % stretch; n > 0 && i < bits; n--, i++) sample.bits[i] = set;
  }
  for (size_t i = 0; i < bits; i++)
    if (!sample.bits[i]) sample.words[i / 64] &= ~(uint64_t{1} << (i % 64));
  return sample;
}

template <class F>
void ForEachImplementation(F&& f) {
  size_t count = 0;
  const vfm::BitmapImplementation* all = vfm::BitmapImplementations(&count);
  for (size_t i = 0; i < count; i++) {
    if (all[i].available) f(all[i]);
  }
}

// In batches of `max`.
std::vector<bool> FromRuns(const vfm::BitmapImplementation& by, const Sample& sample, size_t max) {
  std::vector<bool> bits(sample.bits.size());
  std::vector<vfm::BitmapRun> runs(max);
  uint64_t from = 0, before = 0;
  bool first = true;
  while (from < bits.size()) {
    const size_t n = vfm::BitmapRuns(by, sample.words.data(), bits.size(), from, runs.data(), max);
    CHECK(n <= max);
    for (size_t i = 0; i < n; i++) {
      CHECK(runs[i].length > 0);
      // As long as it can be: a clean page is between two runs.
      CHECK(first || runs[i].start > before);
      first = false;
      for (uint64_t k = 0; k < runs[i].length; k++) bits[runs[i].start + k] = true;
      before = runs[i].start + runs[i].length;
      CHECK(before <= bits.size());
    }
    if (n < max) CHECK_EQ(from, bits.size());
  }
  return bits;
}

void CheckAll(const Sample& sample, std::initializer_list<size_t> batches) {
  uint64_t expected = 0;
  for (bool bit : sample.bits) expected += bit;
  CHECK_EQ(vfm::BitmapCount(sample.words.data(), sample.bits.size()), expected);
  ForEachImplementation([&](const vfm::BitmapImplementation& by) {
    CHECK_EQ(vfm::BitmapCount(by, sample.words.data(), sample.bits.size()), expected);
    for (size_t max : batches) CHECK(FromRuns(by, sample, max) == sample.bits);
  });
}

}  // namespace

TEST(BitmapCountsAndFindsEveryBit) {
  uint32_t seed = 0;
  for (size_t bits : {1u, 63u, 64u, 65u, 127u, 128u, 511u, 512u, 513u, 1000u, 4096u, 5001u}) {
    for (unsigned density : {0u, 1u, 8u, 15u, 16u}) {
      for (unsigned stretch : {1u, 3u, 200u}) {
        CheckAll(Make(bits, density, stretch, seed++), {1, 2, 7, 10000});
      }
    }
  }
}

// Longer than all that is looked at together, and not a multiple of it; runs over words, lines and blocks.
TEST(BitmapCountsAndFindsEveryBitOfMany) {
  constexpr size_t kBlock = 64 * vfm::kBitmapBlock;
  uint32_t seed = 100;
  for (size_t bits : {kBlock + 64, 2 * kBlock + 64, 3 * kBlock + 63, 64 * kBlock + 1, 130 * kBlock - 77}) {
    for (unsigned density : {0u, 1u, 8u, 15u, 16u}) {
      for (unsigned stretch : {2u, 700u, 20000u}) CheckAll(Make(bits, density, stretch, seed++), {61, 4096});
    }
  }
}

// One bit that is set among clear ones, and one clear among set ones, at each place.
TEST(BitmapFindsABitAnywhere) {
  constexpr size_t kBits = 64 * (vfm::kBitmapBlock + 11) + 5;
  for (size_t place = 0; place < kBits; place += place % 64 == 1 ? 61 : 1) {
    for (bool set : {true, false}) {
      Sample sample = Make(kBits, set ? 0 : 16, 1, 0);
      sample.bits[place] = set;
      sample.words[place / 64] ^= uint64_t{1} << (place % 64);
      CheckAll(sample, {1, 3});
    }
  }
}

// From any bit on, in the middle of a run too; nothing before it counts.
TEST(BitmapRunsStartWhereTheyAreAskedTo) {
  constexpr size_t kBits = 64 * 2 * vfm::kBitmapBlock + 33;
  const Sample sample = Make(kBits, 8, 150, 7);
  ForEachImplementation([&](const vfm::BitmapImplementation& by) {
    for (uint64_t from = 0; from <= kBits; from += from % 64 == 1 ? 61 : 1) {
      uint64_t start = from;
      while (start < kBits && !sample.bits[start]) start++;
      uint64_t end = start;
      while (end < kBits && sample.bits[end]) end++;
      uint64_t next = from;
      vfm::BitmapRun run{};
      const size_t n = vfm::BitmapRuns(by, sample.words.data(), kBits, next, &run, 1);
      CHECK_EQ(n, start < kBits ? 1u : 0u);
      CHECK_EQ(next, end);
      if (n == 0) continue;
      CHECK_EQ(run.start, start);
      CHECK_EQ(run.length, end - start);
    }
  });
}

TEST(BitmapOrKeepsWhatWasSet) {
  const Sample a = Make(1000, 4, 9, 1), b = Make(1000, 4, 9, 2);
  std::vector<uint64_t> both = a.words;
  vfm::BitmapOr(both.data(), b.words.data(), both.size());
  for (size_t i = 0; i < 1000; i++)
    CHECK_EQ((both[i / 64] >> (i % 64)) & 1, uint64_t{a.bits[i] || b.bits[i]});
}
