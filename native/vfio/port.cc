#include "port.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace vfm {
namespace {

// A pipe of the default 64 KiB makes both of its ends sleep sixteen times for each buffer.
constexpr int kPipeBytes = 1 << 20;

long OrErrno(long result) {
  return result < 0 ? -errno : result;
}

// More than was asked for cannot be: whoever says so is not believed.
long Plausible(long result, size_t length) {
  return result > 0 && static_cast<size_t>(result) > length ? -EIO : result;
}

}  // namespace

Port::~Port() {
  if (kernel_ == nullptr && fd_ >= 0) close(fd_);
}

Port::Port(Port&& other) noexcept
    : kernel_(std::exchange(other.kernel_, nullptr)),
      fd_(std::exchange(other.fd_, -1)),
      is_pipe_(other.is_pipe_) {}

Port& Port::operator=(Port&& other) noexcept {
  std::swap(kernel_, other.kernel_);
  std::swap(fd_, other.fd_);
  std::swap(is_pipe_, other.is_pipe_);
  return *this;
}

int Port::OpenDuplicate(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return -errno;
  *this = Port(nullptr, copy);
  struct stat status;
  is_pipe_ = fstat(copy, &status) == 0 && S_ISFIFO(status.st_mode);
  if (is_pipe_ && fcntl(copy, F_GETPIPE_SZ) < kPipeBytes) {
    fcntl(copy, F_SETPIPE_SZ, kPipeBytes);  // refused beyond the user's limit: then it stays as it is
  }
  return 0;
}

template <class F>
long Port::Wait(Interruptible& thread, short events, bool retry, F&& call) const {
  for (bool polled = false;; polled = true) {
    const long result = thread.Call(call, retry);
    if (result != -EAGAIN) return result;
    if (polled) {
      // Most drivers' poll answers "ready" at once, whatever is true (uAPI §2.4): do not spin on it.
      thread.Call([] { return OrErrno(poll(nullptr, 0, 1)); });
    }
    const long waited = thread.Call([&]() -> long {
      pollfd entry = {fd_, events, 0};
      return kernel_ ? kernel_->poll(kernel_->ctx, &entry, 1, -1) : OrErrno(poll(&entry, 1, -1));
    });
    if (waited < 0) return waited;
  }
}

long Port::Read(Interruptible& thread, void* buffer, size_t length) const {
  return Plausible(Wait(thread, POLLIN, true,
                        [&]() -> long {
                          return kernel_ ? kernel_->read(kernel_->ctx, fd_, buffer, length)
                                         : OrErrno(read(fd_, buffer, length));
                        }),
                   length);
}

long Port::Write(Interruptible& thread, const void* data, size_t length) const {
  return Plausible(Wait(thread, POLLOUT, kernel_ == nullptr,
                        [&]() -> long {
                          return kernel_ ? kernel_->write(kernel_->ctx, fd_, data, length)
                                         : OrErrno(write(fd_, data, length));
                        }),
                   length);
}

long Port::Skip(uint64_t length) const {
  return lseek(fd_, static_cast<off_t>(length), SEEK_CUR) < 0 ? -errno : 0;
}

}  // namespace vfm
