#include "vfio/frame.h"

#include <array>
#include <cstring>

#include "check.h"
#include "vfio/crc32c.h"

using namespace vfm;

// The layout of docs/state-file.md, byte by byte.
TEST(frame_prefix_layout) {
  const uint8_t bytes[] = {'a', 'b', 'c'};
  std::array<uint8_t, kDataPrefixSize> out;
  const uint32_t payload_crc =
      EncodeDataPrefix({0x04030201, 6, 0x1817161514131211}, 3, Crc32c(0, bytes, 3), out.data());

  const uint8_t expected[] = {'D', 'A', 'T', 'A', 1, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0};
  CHECK(memcmp(out.data(), expected, sizeof(expected)) == 0);
  const uint8_t frame[] = {1, 2, 3, 4, 6, 0, 0, 0, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18};
  CHECK(memcmp(out.data() + 24, frame, sizeof(frame)) == 0);

  std::array<uint8_t, 19> payload;
  memcpy(payload.data(), frame, 16);
  memcpy(payload.data() + 16, bytes, 3);
  CHECK_EQ(payload_crc, Crc32c(0, payload.data(), payload.size()));
  for (int i = 0; i < 4; ++i) {
    CHECK_EQ(out[16 + i], static_cast<uint8_t>(payload_crc >> (8 * i)));
    CHECK_EQ(out[20 + i], static_cast<uint8_t>(Crc32c(0, out.data(), 20) >> (8 * i)));
  }
}

TEST(frame_headers_round_trip) {
  std::array<uint8_t, kSectionHeaderSize> bytes;
  const SectionHeader in = {0x20444e45, 0x80000001, 0xfedcba9876543210, 0xcafebabe};
  EncodeSectionHeader(in, bytes.data());
  SectionHeader out = {};
  CHECK(DecodeSectionHeader(bytes.data(), &out));
  CHECK_EQ(out.type, in.type);
  CHECK_EQ(out.flags, in.flags);
  CHECK_EQ(out.length, in.length);
  CHECK_EQ(out.payload_crc, in.payload_crc);

  std::array<uint8_t, kFrameHeaderSize> frame_bytes;
  EncodeFrameHeader({7, 3, 1ull << 40}, frame_bytes.data());
  const FrameHeader frame = DecodeFrameHeader(frame_bytes.data());
  CHECK_EQ(frame.stream, 7u);
  CHECK_EQ(frame.phase, 3u);
  CHECK_EQ(frame.offset, 1ull << 40);
}

TEST(frame_header_refuses_each_flipped_bit) {
  std::array<uint8_t, kSectionHeaderSize> bytes;
  EncodeSectionHeader({kSectionTypeData, kSectionCritical, 100, 0x01020304}, bytes.data());
  for (size_t bit = 0; bit < 8 * kSectionHeaderSize; ++bit) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    SectionHeader out = {1, 2, 3, 4};
    CHECK(!DecodeSectionHeader(bytes.data(), &out));
    CHECK_EQ(out.length, 3u);
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
  }
}

TEST(frame_possible_data_sections) {
  const struct {
    uint32_t flags;
    uint64_t length;
    bool possible;
  } cases[] = {
      {1, 17, true},  {1, 16 + (16u << 20), true},  {1, 16, false},         {1, 0, false}, {0, 17, false},
      {3, 17, false}, {1, 17 + (16u << 20), false}, {1, UINT64_MAX, false},
  };
  for (const auto& c : cases) {
    CHECK_EQ(IsPossibleDataSection({kSectionTypeData, c.flags, c.length, 0}), c.possible);
  }
}
