#include "file_tree.h"

#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <cerrno>

namespace vfm {

namespace {

/* struct linux_dirent64, which the C library does not declare. The name follows, NUL-terminated. */
struct DirentHeader {
  uint64_t ino;
  int64_t off;
  uint16_t reclen;
  uint8_t type;
};
constexpr size_t kDirentName = 19;
static_assert(offsetof(DirentHeader, type) + 1 == kDirentName);

constexpr size_t kDirectoryBuffer = size_t{32} << 10;
constexpr size_t kFirstRead = 4096;
constexpr size_t kLongestLink = 4096;

/* False when a record does not fit in what getdents gave. */
bool AppendNames(const uint8_t* records, size_t size, std::vector<std::string>& names) {
  while (size > 0) {
    DirentHeader header;
    if (size <= kDirentName) return false;
    memcpy(&header, records, kDirentName);
    if (header.reclen <= kDirentName || header.reclen > size) return false;
    const char* name = reinterpret_cast<const char*>(records) + kDirentName;
    std::string text(name, strnlen(name, header.reclen - kDirentName));
    if (text != "." && text != "..") names.push_back(std::move(text));
    records += header.reclen;
    size -= header.reclen;
  }
  return true;
}

}  // namespace

Outcome<Fd> FileTree::Open(const std::string& path, int flags) {
  const long fd =
      Call([&] { return kernel_->openat(kernel_->ctx, AT_FDCWD, path.c_str(), flags | O_CLOEXEC, 0); });
  if (fd < 0) return CallFailed(fd, "openat", path);
  return Fd(kernel_, static_cast<int>(fd));
}

Outcome<Bytes> FileTree::ReadFile(const std::string& path, size_t max) {
  Outcome<Fd> fd = Open(path, O_RDONLY);
  if (!fd.ok()) return fd.failure();
  Bytes bytes;
  size_t have = 0;
  while (have < max) {
    bytes.resize(std::min(max, std::max(kFirstRead, have * 2)));
    const long got = Call([&] {
      return kernel_->read(kernel_->ctx, fd.value().get(), bytes.data() + have, bytes.size() - have);
    });
    if (got < 0) return CallFailed(got, "read", path);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

Outcome<Nothing> FileTree::WriteFile(const std::string& path, const Bytes& data) {
  Outcome<Fd> fd = Open(path, O_WRONLY);
  if (!fd.ok()) return fd.failure();
  const long put =
      Call([&] { return kernel_->write(kernel_->ctx, fd.value().get(), data.data(), data.size()); });
  if (put < 0) return CallFailed(put, "write", path);
  if (static_cast<size_t>(put) != data.size()) return Failure::Errno(EIO, "write", path);
  return Nothing{};
}

Outcome<std::vector<std::string>> FileTree::Readdir(const std::string& path) {
  Outcome<Fd> fd = Open(path, O_RDONLY | O_DIRECTORY);
  if (!fd.ok()) return fd.failure();
  std::vector<std::string> names;
  Bytes buffer(kDirectoryBuffer);
  for (;;) {
    const long got =
        Call([&] { return kernel_->getdents(kernel_->ctx, fd.value().get(), buffer.data(), buffer.size()); });
    if (got < 0) return CallFailed(got, "getdents64", path);
    if (got == 0) break;
    if (!AppendNames(buffer.data(), static_cast<size_t>(got), names)) {
      return Failure::Errno(EPROTO, "getdents64", path);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

Outcome<std::string> FileTree::Readlink(const std::string& path) {
  std::string target(kLongestLink, '\0');
  const long length = Call([&] {
    return kernel_->readlinkat(kernel_->ctx, AT_FDCWD, path.c_str(), target.data(), target.size());
  });
  if (length < 0) return CallFailed(length, "readlinkat", path);
  if (static_cast<size_t>(length) == target.size()) return Failure::Errno(ENAMETOOLONG, "readlinkat", path);
  target.resize(static_cast<size_t>(length));
  return target;
}

Outcome<vfm_stat> FileTree::Stat(const std::string& path, bool nofollow) {
  vfm_stat stat = {};
  const long done = Call([&] {
    return kernel_->fstatat(kernel_->ctx, AT_FDCWD, path.c_str(), &stat, nofollow ? AT_SYMLINK_NOFOLLOW : 0);
  });
  if (done < 0) return CallFailed(done, "fstatat", path);
  return stat;
}

Outcome<Nothing> FileTree::Access(const std::string& path, int mode) {
  const long done = Call([&] { return kernel_->faccessat(kernel_->ctx, AT_FDCWD, path.c_str(), mode); });
  if (done < 0) return CallFailed(done, "faccessat", path);
  return Nothing{};
}

}  // namespace vfm
