#include "peer.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>

namespace vfm {

std::shared_ptr<const Fd> Peer::fd() {
  const std::lock_guard lock(mutex_);
  return fd_;
}

Outcome<Nothing> Peer::Take(long fd, const char* syscall, const std::string& path) {
  if (fd < 0) return CallFailed(fd, syscall, path);
  const std::lock_guard lock(mutex_);
  fd_ = std::make_shared<Fd>(kernel_, static_cast<int>(fd));
  return Nothing{};
}

Outcome<Nothing> Peer::AdoptFd(int number) {
  if (fd()->valid()) return Failure::Errno(EALREADY, "fcntl F_DUPFD_CLOEXEC");
  return Take(Call([&] { return kernel_->fcntl(kernel_->ctx, number, F_DUPFD_CLOEXEC, 3); }),
              "fcntl F_DUPFD_CLOEXEC", {});
}

Outcome<Nothing> Peer::OpenProcess(int32_t pid) {
  if (fd()->valid()) return Failure::Errno(EALREADY, "pidfd_open");
  return Take(Call([&] { return CallOptional(kernel_, &vfm_kernel::pidfd_open, pid, 0u); }), "pidfd_open",
              {});
}

Outcome<Nothing> Peer::OpenEvent() {
  if (fd()->valid()) return Failure::Errno(EALREADY, "eventfd");
  return Take(
      Call([&] { return CallOptional(kernel_, &vfm_kernel::eventfd, 0u, EFD_CLOEXEC | EFD_NONBLOCK); }),
      "eventfd", {});
}

Outcome<Nothing> Peer::Connect(const std::string& path) {
  if (fd()->valid()) return Failure::Errno(EALREADY, "connect", path);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return Failure::Errno(ENAMETOOLONG, "connect", path);
  memcpy(address.sun_path, path.data(), path.size());
  const long number = Call(
      [&] { return CallOptional(kernel_, &vfm_kernel::socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); });
  if (number < 0) return CallFailed(number, "socket", path);
  Fd socket(kernel_, static_cast<int>(number));
  const long done = Call([&] {
    return CallOptional(kernel_, &vfm_kernel::connect, socket.get(), reinterpret_cast<sockaddr*>(&address),
                        static_cast<uint32_t>(sizeof(address)));
  });
  if (done < 0) return CallFailed(done, "connect", path);
  const std::lock_guard lock(mutex_);
  fd_ = std::make_shared<Fd>(std::move(socket));
  return Nothing{};
}

Outcome<Nothing> Peer::WaitReadable() {
  const std::shared_ptr<const Fd> fd = this->fd();
  if (!fd->valid()) return Failure::Errno(EBADF, "poll");
  pollfd wanted = {fd->get(), POLLIN, 0};
  const long ready = Call([&] { return kernel_->poll(kernel_->ctx, &wanted, 1, -1); });
  if (ready < 0) return CallFailed(ready, "poll");
  return Nothing{};
}

Outcome<Bytes> Peer::Read(size_t max) {
  const std::shared_ptr<const Fd> fd = this->fd();
  if (!fd->valid()) return Failure::Errno(EBADF, "read");
  Bytes bytes(max);
  const long got = Call([&] { return kernel_->read(kernel_->ctx, fd->get(), bytes.data(), bytes.size()); });
  if (got < 0) return CallFailed(got, "read");
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

Outcome<uint32_t> Peer::Write(const Bytes& data) {
  const std::shared_ptr<const Fd> fd = this->fd();
  if (!fd->valid()) return Failure::Errno(EBADF, "write");
  /* The worker's thread blocks SIGPIPE. */
  const long put = Call([&] { return kernel_->write(kernel_->ctx, fd->get(), data.data(), data.size()); });
  if (put < 0) return CallFailed(put, "write");
  return static_cast<uint32_t>(put);
}

Outcome<Nothing> Peer::Signal(int number) {
  const std::shared_ptr<const Fd> fd = this->fd();
  if (!fd->valid()) return Failure::Errno(EBADF, "pidfd_send_signal");
  const long done =
      Call([&] { return CallOptional(kernel_, &vfm_kernel::pidfd_send_signal, fd->get(), number, 0u); });
  if (done < 0) return CallFailed(done, "pidfd_send_signal");
  return Nothing{};
}

void Peer::OnClose() {
  const std::lock_guard lock(mutex_);
  fd_ = std::make_shared<Fd>();
}

}  // namespace vfm
