#include "mock/file.h"

#include <algorithm>

namespace vfm::mock {

FilePtr FdTable::Get(int fd) const {
  std::lock_guard hold(lock_);
  if (fd < 0 || static_cast<size_t>(fd) >= entries_.size()) return nullptr;
  return entries_[static_cast<size_t>(fd)].file;
}

int FdTable::Install(FilePtr file, bool cloexec, int from) {
  std::lock_guard hold(lock_);
  for (int fd = std::max(from, start_); fd < limit_; fd++) {
    auto at = static_cast<size_t>(fd);
    if (at >= entries_.size()) entries_.resize(at + 1);
    if (entries_[at].file != nullptr) continue;
    entries_[at] = {std::move(file), cloexec};
    return fd;
  }
  return -EMFILE;
}

FilePtr FdTable::Remove(int fd) {
  std::lock_guard hold(lock_);
  if (fd < 0 || static_cast<size_t>(fd) >= entries_.size()) return nullptr;
  return std::exchange(entries_[static_cast<size_t>(fd)].file, nullptr);
}

int FdTable::GetFlags(int fd) const {
  std::lock_guard hold(lock_);
  if (fd < 0 || static_cast<size_t>(fd) >= entries_.size()) return -EBADF;
  const Entry& e = entries_[static_cast<size_t>(fd)];
  return e.file == nullptr ? -EBADF : (e.cloexec ? FD_CLOEXEC : 0);
}

int FdTable::SetFlags(int fd, int flags) {
  std::lock_guard hold(lock_);
  if (fd < 0 || static_cast<size_t>(fd) >= entries_.size()) return -EBADF;
  Entry& e = entries_[static_cast<size_t>(fd)];
  if (e.file == nullptr) return -EBADF;
  e.cloexec = (flags & FD_CLOEXEC) != 0;
  return 0;
}

std::vector<FdTable::Open> FdTable::List() const {
  std::lock_guard hold(lock_);
  std::vector<Open> list;
  for (size_t i = 0; i < entries_.size(); i++)
    if (entries_[i].file != nullptr) list.push_back({static_cast<int>(i), entries_[i].file});
  return list;
}

void FdTable::CloseAll() {
  std::vector<Open> list = List();
  for (auto it = list.rbegin(); it != list.rend(); ++it) {
    FilePtr file = Remove(it->fd);
    it->file.reset();
  }
}

}  // namespace vfm::mock
