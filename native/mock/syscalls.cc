// The table of system calls: finds the file, asks the faults, makes the call, writes the log. No exception
// leaves it.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "mock/irqs.h"
#include "mock/mock.h"
#include "mock/table.h"
#include "mock/user.h"
#include "mock/wait.h"
#include "vfio/uapi.h"

namespace vfm::mock {

namespace {

Mock& Of(void* ctx) {
  return *static_cast<Handle*>(ctx)->mock;
}

void Describe(Call& call, int fd, const FilePtr& file) {
  call.fd = fd;
  if (file == nullptr) return;
  call.fd_kind = file->kind();
  if (Device* d = file->device()) call.device = d->address();
}

// What a fault does besides its errno. 0, or -EINTR.
int Delay(const FaultConfig& fault) {
  if (int e = SleepMs(fault.delay_ms, true); e != 0) return e;
  if (!fault.hang) return 0;
  Event never;
  return never.Wait(never.Ticket());
}

void ForceState(Mock& mock, const Call& call, const FaultConfig& fault) {
  if (!fault.state) return;
  Device* d = mock.FindDevice(call.device);
  if (d != nullptr && d->driver() != nullptr) d->driver()->ForceState(*fault.state);
}

// Runs `body(fault)`, with what met the call or null. `undo` takes back what a call has
// handed out whose answer is then lost.
template <typename Body, typename Undo>
int64_t Run(Mock& mock, Call& call, Body body, Undo undo) {
  mock.log.Start(call);
  try {
    auto fault = mock.faults.Meet(call, call.name);
    int64_t result = fault ? Delay(*fault) : 0;
    if (result == 0 && fault && fault->error != 0 && !fault->after) result = -fault->error;
    if (result == 0) {
      result = body(fault ? &*fault : nullptr);
      if (fault && fault->error != 0 && result >= 0) {
        undo(result);
        result = -fault->error;
      }
    }
    if (fault) ForceState(mock, call, *fault);
    call.result = result;
  } catch (const std::bad_alloc&) {
    call.result = -ENOMEM;
  } catch (const std::exception&) {
    call.result = -EIO;
  }
  int64_t result = call.result;
  mock.log.Finish(call);
  return result;
}

template <typename Body>
int64_t Run(Mock& mock, Call& call, Body body) {
  return Run(mock, call, body, [](int64_t) {});
}

// The directory a relative path starts from: 0, or -EBADF or -ENOTDIR.
int Base(Mock& mock, int dirfd, const char* path, Node*& base, FilePtr& keep) {
  base = nullptr;
  // The mock has no working directory: AT_FDCWD is the root.
  if (path[0] == '/' || dirfd == AT_FDCWD) return 0;
  keep = mock.fds.Get(dirfd);
  if (keep == nullptr) return -EBADF;
  base = DirectoryNode(keep.get());
  return base == nullptr ? -ENOTDIR : 0;
}

int PathFrom(const char* path, std::string& out) {
  return StringFromUser(out, reinterpret_cast<uintptr_t>(path), 4096);
}

// What a path names, so that a fault can meet its opening too; "" for what is no device node.
const char* KindOf(std::string_view path) {
  static constexpr std::pair<std::string_view, const char*> kNodes[] = {{"/dev/vfio/vfio", "container"},
                                                                        {"/dev/vfio/devices/", "device"},
                                                                        {"/dev/vfio/", "group"},
                                                                        {"/dev/iommu", "iommufd"}};
  for (auto [prefix, kind] : kNodes)
    if (path.starts_with(prefix)) return kind;
  return "";
}

// A call that names a file by its path: `body(base, path)`.
template <typename Body, typename Undo>
int64_t PathCall(void* ctx, const char* name, int dirfd, const char* user_path, Body body, Undo undo) {
  Mock& mock = Of(ctx);
  Call call(name);
  std::string path;
  int e = PathFrom(user_path, path);
  call.path = path;
  call.fd_kind = KindOf(path);
  return Run(
      mock, call,
      [&](const FaultConfig*) -> int64_t {
        if (e != 0) return e == -EINVAL ? -ENAMETOOLONG : e;
        Node* base = nullptr;
        FilePtr keep;
        if (int b = Base(mock, dirfd, path.c_str(), base, keep); b != 0) return b;
        return body(mock, call, base, path);
      },
      [&](int64_t result) { undo(mock, result); });
}

template <typename Body>
int64_t PathCall(void* ctx, const char* name, int dirfd, const char* path, Body body) {
  return PathCall(ctx, name, dirfd, path, body, [](Mock&, int64_t) {});
}

int Openat(void* ctx, int dirfd, const char* user_path, int flags, uint32_t) {
  auto body = [&](Mock& mock, Call& call, Node* base, const std::string& path) -> int64_t {
    int error = 0;
    FilePtr file = mock.tree.Open(base, path, flags, error);
    if (error != 0) return error;
    Describe(call, -1, file);
    return mock.InstallFd(call, std::move(file), (flags & O_CLOEXEC) != 0);
  };
  return static_cast<int>(PathCall(ctx, "openat", dirfd, user_path, body,
                                   [](Mock& mock, int64_t fd) { mock.fds.Remove(static_cast<int>(fd)); }));
}

int Close(void* ctx, int fd) {
  Mock& mock = Of(ctx);
  Call call("close");
  Describe(call, fd, mock.fds.Get(fd));
  // As close(2) on Linux: the descriptor is gone whatever the answer is.
  bool gone = false;
  int64_t result = Run(mock, call, [&](const FaultConfig*) -> int64_t {
    gone = true;
    return mock.fds.Remove(fd) == nullptr ? -EBADF : 0;
  });
  if (!gone) mock.fds.Remove(fd);
  return static_cast<int>(result);
}

// A state request whose answer a fault takes away: the session's descriptor goes, and the caller's struct is
// as it was.
class LostAnswer {
 public:
  // `head`: of a VFIO_DEVICE_FEATURE, else zeros. Nothing beyond what its argsz covers is looked at.
  LostAnswer(Mock& mock, unsigned long request, const uapi::DeviceFeature& head, uintptr_t arg)
      : mock_(mock), request_(request), state_arg_(arg + sizeof head) {
    constexpr uint32_t kSetState = uapi::kFeatureSet | uapi::kFeatureMigDeviceState;
    sets_state_ = head.flags == kSetState && head.argsz >= sizeof head + sizeof before_ &&
                  CopyFromUser(&before_, state_arg_, sizeof before_);
  }
  void Undo(int64_t result) {
    if (request_ == uapi::kGroupGetDeviceFd) mock_.fds.Remove(static_cast<int>(result));
    uapi::FeatureMigState now;
    if (!sets_state_ || !CopyFromUser(&now, state_arg_, sizeof now)) return;
    if (now.data_fd >= 0) mock_.fds.Remove(now.data_fd);
    CopyToUser(state_arg_, &before_, sizeof before_);
  }

