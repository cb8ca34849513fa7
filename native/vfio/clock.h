// CLOCK_MONOTONIC, as process.hrtime has it.
#ifndef VFIO_MIGRATE_VFIO_CLOCK_H
#define VFIO_MIGRATE_VFIO_CLOCK_H

#include <time.h>

#include <cstdint>

namespace vfm {

inline uint64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace vfm

#endif
