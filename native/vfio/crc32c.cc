#include "crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

namespace vfm {
namespace {

// The polynomial in reflected order: bit 31 is x^0.
constexpr uint32_t kPolynomial = 0x82f63b78;
constexpr uint32_t kOne = 0x80000000;

// ---- polynomials modulo P over GF(2)
// --------------------------------------------------------------------------------

constexpr uint32_t TimesX(uint32_t a) {
  return (a >> 1) ^ (a & 1 ? kPolynomial : 0);
}

constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = TimesX(b);
  }
  return product;
}

// kPowers[k] = x^(8 * 2^k): what 2^k zero bytes multiply a CRC register by. A byte count has 64 bits.
constexpr std::array<uint32_t, 64> MakePowers() {
  std::array<uint32_t, 64> powers{};
  powers[0] = kOne >> 8;
  for (size_t k = 1; k < powers.size(); ++k) powers[k] = Multiply(powers[k - 1], powers[k - 1]);
  return powers;
}
constexpr std::array<uint32_t, 64> kPowers = MakePowers();

constexpr uint32_t PowerOfBytes(uint64_t count) {
  uint32_t power = kOne;
  for (size_t k = 0; count != 0; ++k, count >>= 1) {
    if (count & 1) power = Multiply(power, kPowers[k]);
  }
  return power;
}

// ---- table
// ----------------------------------------------------------------------------------------------------------

using Table = std::array<std::array<uint32_t, 256>, 8>;

// table[k][b]: the register that byte b leaves when k zero bytes follow it.
constexpr Table MakeSlices() {
  Table table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = TimesX(value);
    table[0][byte] = value;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = table[k - 1][byte];
      table[k][byte] = (before >> 8) ^ table[0][before & 0xff];
    }
  }
  return table;
}
constexpr Table kSlices = MakeSlices();

uint32_t TableUpdate(uint32_t crc, const void* data, size_t len) {
  const auto* p = static_cast<const uint8_t*>(data);
  uint32_t state = ~crc;
  for (; len >= 8; p += 8, len -= 8) {
    // Bytes, not words: the same on either byte order.
    const uint32_t low = state ^ (p[0] | p[1] << 8 | p[2] << 16 | static_cast<uint32_t>(p[3]) << 24);
    state = kSlices[7][low & 0xff] ^ kSlices[6][low >> 8 & 0xff] ^ kSlices[5][low >> 16 & 0xff] ^
            kSlices[4][low >> 24] ^ kSlices[3][p[4]] ^ kSlices[2][p[5]] ^ kSlices[1][p[6]] ^ kSlices[0][p[7]];
  }
  for (; len != 0; ++p, --len) state = (state >> 8) ^ kSlices[0][(state ^ *p) & 0xff];
  return ~state;
}

// ---- the processor's instruction
// ------------------------------------------------------------------------------------

#if defined(__x86_64__) || defined(__aarch64__)
#define VFM_HAVE_CRC_INSTRUCTION 1

#if defined(__x86_64__)
#define VFM_CRC_TARGET __attribute__((target("sse4.2")))
constexpr const char* kInstructionName = "sse4.2";
VFM_CRC_TARGET inline uint64_t Step8(uint64_t state, uint64_t word) {
  return _mm_crc32_u64(state, word);
}
VFM_CRC_TARGET inline uint64_t Step1(uint64_t state, uint8_t byte) {
  return _mm_crc32_u8(static_cast<uint32_t>(state), byte);
}
bool InstructionAvailable() {
  return __builtin_cpu_supports("sse4.2");
}
#else
#define VFM_CRC_TARGET __attribute__((target("+crc")))
constexpr const char* kInstructionName = "armv8";
VFM_CRC_TARGET inline uint64_t Step8(uint64_t state, uint64_t word) {
  return __crc32cd(static_cast<uint32_t>(state), word);
}
VFM_CRC_TARGET inline uint64_t Step1(uint64_t state, uint8_t byte) {
  return __crc32cb(static_cast<uint32_t>(state), byte);
}
constexpr unsigned long kHwcapCrc32 = 1ul << 7;
bool InstructionAvailable() {
  return (getauxval(AT_HWCAP) & kHwcapCrc32) != 0;
}
#endif

// Multiplication by a fixed power, a byte of the register at a time: what joining two lanes costs is four
// look-ups.
using Shift = std::array<std::array<uint32_t, 256>, 4>;

constexpr Shift MakeShift(uint64_t bytes) {
  Shift shift{};
  const uint32_t power = PowerOfBytes(bytes);
  for (size_t k = 0; k < 4; ++k) {
    for (size_t bit = 0; bit < 8; ++bit) shift[k][1u << bit] = Multiply(power, 1u << (8 * k + bit));
    for (size_t value = 1; value < 256; ++value) {
      const size_t lowest = value & (~value + 1);
      shift[k][value] = shift[k][lowest] ^ shift[k][value ^ lowest];
    }
  }
  return shift;
}

inline uint64_t Apply(const Shift& shift, uint64_t state) {
  return shift[0][state & 0xff] ^ shift[1][state >> 8 & 0xff] ^ shift[2][state >> 16 & 0xff] ^
         shift[3][state >> 24 & 0xff];
}

// The instruction has a latency of three cycles and a throughput of one: three independent lanes keep it
// busy. Long lanes make the joining cheap, short ones serve what is left over.
constexpr size_t kLongLane = 8192;
constexpr size_t kShortLane = 256;
constexpr Shift kLongShift = MakeShift(kLongLane);
constexpr Shift kShortShift = MakeShift(kShortLane);