 private:
  Mock& mock_;
  const unsigned long request_;
  const uintptr_t state_arg_;
  bool sets_state_ = false;
  uapi::FeatureMigState before_{};
};

int Ioctl(void* ctx, int fd, unsigned long request, uintptr_t arg) {
  Mock& mock = Of(ctx);
  // ioctl(2) takes 32 bits.
  request &= 0xffffffff;
  FilePtr file = mock.fds.Get(fd);
  Call call("ioctl");
  Describe(call, fd, file);
  uapi::DeviceFeature head{};
  if (call.fd_kind == "device" && request == uapi::kDeviceFeature) CopyFromUser(&head, arg, sizeof head);
  call.request = RequestName(call.fd_kind, request, head.flags);
  LostAnswer lost(mock, request, head, arg);
  return static_cast<int>(Run(
      mock, call,
      [&](const FaultConfig* fault) -> int64_t {
        if (file == nullptr) return -EBADF;
        long answer = file->Ioctl(call, request, arg);
        if (answer >= 0 && fault != nullptr && fault->stream == StreamFault::Stale)
          mock.streams.Stale(file->device());
        return answer;
      },
      [&](int64_t result) { lost.Undo(result); }));
}

// read, write, pread and pwrite differ in the direction and in whether there is an offset.
template <typename Body>
ssize_t Transfer(void* ctx, const char* name, int fd, size_t len, const int64_t* offset, bool writes,
                 Body body) {
  Mock& mock = Of(ctx);
  FilePtr file = mock.fds.Get(fd);
  Call call(name);
  Describe(call, fd, file);
  call.length = len;
  if (offset != nullptr)
    call.offset = static_cast<uint64_t>(*offset);
  else if (file != nullptr)
    call.offset = file->Position();
  return static_cast<ssize_t>(Run(mock, call, [&](const FaultConfig* fault) -> int64_t {
    // pread(2) and pwrite(2) look at the sign before they look for the file.
    if (offset != nullptr && *offset < 0) return -EINVAL;
    if (file == nullptr) return -EBADF;
    // Streams refuse a position before anything else is looked at.
    if (offset != nullptr && file->Position()) return -ESPIPE;
    if (writes ? !file->writable() : !file->readable()) return -EBADF;
    size_t n = fault != nullptr && fault->at_most ? std::min<uint64_t>(len, *fault->at_most) : len;
    return body(file, call, n, fault);
  }));
}

ssize_t Read(void* ctx, int fd, void* buf, size_t len) {
  return Transfer(ctx, "read", fd, len, nullptr, false,
                  [&](const FilePtr& f, Call& call, size_t n, const FaultConfig* fault) {
                    return f->Position() ? Of(ctx).streams.Read(f, call, buf, n, fault)
                                         : f->Read(call, buf, n);
                  });
}

ssize_t Write(void* ctx, int fd, const void* buf, size_t len) {
  return Transfer(ctx, "write", fd, len, nullptr, true,
                  [&](const FilePtr& f, Call& call, size_t n, const FaultConfig* fault) {
                    return f->Position() ? Of(ctx).streams.Write(f, call, buf, n, fault)
                                         : f->Write(call, buf, n);
                  });
}

ssize_t Pread(void* ctx, int fd, void* buf, size_t len, int64_t offset) {
  return Transfer(ctx, "pread", fd, len, &offset, false,
                  [&](const FilePtr& f, Call& call, size_t n, const FaultConfig*) {
                    return f->Pread(call, buf, n, offset);
                  });
}

ssize_t Pwrite(void* ctx, int fd, const void* buf, size_t len, int64_t offset) {
  return Transfer(ctx, "pwrite", fd, len, &offset, true,
                  [&](const FilePtr& f, Call& call, size_t n, const FaultConfig*) {
                    return f->Pwrite(call, buf, n, offset);
                  });
}

int Poll(void* ctx, struct pollfd* fds, uint32_t nfds, int timeout_ms) {
  Mock& mock = Of(ctx);
  Call call("poll");
  call.length = nfds;
  if (nfds == 1) Describe(call, fds[0].fd, mock.fds.Get(fds[0].fd));
  auto look = [&] {
    int ready = 0;
    for (uint32_t i = 0; i < nfds; i++) {
      fds[i].revents = 0;
      if (fds[i].fd < 0) continue;
      FilePtr file = mock.fds.Get(fds[i].fd);
      fds[i].revents =
          file == nullptr ? POLLNVAL : static_cast<short>(file->Poll() & (fds[i].events | POLLERR | POLLHUP));
      if (fds[i].revents != 0) ready++;
    }
    return ready;
  };
  return static_cast<int>(Run(mock, call, [&](const FaultConfig*) -> int64_t {
    // Most files are always ready; those that are not say when they may be, or are looked at every
    // millisecond.
    const FilePtr only = nfds == 1 && timeout_ms < 0 ? mock.fds.Get(fds[0].fd) : nullptr;
    Event* const changes = only == nullptr ? nullptr : only->Changes();
    for (int waited = 0;; waited++) {
      const uint32_t ticket = changes == nullptr ? 0 : changes->Ticket();
      const int ready = look();
      if (ready != 0 || (timeout_ms >= 0 && waited >= timeout_ms)) return ready;
      if (int e = changes == nullptr ? SleepMs(1, true) : changes->Wait(ticket); e != 0) return e;
    }
  }));
}

int Fcntl(void* ctx, int fd, int cmd, uintptr_t arg) {
  Mock& mock = Of(ctx);
  FilePtr file = mock.fds.Get(fd);
  Call call("fcntl");
  Describe(call, fd, file);
  call.request = std::to_string(cmd);
  return static_cast<int>(Run(mock, call, [&](const FaultConfig*) -> int64_t {
    if (file == nullptr) return -EBADF;
    constexpr int kSettable = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME;
    switch (cmd) {
      case F_GETFD:
        return mock.fds.GetFlags(fd);
      case F_SETFD:
        return mock.fds.SetFlags(fd, static_cast<int>(arg));
      case F_GETFL:
        return file->flags();
      case F_SETFL:
        file->set_flags((file->flags() & ~kSettable) | (static_cast<int>(arg) & kSettable));
        return 0;
      case F_DUPFD:
      case F_DUPFD_CLOEXEC:
        if (static_cast<int>(arg) < 0) return -EINVAL;
        return mock.fds.Install(file, cmd == F_DUPFD_CLOEXEC, static_cast<int>(arg));
      default:
        return -EINVAL;
    }
  }));
}

ssize_t Readlinkat(void* ctx, int dirfd, const char* path, char* buf, size_t len) {
  return PathCall(ctx, "readlinkat", dirfd, path,
                  [&](Mock& mock, Call&, Node* base, const std::string& p) -> int64_t {
                    return mock.tree.Readlink(base, p, buf, len);
                  });
}

int Fstatat(void* ctx, int dirfd, const char* path, vfm_stat* out, int flags) {
  return static_cast<int>(PathCall(
      ctx, "fstatat", dirfd, path, [&](Mock& mock, Call&, Node* base, const std::string& p) -> int64_t {
        if (p.empty()) return -ENOENT;
        vfm_stat stat;
        if (int e = mock.tree.Stat(base, p, (flags & AT_SYMLINK_NOFOLLOW) == 0, stat); e != 0) return e;
        return CopyToUser(reinterpret_cast<uintptr_t>(out), &stat, sizeof stat) ? 0 : -EFAULT;
      }));
}

int Faccessat(void* ctx, int dirfd, const char* path, int mode) {
  return static_cast<int>(PathCall(ctx, "faccessat", dirfd, path,
                                   [&](Mock& mock, Call&, Node* base, const std::string& p) -> int64_t {
                                     if ((mode & ~(R_OK | W_OK | X_OK)) != 0) return -EINVAL;
                                     if (p.empty()) return -ENOENT;
                                     return mock.tree.Access(base, p, mode, true);
                                   }));
}

ssize_t Getdents(void* ctx, int fd, void* buf, size_t len) {
  Mock& mock = Of(ctx);
  FilePtr file = mock.fds.Get(fd);
  Call call("getdents");
  Describe(call, fd, file);
  return static_cast<ssize_t>(Run(mock, call, [&](const FaultConfig*) -> int64_t {
    return file == nullptr ? -EBADF : file->Getdents(buf, len);
  }));
}

int Eventfd(void* ctx, uint32_t initial, int flags) {
  Mock& mock = Of(ctx);
  Call call("eventfd");
  auto body = [&](const FaultConfig*) -> int64_t {
    if ((flags & ~(EFD_CLOEXEC | EFD_NONBLOCK)) != 0) return -EINVAL;
    return mock.InstallFd(call, std::make_shared<EventFile>(initial, flags), (flags & EFD_CLOEXEC) != 0);
  };
  return static_cast<int>(Run(mock, call, body, [&](int64_t fd) { mock.fds.Remove(static_cast<int>(fd)); }));
}

int Uname(void* ctx, vfm_uname* out) {
  Mock& mock = Of(ctx);
  Call call("uname");
  return static_cast<int>(Run(mock, call, [&](const FaultConfig*) -> int64_t {
    vfm_uname u{};
    strncpy(u.sysname, "Linux", sizeof u.sysname - 1);
    strncpy(u.release, mock.config.kernel.release.c_str(), sizeof u.release - 1);
    strncpy(u.machine, mock.config.kernel.machine.c_str(), sizeof u.machine - 1);
    return CopyToUser(reinterpret_cast<uintptr_t>(out), &u, sizeof u) ? 0 : -EFAULT;
  }));
}

}  // namespace

void FillCalls(vfm_kernel& table) {
  table.openat = Openat;
  table.close = Close;
  table.ioctl = Ioctl;
  table.read = Read;
  table.write = Write;
  table.pread = Pread;
  table.pwrite = Pwrite;
  table.poll = Poll;
  table.fcntl = Fcntl;
  table.readlinkat = Readlinkat;
  table.fstatat = Fstatat;
  table.faccessat = Faccessat;
  table.getdents = Getdents;
  table.uname = Uname;
  table.eventfd = Eventfd;
}

}  // namespace vfm::mock
