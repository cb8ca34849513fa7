// What an mtty device remembers: two UARTs, and (with a state directory) a file that other processes find.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

namespace vfm::mock {

// One port as the stream has it (uAPI §5).
struct UartState {
  uint8_t reg[8];
  uint8_t fifo[16];
  uint8_t head;
  uint8_t tail;
  uint8_t count;
  uint8_t dlab;
  uint8_t overrun;
  uint8_t pad0;
  uint16_t divisor;
  uint8_t fcr;
  uint8_t max_fifo_size;
  uint8_t trigger_level;
  uint8_t pad1;
};
static_assert(sizeof(UartState) == 36 && offsetof(UartState, divisor) == 30 &&
              offsetof(UartState, fcr) == 32);

// A register access: one byte, whatever the width of the access that it was cut from.
void UartWrite(UartState& u, uint64_t reg, uint8_t value);
uint8_t UartRead(UartState& u, uint64_t reg);

struct MttyMemory {
  uint32_t state;
  UartState ports[2];
};

// The file of one device. Its lock says that a process has the device open.
class MttyStore {
 public:
  // `directory` may be empty: then nothing is stored and every lock is free.
  MttyStore(const std::string& directory, const std::string& uuid);
  ~MttyStore() { Unlock(); }
  MttyStore(const MttyStore&) = delete;
  MttyStore& operator=(const MttyStore&) = delete;

  bool enabled() const { return !path_.empty(); }
  // 0, -EBUSY, or what the file system says.
  int Lock();
  void Unlock();
  // 0; -ENOENT when nothing was stored; -EIO when the file is not one of ours.
  int Load(MttyMemory& out) const;
  // Replaces the file in one step.
  int Save(const MttyMemory& memory);

 private:
  std::string path_;
  std::mutex lock_;
  int lock_fd_ = -1;
};

}  // namespace vfm::mock
