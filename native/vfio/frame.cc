#include "frame.h"

#include "crc32c.h"
#include "uapi.h"

namespace vfm {
namespace {

constexpr size_t kHeaderCrcOffset = 20;

void PutLe(uint8_t* out, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<uint8_t>(value >> (8 * i));
}

uint64_t GetLe(const uint8_t* in, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(in[i]) << (8 * i);
  return value;
}

uint32_t GetLe32(const uint8_t* in) {
  return static_cast<uint32_t>(GetLe(in, 4));
}

}  // namespace

void EncodeSectionHeader(const SectionHeader& header, uint8_t* out) {
  PutLe(out, header.type, 4);
  PutLe(out + 4, header.flags, 4);
  PutLe(out + 8, header.length, 8);
  PutLe(out + 16, header.payload_crc, 4);
  PutLe(out + kHeaderCrcOffset, Crc32c(0, out, kHeaderCrcOffset), 4);
}

bool DecodeSectionHeader(const uint8_t* in, SectionHeader* out) {
  if (GetLe32(in + kHeaderCrcOffset) != Crc32c(0, in, kHeaderCrcOffset)) return false;
  *out = {GetLe32(in), GetLe32(in + 4), GetLe(in + 8, 8), GetLe32(in + 16)};
  return true;
}

void EncodeFrameHeader(const FrameHeader& header, uint8_t* out) {
  PutLe(out, header.stream, 4);
  PutLe(out + 4, header.phase, 4);
  PutLe(out + 8, header.offset, 8);
}

FrameHeader DecodeFrameHeader(const uint8_t* in) {
  return {GetLe32(in), GetLe32(in + 4), GetLe(in + 8, 8)};
}

bool IsPossibleDataSection(const SectionHeader& header) {
  return header.flags == kSectionCritical && header.length > kFrameHeaderSize &&
         header.length <= kFrameHeaderSize + kMaxFrameBytes;
}

bool IsPhase(uint32_t state) {
  return state == uapi::kStatePreCopy || state == uapi::kStatePreCopyP2p || state == uapi::kStateStopCopy;
}

uint32_t EncodeDataPrefix(const FrameHeader& frame, uint32_t bytes, uint32_t bytes_crc, uint8_t* out) {
  uint8_t* frame_out = out + kSectionHeaderSize;
  EncodeFrameHeader(frame, frame_out);
  const uint32_t payload_crc = Crc32cCombine(Crc32c(0, frame_out, kFrameHeaderSize), bytes_crc, bytes);
  EncodeSectionHeader({kSectionTypeData, kSectionCritical, kFrameHeaderSize + uint64_t{bytes}, payload_crc},
                      out);
  return payload_crc;
}

}  // namespace vfm
