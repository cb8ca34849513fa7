// Open files of the mock kernel, and the table of descriptors that name them. A file lives as long as a
// descriptor or a call in progress holds it, as in Linux: what its closing means happens in its destructor.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/types.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mock/log.h"

namespace vfm::mock {

class Device;
class Event;

class File {
 public:
  // `flags` as open(2): access mode and status flags.
  explicit File(int flags) : flags_(flags & ~(O_CLOEXEC | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC)) {}
  virtual ~File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // "container", "group", "device", "iommufd", "data", "file", "directory".
  virtual const char* kind() const = 0;
  virtual Device* device() const { return nullptr; }
  // What /proc/PID/fd/N would show.
  virtual std::string name() const = 0;

  virtual long Ioctl(Call&, unsigned long, uintptr_t) { return -ENOTTY; }
  virtual ssize_t Read(Call&, void*, size_t) { return -EINVAL; }
  virtual ssize_t Write(Call&, const void*, size_t) { return -EINVAL; }
  virtual ssize_t Pread(Call&, void*, size_t, int64_t) { return -EINVAL; }
  virtual ssize_t Pwrite(Call&, const void*, size_t, int64_t) { return -EINVAL; }
  virtual ssize_t Getdents(void*, size_t) { return -ENOTDIR; }
  // Where the next byte of a stream stands; nullopt for other files.
  virtual std::optional<uint64_t> Position() { return std::nullopt; }
  // Without a poll operation of its own a file is always ready.
  virtual short Poll() { return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM; }

  // What happens when Poll() may say something else; null: it is asked again after a while.
  virtual Event* Changes() { return nullptr; }

  int flags() const { return flags_.load(); }
  void set_flags(int flags) { flags_.store(flags); }
  bool readable() const { return (flags() & O_ACCMODE) != O_WRONLY; }
  bool writable() const { return (flags() & O_ACCMODE) != O_RDONLY; }

 private:
  std::atomic<int> flags_;
};

using FilePtr = std::shared_ptr<File>;

class FdTable {
 public:
  struct Open {
    int fd;
    FilePtr file;
  };

  FdTable(int start, int limit) : start_(start), limit_(limit) {}

  FilePtr Get(int fd) const;
  // The lowest free number, at least `from`; -EMFILE.
  int Install(FilePtr file, bool cloexec, int from = 0);
  // Takes it out of the table; the file goes when the last user does. Null when there is none.
  FilePtr Remove(int fd);
  // -EBADF, or FD_CLOEXEC or 0.
  int GetFlags(int fd) const;
  int SetFlags(int fd, int flags);
  std::vector<Open> List() const;
  // Removes all, highest number first.
  void CloseAll();

 private:
  struct Entry {
    FilePtr file;
    bool cloexec = false;
  };
  mutable std::mutex lock_;
  std::vector<Entry> entries_;
  const int start_;
  const int limit_;
};

}  // namespace vfm::mock