inline uint64_t Load(const uint8_t* p) {
  uint64_t word;
  memcpy(&word, p, sizeof(word));
  return word;
}

VFM_CRC_TARGET inline uint64_t ThreeLanes(uint64_t state, const uint8_t* p, size_t lane, const Shift& shift) {
  uint64_t second = 0, third = 0;
  for (const uint8_t* end = p + lane; p != end; p += 8) {
    state = Step8(state, Load(p));
    second = Step8(second, Load(p + lane));
    third = Step8(third, Load(p + 2 * lane));
  }
  return Apply(shift, Apply(shift, state) ^ second) ^ third;
}

VFM_CRC_TARGET uint32_t InstructionUpdate(uint32_t crc, const void* data, size_t len) {
  const auto* p = static_cast<const uint8_t*>(data);
  uint64_t state = static_cast<uint32_t>(~crc);
  for (; len >= 3 * kLongLane; p += 3 * kLongLane, len -= 3 * kLongLane) {
    state = ThreeLanes(state, p, kLongLane, kLongShift);
  }
  for (; len >= 3 * kShortLane; p += 3 * kShortLane, len -= 3 * kShortLane) {
    state = ThreeLanes(state, p, kShortLane, kShortShift);
  }
  for (; len >= 8; p += 8, len -= 8) state = Step8(state, Load(p));
  for (; len != 0; ++p, --len) state = Step1(state, *p);
  return ~static_cast<uint32_t>(state);
}
#endif

// ---- carry-less multiplication, 64 bytes at a time
// ----------------------------------------------------------------------

#if defined(__x86_64__)

// Four registers of four lanes of 16 bytes each. A lane moves on by `kFoldBytes`: its earlier half (higher
// powers of x) is multiplied by x^(bits + 32), the later by x^(bits - 32), both modulo P; reflected factors
// of 33 bits.
constexpr size_t kFoldBytes = 256;
constexpr uint64_t kFoldEarlier = uint64_t{PowerOfBytes(kFoldBytes + 4)} << 1;
constexpr uint64_t kFoldLater = uint64_t{PowerOfBytes(kFoldBytes - 4)} << 1;
#define VFM_FOLD_TARGET __attribute__((target("avx512f,vpclmulqdq,sse4.2")))

VFM_FOLD_TARGET inline __m512i Fold(__m512i lanes, __m512i factors, const uint8_t* next) {
  const __m512i earlier = _mm512_clmulepi64_epi128(lanes, factors, 0x00);
  const __m512i later = _mm512_clmulepi64_epi128(lanes, factors, 0x11);
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(earlier, later, _mm512_loadu_si512(next), kXorOfThree);
}

// What is left in the registers is a message of kFoldBytes with the CRC of all that went into them.
VFM_FOLD_TARGET uint32_t FoldUpdate(uint32_t crc, const void* data, size_t len) {
  if (len < 2 * kFoldBytes) return InstructionUpdate(crc, data, len);
  const auto* p = static_cast<const uint8_t*>(data);
  const __m512i factors =
      _mm512_set4_epi64(static_cast<int64_t>(kFoldLater), static_cast<int64_t>(kFoldEarlier),
                        static_cast<int64_t>(kFoldLater), static_cast<int64_t>(kFoldEarlier));
  const __m512i start = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~crc)));
  __m512i a = _mm512_xor_si512(_mm512_loadu_si512(p), start);
  __m512i b = _mm512_loadu_si512(p + 64);
  __m512i c = _mm512_loadu_si512(p + 128);
  __m512i d = _mm512_loadu_si512(p + 192);
  for (p += kFoldBytes, len -= kFoldBytes; len >= kFoldBytes; p += kFoldBytes, len -= kFoldBytes) {
    a = Fold(a, factors, p);
    b = Fold(b, factors, p + 64);
    c = Fold(c, factors, p + 128);
    d = Fold(d, factors, p + 192);
  }
  alignas(64) uint8_t rest[kFoldBytes];
  _mm512_store_si512(rest, a);
  _mm512_store_si512(rest + 64, b);
  _mm512_store_si512(rest + 128, c);
  _mm512_store_si512(rest + 192, d);
  // From a register of zeros: the start is in the message already.
  return InstructionUpdate(InstructionUpdate(~0u, rest, sizeof(rest)), p, len);
}

bool FoldAvailable() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq") && InstructionAvailable();
}
#endif

const Crc32cImplementation& Chosen() {
  static const Crc32cImplementation& chosen = []() -> const Crc32cImplementation& {
    size_t count = 0;
    const Crc32cImplementation* all = Crc32cImplementations(&count);
    while (!all->available) ++all;
    return *all;
  }();
  return chosen;
}

}  // namespace

const Crc32cImplementation* Crc32cImplementations(size_t* count) {
  static const Crc32cImplementation all[] = {
#if defined(__x86_64__)
    {"vpclmulqdq", FoldUpdate, FoldAvailable()},
#endif
#ifdef VFM_HAVE_CRC_INSTRUCTION
    {kInstructionName, InstructionUpdate, InstructionAvailable()},
#endif
    {"table", TableUpdate, true},
  };
  *count = sizeof(all) / sizeof(all[0]);
  return all;
}

uint32_t Crc32c(uint32_t crc, const void* data, size_t len) {
  return Chosen().update(crc, data, len);
}

uint32_t Crc32cCombine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b) {
  // The initial value and the final XOR of B cancel out against those of A.
  return Multiply(PowerOfBytes(length_b), crc_a) ^ crc_b;
}

const char* Crc32cName() {
  return Chosen().name;
}

}  // namespace vfm
