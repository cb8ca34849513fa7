// Section headers and DATA frame headers of the state file (docs/state-file.md), to and from bytes. Native
// code deals with DATA sections only; every other section belongs to lib/statefile.
#ifndef VFIO_MIGRATE_VFIO_FRAME_H
#define VFIO_MIGRATE_VFIO_FRAME_H

#include <cstddef>
#include <cstdint>

namespace vfm {

inline constexpr size_t kSectionHeaderSize = 24;
inline constexpr size_t kFrameHeaderSize = 16;
// What comes before the driver's bytes in a DATA section.
inline constexpr size_t kDataPrefixSize = kSectionHeaderSize + kFrameHeaderSize;
// Driver bytes in one frame.
inline constexpr uint32_t kMaxFrameBytes = 16u << 20;
inline constexpr uint32_t kDefaultFrameBytes = 1u << 20;

inline constexpr uint32_t kSectionTypeData = 'D' | 'A' << 8 | 'T' << 16 | 'A' << 24;
inline constexpr uint32_t kSectionCritical = 1u << 0;

struct SectionHeader {
  uint32_t type;         // four letters, the first in the low byte
  uint32_t flags;        // kSectionCritical
  uint64_t length;       // bytes of payload
  uint32_t payload_crc;  // CRC32C of the payload
};

struct FrameHeader {
  uint32_t stream;  // number of the device
  uint32_t phase;   // device state in which the bytes were read
  uint64_t offset;  // of the first driver byte in the device's stream
};

// Writes kSectionHeaderSize bytes, the header's own CRC included.
void EncodeSectionHeader(const SectionHeader& header, uint8_t* out);

// Reads kSectionHeaderSize bytes. False when the header's own CRC is wrong; `out` is then not touched.
[[nodiscard]] bool DecodeSectionHeader(const uint8_t* in, SectionHeader* out);

// kFrameHeaderSize bytes each.
void EncodeFrameHeader(const FrameHeader& header, uint8_t* out);
FrameHeader DecodeFrameHeader(const uint8_t* in);

// True when a section of type DATA can be one: CRITICAL and no other flag, 1 .. kMaxFrameBytes driver bytes.
[[nodiscard]] bool IsPossibleDataSection(const SectionHeader& header);

// True for the device states in which bytes are read: PRE_COPY, PRE_COPY_P2P, STOP_COPY.
[[nodiscard]] bool IsPhase(uint32_t state);

// Writes the kDataPrefixSize bytes that come before `bytes` driver bytes with CRC32C `bytes_crc`; gives the
// section's payload CRC, which covers the frame header and those bytes (each byte is hashed once).
uint32_t EncodeDataPrefix(const FrameHeader& frame, uint32_t bytes, uint32_t bytes_crc, uint8_t* out);

}  // namespace vfm

#endif
