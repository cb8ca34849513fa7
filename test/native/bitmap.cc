// Bitmaps of dirty pages against a list of bits that is made one bit at a time.
#include "vfio/bitmap.h"

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

// In batches of `max`.
std::vector<bool> FromRuns(const Sample& sample, size_t max) {
  std::vector<bool> bits(sample.bits.size());
  std::vector<vfm::BitmapRun> runs(max);
  uint64_t from = 0, before = 0;
  bool first = true;
  while (from < bits.size()) {
    const size_t n = vfm::BitmapRuns(sample.words.data(), bits.size(), from, runs.data(), max);
    for (size_t i = 0; i < n; i++) {
      CHECK(runs[i].length > 0);
      // As long as it can be: a clean page is between two runs.
      CHECK(first || runs[i].start > before);
      first = false;
      for (uint64_t k = 0; k < runs[i].length; k++) bits[runs[i].start + k] = true;
      before = runs[i].start + runs[i].length;
    }
    if (n < max) break;
  }
  return bits;
}

}  // namespace

TEST(BitmapCountsAndFindsEveryBit) {
  uint32_t seed = 0;
  for (size_t bits : {1u, 63u, 64u, 65u, 127u, 128u, 511u, 512u, 513u, 1000u, 4096u, 5001u}) {
    for (unsigned density : {0u, 1u, 8u, 15u, 16u}) {
      for (unsigned stretch : {1u, 3u, 200u}) {
        const Sample sample = Make(bits, density, stretch, seed++);
        uint64_t expected = 0;
        for (bool bit : sample.bits) expected += bit;
        CHECK_EQ(vfm::BitmapCount(sample.words.data(), bits), expected);
        for (size_t max : {1u, 2u, 7u, 10000u}) CHECK(FromRuns(sample, max) == sample.bits);
      }
    }
  }
}

TEST(BitmapOrKeepsWhatWasSet) {
  const Sample a = Make(1000, 4, 9, 1), b = Make(1000, 4, 9, 2);
  std::vector<uint64_t> both = a.words;
  vfm::BitmapOr(both.data(), b.words.data(), both.size());
  for (size_t i = 0; i < 1000; i++)
    CHECK_EQ((both[i / 64] >> (i % 64)) & 1, uint64_t{a.bits[i] || b.bits[i]});
}
