#include "linux.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace {

template <class Result>
Result OrErrno(Result result) {
  return result < 0 ? static_cast<Result>(-errno) : result;
}

void Keep(void*) {}

const char* Kind(void*) {
  return "linux";
}

/* A descriptor that leaks into a child would keep the device open, and so unreset, behind our back. */
int Openat(void*, int dirfd, const char* path, int flags, uint32_t mode) {
  return OrErrno(::openat(dirfd, path, flags | O_CLOEXEC, static_cast<mode_t>(mode)));
}

int Close(void*, int fd) {
  return OrErrno(::close(fd));
}

int Ioctl(void*, int fd, unsigned long request, uintptr_t arg) {
  return OrErrno(::ioctl(fd, request, arg));
}

ssize_t Read(void*, int fd, void* buf, size_t len) {
  return OrErrno(::read(fd, buf, len));
}

ssize_t Write(void*, int fd, const void* buf, size_t len) {
  return OrErrno(::write(fd, buf, len));
}

ssize_t Pread(void*, int fd, void* buf, size_t len, int64_t offset) {
  return OrErrno(::pread(fd, buf, len, static_cast<off_t>(offset)));
}

ssize_t Pwrite(void*, int fd, const void* buf, size_t len, int64_t offset) {
  return OrErrno(::pwrite(fd, buf, len, static_cast<off_t>(offset)));
}

int Poll(void*, struct pollfd* fds, uint32_t nfds, int timeout_ms) {
  return OrErrno(::poll(fds, nfds, timeout_ms));
}

int Fcntl(void*, int fd, int cmd, uintptr_t arg) {
  return OrErrno(::fcntl(fd, cmd == F_DUPFD ? F_DUPFD_CLOEXEC : cmd, arg));
}

ssize_t Readlinkat(void*, int dirfd, const char* path, char* buf, size_t len) {
  return OrErrno(::readlinkat(dirfd, path, buf, len));
}

int Fstatat(void*, int dirfd, const char* path, struct vfm_stat* out, int flags) {
  struct stat st;
  if (::fstatat(dirfd, path, &st, flags) < 0) return -errno;
  out->mode = st.st_mode;
  out->uid = st.st_uid;
  out->size = static_cast<uint64_t>(st.st_size);
  out->rdev = st.st_rdev;
  out->ino = st.st_ino;
  return 0;
}

int Faccessat(void*, int dirfd, const char* path, int mode) {
  return OrErrno(::faccessat(dirfd, path, mode, 0));
}

/* By number: the C library's wrapper is younger (glibc 2.30) than the oldest one that the binary has to run
 * on. */
ssize_t Getdents(void*, int fd, void* buf, size_t len) {
  return OrErrno(static_cast<ssize_t>(::syscall(SYS_getdents64, fd, buf, len)));
}

template <size_t N, size_t M>
void CopyName(char (&to)[N], const char (&from)[M]) {
  const size_t length = strnlen(from, N - 1 < M ? N - 1 : M);
  memcpy(to, from, length);
  to[length] = '\0';
}

int Uname(void*, struct vfm_uname* out) {
  struct utsname name;
  if (::uname(&name) < 0) return -errno;
  CopyName(out->sysname, name.sysname);
  CopyName(out->release, name.release);
  CopyName(out->machine, name.machine);
  return 0;
}

/* The C library's wrappers are younger still (glibc 2.36), and so are the numbers in some kernel headers.
 * They are the same on all architectures. */
constexpr long kSysPidfdSendSignal = 424;
constexpr long kSysPidfdOpen = 434;
constexpr long kSysPidfdGetfd = 438;

int PidfdOpen(void*, int32_t pid, uint32_t flags) {
  return OrErrno(static_cast<int>(::syscall(kSysPidfdOpen, pid, flags)));
}

int PidfdGetfd(void*, int pidfd, int target, uint32_t flags) {
  return OrErrno(static_cast<int>(::syscall(kSysPidfdGetfd, pidfd, target, flags)));
}

int Socket(void*, int domain, int type, int protocol) {
  return OrErrno(::socket(domain, type | SOCK_CLOEXEC, protocol));
}

int Connect(void*, int fd, const struct sockaddr* address, uint32_t length) {
  return OrErrno(::connect(fd, address, length));
}

ssize_t Sendmsg(void*, int fd, const struct msghdr* message, int flags) {
  return OrErrno(::sendmsg(fd, message, flags | MSG_NOSIGNAL));
}

ssize_t Recvmsg(void*, int fd, struct msghdr* message, int flags) {
  return OrErrno(::recvmsg(fd, message, flags | MSG_CMSG_CLOEXEC));
}

int PidfdSendSignal(void*, int pidfd, int signal, uint32_t flags) {
  return OrErrno(static_cast<int>(::syscall(kSysPidfdSendSignal, pidfd, signal, nullptr, flags)));
}

int Eventfd(void*, uint32_t initial, int flags) {
  return OrErrno(::eventfd(initial, flags | EFD_CLOEXEC));
}

/* Constant-initialised and trivially destructible: a thread that outlives main() may still be inside a call.
 */
constinit vfm_kernel linux_kernel = {
    .abi = VFM_KERNEL_ABI,
    .size = sizeof(vfm_kernel),
    .ctx = nullptr,
    .retain = Keep,
    .release = Keep,
    .kind = Kind,
    .openat = Openat,
    .close = Close,
    .ioctl = Ioctl,
    .read = Read,
    .write = Write,
    .pread = Pread,
    .pwrite = Pwrite,
    .poll = Poll,
    .fcntl = Fcntl,
    .readlinkat = Readlinkat,
    .fstatat = Fstatat,
    .faccessat = Faccessat,
    .getdents = Getdents,
    .uname = Uname,
    .pidfd_open = PidfdOpen,
    .pidfd_getfd = PidfdGetfd,
    .socket = Socket,
    .connect = Connect,
    .sendmsg = Sendmsg,
    .recvmsg = Recvmsg,
    .pidfd_send_signal = PidfdSendSignal,
    .eventfd = Eventfd,
};

}  // namespace

extern "C" struct vfm_kernel* vfm_linux_kernel(void) {
  return &linux_kernel;
}
