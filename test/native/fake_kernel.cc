#include "fake_kernel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "check.h"
#include "vfio/crc32c.h"

namespace fake {

Bytes Pattern(size_t size, uint32_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = random();
    memcpy(bytes.data() + i, &word, std::min<size_t>(8, size - i));
  }
  return bytes;
}

Kernel::Kernel() {
  table_.abi = VFM_KERNEL_ABI;
  table_.size = sizeof(table_);
  table_.ctx = this;
  table_.read = [](void* ctx, int fd, void* buffer, size_t length) -> ssize_t {
    return fd == kDataFd ? Of(ctx).Read(buffer, length) : -EBADF;
  };
  table_.write = [](void* ctx, int fd, const void* bytes, size_t length) -> ssize_t {
    return fd == kDataFd ? Of(ctx).Write(bytes, length) : -EBADF;
  };
  // As most drivers: ready at once, whatever is true.
  table_.poll = [](void* ctx, pollfd* fds, uint32_t, int) {
    ++Of(ctx).polls;
    fds->revents = fds->events;
    return 1;
  };
}

long Kernel::Block() {
  return poll(nullptr, 0, -1) < 0 ? -errno : 0;
}

long Kernel::Read(void* buffer, size_t length) {
  const size_t call = reads++;
  if (before_read) {
    if (const auto result = before_read(call, length)) return *result;
  }
  if (position_ == data.size()) return at_end;
  const size_t count = std::min({length, data.size() - position_, std::max<size_t>(1, next_read(length))});
  memcpy(buffer, data.data() + position_, count);
  position_ += count;
  return static_cast<long>(count);
}

long Kernel::Write(const void* bytes, size_t length) {
  const size_t call = writes++;
  write_lengths.push_back(length);
  if (before_write) {
    if (const auto result = before_write(call, length)) return *result;
  }
  const size_t count = std::min(length, std::max<size_t>(1, next_write(length)));
  const auto* first = static_cast<const uint8_t*>(bytes);
  written.insert(written.end(), first, first + count);
  return static_cast<long>(count);
}

File File::Memory(const Bytes& content) {
  File file(memfd_create("test", MFD_CLOEXEC));
  CHECK(file.fd() >= 0);
  for (size_t done = 0; done < content.size();) {
    const ssize_t put = write(file.fd(), content.data() + done, content.size() - done);
    CHECK(put > 0);
    if (put <= 0) break;
    done += static_cast<size_t>(put);
  }
  file.Rewind();
  return file;
}

File::~File() {
  Close();
}

void File::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Bytes File::Content() const {
  struct stat status;
  CHECK_EQ(fstat(fd_, &status), 0);
  Bytes content(static_cast<size_t>(status.st_size));
  CHECK_EQ(pread(fd_, content.data(), content.size(), 0), status.st_size);
  return content;
}

void File::Rewind() const {
  CHECK_EQ(lseek(fd_, 0, SEEK_SET), 0);
}

Pipe MakePipe(int flags) {
  int fds[2] = {-1, -1};
  CHECK_EQ(pipe2(fds, O_CLOEXEC | flags), 0);
  return {File(fds[0]), File(fds[1])};
}

vfm::TransferSpec Spec(vfm::SourceKind source, vfm::SinkKind sink) {
  vfm::TransferSpec spec;
  spec.source.kind = source;
  spec.sink.kind = sink;
  if (sink == vfm::SinkKind::kFrames) spec.phase = 3;
  return spec;
}

vfm::TransferOutcome Run(const vfm::TransferSpec& spec) {
  CHECK_EQ(vfm::Transfer::Check(spec).size(), 0u);
  vfm::TransferError error;
  const auto transfer = vfm::Transfer::Create(spec, &error);
  CHECK(transfer != nullptr);
  if (!transfer) return {.ok = false, .result = {}, .error = error};
  const vfm::TransferOutcome outcome = transfer->Run();
  CHECK_EQ(transfer->progress(), outcome.ok ? outcome.result.bytes : outcome.error.bytes);
  return outcome;
}

Bytes Section(uint32_t type, uint32_t flags, const Bytes& payload) {
  Bytes section(vfm::kSectionHeaderSize);
  vfm::EncodeSectionHeader({type, flags, payload.size(), vfm::Crc32c(0, payload.data(), payload.size())},
                           section.data());
  section.insert(section.end(), payload.begin(), payload.end());
  return section;
}

Bytes Frame(const FrameSpec& frame) {
  Bytes payload(vfm::kFrameHeaderSize);
  vfm::EncodeFrameHeader({frame.stream, frame.phase, frame.offset}, payload.data());
  payload.insert(payload.end(), frame.bytes.begin(), frame.bytes.end());
  return Section(vfm::kSectionTypeData, vfm::kSectionCritical, payload);
}

std::string ErrorOf(const vfm::TransferOutcome& outcome) {
  if (outcome.ok) return "";
  return outcome.error.code ? outcome.error.code : std::to_string(outcome.error.error);
}

std::string SyscallOf(const vfm::TransferOutcome& outcome) {
  return outcome.error.syscall ? outcome.error.syscall : "";
}

Bytes SaveFrames(Kernel& kernel, vfm::TransferSpec spec, vfm::TransferOutcome* outcome) {
  const File file = File::Memory();
  spec.source.kernel = kernel.table();
  spec.source.fd = kDataFd;
  spec.sink.fd = file.fd();
  *outcome = Run(spec);
  return file.Content();
}

vfm::TransferOutcome LoadFrames(const Bytes& content, Kernel& kernel, vfm::TransferSpec spec) {
  const File file = File::Memory(content);
  spec.source.fd = file.fd();
  spec.sink.kernel = kernel.table();
  spec.sink.fd = kDataFd;
  return Run(spec);
}

}  // namespace fake
