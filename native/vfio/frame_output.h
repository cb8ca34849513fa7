// Where several transfers write their frames into one file or pipe: a frame at a time, whole, in the order in
// which they ask. A transfer holds the turn while it writes, never while it reads. Any thread.
#ifndef VFIO_MIGRATE_VFIO_FRAME_OUTPUT_H
#define VFIO_MIGRATE_VFIO_FRAME_OUTPUT_H

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

namespace vfm {

class FrameOutput {
 public:
  // `crc`: CRC32C of everything before in the file.
  explicit FrameOutput(uint32_t crc) : crc_(crc) {}

  // Waits for the turn. False, without it, when `stopped` says so (asked again at each Wake()), or when
  // somebody's frame was cut short: nothing that follows half a frame can be read.
  bool Begin(const std::function<bool()>& stopped);
  // Gives the turn back. `whole`: a frame of so many bytes with this CRC32C has been written.
  void End(bool whole, uint32_t crc, uint64_t bytes);
  void Wake();

  // Of the file up to the last whole frame; bytes since the start.
  [[nodiscard]] uint32_t crc() const;
  [[nodiscard]] uint64_t bytes() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<uint64_t> waiting_;
  uint64_t tickets_ = 0;
  bool taken_ = false;
  bool broken_ = false;
  uint32_t crc_;
  uint64_t bytes_ = 0;
};

}  // namespace vfm

#endif
