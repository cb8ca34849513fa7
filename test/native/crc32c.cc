#include "vfio/crc32c.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.h"

namespace {

using Bytes = std::vector<uint8_t>;

// The definition, a bit at a time: shares nothing with the code that is tested.
uint32_t Reference(uint32_t crc, const uint8_t* data, size_t len) {
  crc = ~crc;
  for (size_t i = 0; i < len; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      const bool out = ((crc ^ (data[i] >> bit)) & 1) != 0;
      crc = (crc >> 1) ^ (out ? 0x82f63b78u : 0);
    }
  }
  return ~crc;
}

Bytes Random(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

template <class F>
void ForEachImplementation(F&& f) {
  size_t count = 0;
  const vfm::Crc32cImplementation* all = vfm::Crc32cImplementations(&count);
  for (size_t i = 0; i < count; ++i) {
    if (all[i].available) f(all[i].update);
  }
}

}  // namespace

TEST(crc32c_published_vectors) {
  struct Vector {
    Bytes data;
    uint32_t crc;
  };
  Bytes up(32), down(32);
  for (uint8_t i = 0; i < 32; ++i) {
    up[i] = i;
    down[i] = static_cast<uint8_t>(31 - i);
  }
  const std::string digits = "123456789";
  // RFC 3720 B.4, its last the iSCSI Read (10) PDU; and the check value of the CRC catalogues.
  const Vector vectors[] = {
      {Bytes(32, 0), 0x8a9136aa},
      {Bytes(32, 0xff), 0x62a8ab43},
      {up, 0x46dd794e},
      {down, 0x113fdb5c},
      {{0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0,    0},
       0xd9963a56},
      {Bytes(digits.begin(), digits.end()), 0xe3069283},
      {{}, 0},
  };
  for (const Vector& vector : vectors) {
    ForEachImplementation(
        [&](auto update) { CHECK_EQ(update(0, vector.data.data(), vector.data.size()), vector.crc); });
    CHECK_EQ(vfm::Crc32c(0, vector.data.data(), vector.data.size()), vector.crc);
  }
}

// Every length around the borders of the lanes, every alignment, any seed.
TEST(crc32c_implementations_agree_with_the_definition) {
  const Bytes data = Random(3 * 8192 * 2 + 3 * 256 * 3 + 64, 1);
  std::vector<size_t> lengths;
  for (const size_t border :
       {0, 8, 256, 512, 3 * 256, 2 * 3 * 256, 3 * 8192, 3 * 8192 + 3 * 256, 2 * 3 * 8192}) {
    for (size_t length = border < 9 ? 0 : border - 9; length <= border + 9; length += 3)
      lengths.push_back(length);
  }
  for (size_t align = 0; align < 8; ++align) {
    for (const size_t length : lengths) {
      const auto seed = static_cast<uint32_t>(align * 0x9e3779b9);
      const uint32_t expected = Reference(seed, data.data() + align, length);
      ForEachImplementation(
          [&](auto update) { CHECK_EQ(update(seed, data.data() + align, length), expected); });
    }
  }
}

TEST(crc32c_seed_continues) {
  const Bytes data = Random(5000, 2);
  const uint32_t whole = vfm::Crc32c(0, data.data(), data.size());
  for (size_t cut = 0; cut <= data.size(); cut += 61) {
    const uint32_t first = vfm::Crc32c(0, data.data(), cut);
    CHECK_EQ(vfm::Crc32c(first, data.data() + cut, data.size() - cut), whole);
  }
}

TEST(crc32c_combine_joins) {
  std::mt19937 random(3);
  const Bytes data = Random(100'000, 4);
  for (int i = 0; i < 500; ++i) {
    const size_t total = random() % (data.size() + 1);
    const size_t cut = total == 0 ? 0 : random() % (total + 1);
    const uint32_t a = vfm::Crc32c(0, data.data(), cut);
    const uint32_t b = vfm::Crc32c(0, data.data() + cut, total - cut);
    CHECK_EQ(vfm::Crc32cCombine(a, b, total - cut), vfm::Crc32c(0, data.data(), total));
  }
  CHECK_EQ(vfm::Crc32cCombine(0x12345678, 0, 0), 0x12345678u);
}

// Lengths that no test can hash: joining must not depend on how the parts are bracketed.
TEST(crc32c_combine_is_associative_for_huge_lengths) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 200; ++i) {
    const auto a = static_cast<uint32_t>(random()), b = static_cast<uint32_t>(random());
    const auto c = static_cast<uint32_t>(random());
    const uint64_t length_b = random() >> 1, length_c = random() >> 1;
    const uint32_t left = vfm::Crc32cCombine(vfm::Crc32cCombine(a, b, length_b), c, length_c);
    const uint32_t right = vfm::Crc32cCombine(a, vfm::Crc32cCombine(b, c, length_c), length_b + length_c);
    CHECK_EQ(left, right);
  }
}

TEST(crc32c_names_the_first_available) {
  size_t count = 0;
  const vfm::Crc32cImplementation* all = vfm::Crc32cImplementations(&count);
  CHECK(count >= 1);
  CHECK(all[count - 1].available);
  CHECK(strcmp(all[count - 1].name, "table") == 0);
  size_t first = 0;
  while (!all[first].available) ++first;
  CHECK(strcmp(vfm::Crc32cName(), all[first].name) == 0);
}
