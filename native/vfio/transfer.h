// One run of bytes from a source to a sink: what `startTransfer` of lib/binding/types.ts promises, in plain
// C++.
//
// The calling thread reads and writes, or a second one reads while it writes, with buffers between them:
// whichever is faster, which is tried every now and then. Checksums of frames are made by the one that has
// less to do.
//
// Memory: four buffers, each of max(frame_size, 1 MiB) and a page, or two, when they are greater than 2 MiB.
// With frames as source each can grow to 17 MiB and a page (less than a mebibyte that waits, and one frame of
// the greatest size, whose checksum must be known before its first byte may leave).
#ifndef VFIO_MIGRATE_VFIO_TRANSFER_H
#define VFIO_MIGRATE_VFIO_TRANSFER_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../kernel/kernel.h"
#include "frame.h"
#include "frame_output.h"

namespace vfm {

enum class SourceKind : uint8_t { kDataFd, kFrames, kRaw };
enum class SinkKind : uint8_t { kDataFd, kFrames, kRaw, kNone };

struct TransferSpec {
  // kDataFd: `fd` is a descriptor of `kernel`, and both must outlive Run(). Otherwise `kernel` is null and
  // `fd` one of this process: Create() duplicates it (F_DUPFD_CLOEXEC), so the caller may close its own at
  // once. The file position and O_NONBLOCK are shared with the caller's, as dup(2) has it; EAGAIN is waited
  // out.
  struct Source {
    SourceKind kind = SourceKind::kRaw;
    const vfm_kernel* kernel = nullptr;
    int fd = -1;
    // kFrames: what has been read already, see TransferResult::header. Empty, a section header, or a section
    // header and a frame header.
    std::vector<uint8_t> header;
    // kFrames, a regular file: frames of other streams are passed over, not read. Their checksums go into
    // `crc` as the headers state them; whoever reads those streams checks them.
    bool hop = false;
  } source;
  struct Sink {
    SinkKind kind = SinkKind::kNone;
    const vfm_kernel* kernel = nullptr;
    int fd = -1;
    // kFrames: shared with other transfers, which write to the same file. It has the CRC of the file then.
    std::shared_ptr<FrameOutput> output;
  } sink;
  uint32_t stream = 0;
  std::optional<uint32_t> phase;  // needed when frames are written
  uint64_t offset = 0;
  uint32_t crc = 0;                          // of everything before in the file, without `source.header`
  uint32_t frame_size = kDefaultFrameBytes;  // 1 .. kMaxFrameBytes
  // 0, or 1 .. frame_size: used into a pipe where it proves to be faster, and while as many transfers run as
  // there are processors, whose caches they share.
  uint32_t lesser_frame_size = 0;
  uint32_t segment = 0;           // data-fd sinks: most bytes of one write; 0 for no limit
  std::optional<uint64_t> limit;  // payload bytes; raw and data-fd sources
};

enum class TransferEnd : uint8_t { kZero, kEnomsg, kHeader, kLimit };
// The contract's word: "zero", "enomsg", "header", "limit".
const char* TransferEndName(TransferEnd end);

struct TransferResult {
  TransferEnd end = TransferEnd::kZero;
  // kHeader: the section header that ended it (its own checksum is right). When it is a DATA section of
  // another phase or stream the 16 bytes of the frame header follow, because they had to be read to know
  // that. Not part of `crc`.
  std::vector<uint8_t> header;
  uint64_t bytes = 0;
  uint64_t frames = 0;
  // Driver bytes and frames of other streams that were passed over.
  uint64_t hopped_bytes = 0;
  uint64_t hopped_frames = 0;
  uint64_t offset = 0;
  uint32_t crc = 0;
  // CLOCK_MONOTONIC. `first_byte_ns` is 0 when no byte came.
  uint64_t start_ns = 0;
  uint64_t first_byte_ns = 0;
  uint64_t end_ns = 0;
};

enum class TransferSide : uint8_t { kSource, kSink };

struct TransferError {
  const char* code = nullptr;  // ERR_…, or null: then `error` is an errno
  int error = 0;               // positive
  const char* syscall =
      nullptr;  // "read", "write" (their poll included), "fcntl"; null when the bytes themselves are wrong
  TransferSide side = TransferSide::kSource;
  uint64_t bytes = 0;  // payload bytes that had reached the sink
};

struct TransferOutcome {
  bool ok = false;
  TransferResult result;  // when ok
  TransferError error;    // when not
};

class Transfer {
 public:
  // What is wrong with a spec, as a sentence for a programmer; empty when nothing is.
  static std::string Check(const TransferSpec& spec);

  // For a spec that Check() accepts. Null, with `error` filled, when a descriptor cannot be duplicated.
  static std::unique_ptr<Transfer> Create(TransferSpec spec, TransferError* error);
  ~Transfer();

  // Once. Blocks the calling thread until everything is at its end, the second thread included, whatever
  // fails: the first failure is reported, and whatever the other side is blocked in is interrupted. After a
  // failed write nothing is ever written again (K-7 b).
  TransferOutcome Run();

  // Any thread, at any time before destruction: Run() ends with ERR_CANCELED unless it has an outcome
  // already.
  void Cancel();

  // Any thread. Payload bytes that have reached the sink (`none`: that were verified).
  [[nodiscard]] uint64_t progress() const;

 private:
  class Pump;
  explicit Transfer(std::unique_ptr<Pump> pump);
  std::unique_ptr<Pump> pump_;
};

}  // namespace vfm

#endif
