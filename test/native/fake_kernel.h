// A kernel table with one data fd, whose reads and writes do what the test says. Everything else is null: a
// transfer has no business with it.
#ifndef VFIO_MIGRATE_TEST_FAKE_KERNEL_H
#define VFIO_MIGRATE_TEST_FAKE_KERNEL_H

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernel/kernel.h"
#include "vfio/transfer.h"

namespace fake {

using Bytes = std::vector<uint8_t>;

Bytes Pattern(size_t size, uint32_t seed = 1);

inline constexpr int kDataFd = 0;  // a valid number, and the one that sloppy code takes for "none"

class Kernel {
 public:
  Kernel();
  Kernel(const Kernel&) = delete;

  const vfm_kernel* table() const { return &table_; }

  // What a read gives: the next bytes of `data`, at most `next_read` of them; then `at_end`, again and again.
  Bytes data;
  std::function<size_t(size_t length)> next_read = [](size_t length) { return length; };
  long at_end = 0;
  // Looked at first; n counts calls from 0. A value is the result of the call.
  std::function<std::optional<long>(size_t n, size_t length)> before_read, before_write;
  // What a write takes, at most.
  std::function<size_t(size_t length)> next_write = [](size_t length) { return length; };

  Bytes written;
  std::vector<size_t> write_lengths;  // as asked
  std::atomic<size_t> reads{0}, writes{0}, polls{0};

  // For hooks: sleeps in a system call until a signal comes, as a driver that waits for its device.
  static long Block();

 private:
  static Kernel& Of(void* ctx) { return *static_cast<Kernel*>(ctx); }
  long Read(void* buffer, size_t length);
  long Write(const void* bytes, size_t length);

  vfm_kernel table_ = {};
  size_t position_ = 0;
};

// A file in memory, or a pipe, that closes itself.
class File {
 public:
  static File Memory(const Bytes& content = {});
  File(File&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  explicit File(int fd) : fd_(fd) {}
  ~File();
  int fd() const { return fd_; }
  void Close();
  // All of a memory file, from its start.
  Bytes Content() const;
  void Rewind() const;

 private:
  int fd_;
};

struct Pipe {
  File reader, writer;
};
// `flags` as pipe2 has them; O_CLOEXEC is added.
Pipe MakePipe(int flags = 0);

vfm::TransferSpec Spec(vfm::SourceKind source, vfm::SinkKind sink);
// Create() and Run(); a spec that is refused is a failed check.
vfm::TransferOutcome Run(const vfm::TransferSpec& spec);

// What a save writes of `kernel.data`.
Bytes SaveFrames(Kernel& kernel, vfm::TransferSpec spec, vfm::TransferOutcome* outcome);
vfm::TransferOutcome LoadFrames(const Bytes& content, Kernel& kernel, vfm::TransferSpec spec);

// Frames as a state file has them, by the plain way: one buffer, one CRC over everything.
struct FrameSpec {
  uint32_t stream;
  uint32_t phase;
  uint64_t offset;
  Bytes bytes;
};
Bytes Section(uint32_t type, uint32_t flags, const Bytes& payload);
Bytes Frame(const FrameSpec& frame);

// "" when ok, else the error's code or the errno's number.
std::string ErrorOf(const vfm::TransferOutcome& outcome);
// "" when the error has none.
std::string SyscallOf(const vfm::TransferOutcome& outcome);

}  // namespace fake

#endif
