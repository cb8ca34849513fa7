// CRC32C (Castagnoli): polynomial 0x1EDC6F41, reflected, initial value and final XOR 0xFFFFFFFF, as
// docs/state-file.md and RFC 3720 have it. The CRC of no bytes is 0; the CRC of "123456789" is 0xE3069283.
#ifndef VFIO_MIGRATE_VFIO_CRC32C_H
#define VFIO_MIGRATE_VFIO_CRC32C_H

#include <cstddef>
#include <cstdint>

namespace vfm {

// CRC of `len` bytes that follow others whose CRC is `crc` (0 for none). The fastest implementation that this
// processor has is chosen at the first call. Any alignment.
uint32_t Crc32c(uint32_t crc, const void* data, size_t len);

// CRC of A followed by B, from the CRC of each and the length of B in bytes. O(log length_b).
uint32_t Crc32cCombine(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

// "vpclmulqdq", "sse4.2", "armv8" or "table".
const char* Crc32cName();

// One implementation, for tests that compare them all.
struct Crc32cImplementation {
  const char* name;
  uint32_t (*update)(uint32_t crc, const void* data, size_t len);
  bool available;  // on this processor
};

// All that were compiled in, best first; sets `*count`. The last one is the table and always available.
const Crc32cImplementation* Crc32cImplementations(size_t* count);

}  // namespace vfm

#endif
