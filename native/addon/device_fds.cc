/* Descriptors of a device that come from elsewhere, and go there: inherited, taken from a process, passed
 * over a socket. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "device.h"
#include "peer.h"

namespace vfm {

namespace {

/* As many as a Device can have. As many are looked at in a message that comes. */
constexpr size_t kMaxFds = 4;

struct Control {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFds * sizeof(int))> bytes = {};
};

/* All descriptors that came with a message, owned. */
std::vector<Fd> FdsOf(const KernelRef& kernel, msghdr& message) {
  std::vector<Fd> fds;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int number = -1;
      memcpy(&number, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
      fds.emplace_back(kernel, number);
    }
  }
  return fds;
}

}  // namespace

Outcome<Nothing> Device::AdoptFd(int fd) {
  if (device_.valid()) return Failure::Errno(EALREADY, "fcntl F_DUPFD_CLOEXEC");
  /* 3: never in the place of a standard descriptor that is closed. */
  const long number = Call([&] { return kernel_->fcntl(kernel_->ctx, fd, F_DUPFD_CLOEXEC, 3); });
  if (number < 0) return CallFailed(number, "fcntl F_DUPFD_CLOEXEC");
  AdoptDevice(static_cast<int>(number));
  return Nothing{};
}

Outcome<Nothing> Device::TakeFd(const Fd& pidfd, int target) {
  if (device_.valid()) return Failure::Errno(EALREADY, "pidfd_getfd");
  if (!pidfd.valid()) return Failure::Errno(EBADF, "pidfd_getfd");
  const long number =
      Call([&] { return CallOptional(kernel_, &vfm_kernel::pidfd_getfd, pidfd.get(), target, 0u); });
  if (number < 0) return CallFailed(number, "pidfd_getfd");
  AdoptDevice(static_cast<int>(number));
  return Nothing{};
}

Outcome<Device::Received> Device::ReceiveFd(const Fd& socket, size_t max) {
  if (device_.valid()) return Failure::Errno(EALREADY, "recvmsg");
  if (!socket.valid()) return Failure::Errno(EBADF, "recvmsg");
  Received received;
  received.data.resize(max);
  Control control;
  iovec part = {received.data.data(), received.data.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  /* Without waiting: this thread is the device's, and whoever waits for the peer can do it on the peer's. */
  const long got =
      Call([&] { return CallOptional(kernel_, &vfm_kernel::recvmsg, socket.get(), &message, MSG_DONTWAIT); });
  if (got < 0) return CallFailed(got, "recvmsg");
  received.data.resize(static_cast<size_t>(got));
  std::vector<Fd> fds = FdsOf(kernel_, message);
  /* More than fit were sent: the kernel has closed those, and the count says so. */
  received.fds = static_cast<uint32_t>(fds.size()) + ((message.msg_flags & MSG_CTRUNC) ? 1 : 0);
  if (!fds.empty()) {
    device_ = std::move(fds.front());
    is_open_.store(true, std::memory_order_release);
  }
  return received;
}

Outcome<Nothing> Device::SendFds(const Fd& socket, const Bytes& data, const std::vector<int>& more) {
  if (!device_.valid() || !socket.valid()) return Failure::Errno(EBADF, "sendmsg");
  std::vector<int> numbers;
  for (const Fd* fd : {&device_, &iommufd_, &container_, &group_}) {
    if (fd->valid()) numbers.push_back(fd->get());
  }
  numbers.insert(numbers.end(), more.begin(), more.end());
  const size_t size = numbers.size() * sizeof(int);
  /* operator new aligns for cmsghdr. */
  std::vector<char> control(CMSG_SPACE(size));
  iovec part = {const_cast<uint8_t*>(data.data()), data.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(rights), numbers.data(), size);
  const long put = Call([&] {
    return CallOptional(kernel_, &vfm_kernel::sendmsg, socket.get(), static_cast<const msghdr*>(&message),
                        MSG_DONTWAIT);
  });
  if (put < 0) return CallFailed(put, "sendmsg");
  /* The descriptors went with the first byte. A socket that takes less than a small message is out of memory.
   */
  if (static_cast<size_t>(put) != data.size()) return Failure::Errno(ENOBUFS, "sendmsg");
  return Nothing{};
}

Outcome<Device::Numbers> Device::Descriptors() {
  return Numbers{device_.get(), iommufd_.get(), container_.get(), group_.get()};
}

}  // namespace vfm
