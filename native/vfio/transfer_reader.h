// The reading half of a transfer: fills one buffer after the other, with everything in it checked and ready
// to be written as it stands. Private to transfer.cc.
#ifndef VFIO_MIGRATE_VFIO_TRANSFER_READER_H
#define VFIO_MIGRATE_VFIO_TRANSFER_READER_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "port.h"
#include "transfer.h"

namespace vfm {

// Memory for driver bytes, with room before them for the prefix of a DATA section where there is to be one.
// What is written in one go begins with a page: copies between pages that lie alike are faster, which counts
// twice in a pipe, whose two ends cannot copy at the same time.
class Buffer {
 public:
  // Makes room for `bytes` behind a prefix, which is the same each time, and keeps the first `used`. Throws
  // std::bad_alloc.
  void Reserve(size_t prefix, size_t bytes, size_t used);

  // After Reserve() only.
  [[nodiscard]] uint8_t* payload() const { return memory_.get() + prefix_; }
  [[nodiscard]] size_t capacity() const { return capacity_; }

 private:
  static constexpr size_t kPage = 4096;
  struct Free {
    void operator()(uint8_t* memory) const { free(memory); }
  };
  std::unique_ptr<uint8_t[], Free> memory_;
  size_t prefix_ = 0;
  size_t capacity_ = 0;
};

// What goes from the reader to the writer in one go.
struct Slot {
  Buffer buffer;
  size_t bytes = 0;     // driver bytes
  uint64_t offset = 0;  // of the first one in its stream
  size_t prefix = 0;    // bytes before them that are to be written too
  uint32_t crc = 0;     // of both, when they are a frame
  bool last = false;
  bool sealed = false;
  std::atomic<bool> full{false};
};

class TransferReader {
 public:
  // `spec` must outlive the reader.
  TransferReader(const TransferSpec& spec, Port port);
  virtual ~TransferReader() = default;

  // The kind that the spec asks for.
  static std::unique_ptr<TransferReader> Create(const TransferSpec& spec, Port port);

  // Fills an empty slot and sets `slot.last` when nothing follows. Gives false when it failed (`error` says
  // how, or `interrupted` is set) and true otherwise. Afterwards result() is complete but for `bytes` and the
  // times of the run.
  virtual bool Fill(Interruptible& thread, Slot& slot) = 0;
  // From the next slot on; for sinks of frames.
  virtual void SetFrameSize(uint32_t /*bytes*/) {}
  // Between Fill() and the write of a slot: what needs no more than its bytes. Any thread, also while another
  // slot is filled.
  virtual void Seal(Slot& /*slot*/) const {}
  // After Seal(), in the order of the slots: whoever writes counts what it wrote.
  virtual void Count(const Slot& /*slot*/) {}

  [[nodiscard]] const TransferResult& result() const { return result_; }
  [[nodiscard]] const TransferError& error() const { return error_; }

 protected:
  // One read; notes the time of the first byte. <= 0 as Port::Read.
  long Read(Interruptible& thread, uint8_t* buffer, size_t length);
  // Passes over so many bytes of a file. 0 or a negated errno.
  long Skip(uint64_t length) { return port_.Skip(length); }
  // All of it: `length`, fewer at the end of the input, or an error as Port::Read.
  long ReadFully(Interruptible& thread, uint8_t* buffer, size_t length);
  bool Fail(const char* code);
  bool FailErrno(long result);

  const TransferSpec& spec_;
  TransferResult result_;

 private:
  Port port_;
  TransferError error_;
};

// Least bytes of a write to a data fd that is not the last: early hisi_acc drivers want small states whole
// (K-7 c).
inline constexpr size_t kUnit = 1u << 20;

}  // namespace vfm

#endif
