// One end of a transfer: a descriptor of a kernel table, or of this process. Reads and writes that wait as
// long as they must and end when their Interruptible is told to.
#ifndef VFIO_MIGRATE_VFIO_PORT_H
#define VFIO_MIGRATE_VFIO_PORT_H

#include <cstddef>
#include <cstdint>

#include "../kernel/kernel.h"
#include "interrupt.h"

namespace vfm {

class Port {
 public:
  Port() = default;
  // A data fd: `fd` belongs to `kernel`; the port neither owns nor closes it.
  Port(const vfm_kernel* kernel, int fd) : kernel_(kernel), fd_(fd) {}
  ~Port();
  Port(Port&& other) noexcept;
  Port& operator=(Port&& other) noexcept;

  // Duplicates a descriptor of this process and owns the copy. Returns 0 or a negated errno.
  int OpenDuplicate(int fd);

  // One read(2): bytes, 0, a negated errno, or kInterrupted. EAGAIN is waited out.
  long Read(Interruptible& thread, void* buffer, size_t length) const;
  // One write(2). A data fd's EINTR is handed on: what the driver has taken of the bytes is not known, and it
  // must not see them twice (K-7 b).
  long Write(Interruptible& thread, const void* data, size_t length) const;

  // lseek(2) forward, for regular files. 0 or a negated errno.
  [[nodiscard]] long Skip(uint64_t length) const;

  [[nodiscard]] bool is_data_fd() const { return kernel_ != nullptr; }
  [[nodiscard]] bool is_pipe() const { return is_pipe_; }

 private:
  // `call` again and again while it gives EAGAIN, with a poll for `events` between.
  template <class F>
  long Wait(Interruptible& thread, short events, bool retry, F&& call) const;

  const vfm_kernel* kernel_ = nullptr;
  int fd_ = -1;
  bool is_pipe_ = false;
};

}  // namespace vfm

#endif
