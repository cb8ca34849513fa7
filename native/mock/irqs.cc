#include "mock/irqs.h"

#include <cstring>

#include "mock/mock.h"
#include "mock/user.h"
#include "mock/wait.h"

namespace vfm::mock {

ssize_t EventFile::Read(Call&, void* buf, size_t len) {
  if (len < sizeof count_) return -EINVAL;
  if (!UserCanWrite(buf, sizeof count_)) return -EFAULT;
  for (;;) {
    {
      std::lock_guard hold(lock_);
      if (count_ != 0) {
        memcpy(buf, &count_, sizeof count_);
        count_ = 0;
        return sizeof count_;
      }
    }
    if ((flags() & O_NONBLOCK) != 0) return -EAGAIN;
    if (int e = SleepMs(1, true); e != 0) return e;
  }
}

ssize_t EventFile::Write(Call&, const void* buf, size_t len) {
  uint64_t more;
  if (len < sizeof more) return -EINVAL;
  if (!CopyFromUser(&more, reinterpret_cast<uintptr_t>(buf), sizeof more)) return -EFAULT;
  if (more == UINT64_MAX) return -EINVAL;
  {
    std::lock_guard hold(lock_);
    // A counter that is full would make the writer wait; nobody here counts that far.
    if (more > UINT64_MAX - 1 - count_) return -EAGAIN;
    count_ += more;
  }
  changes_.Notify();
  return sizeof more;
}

short EventFile::Poll() {
  std::lock_guard hold(lock_);
  return static_cast<short>(POLLOUT | (count_ != 0 ? POLLIN : 0));
}

void EventFile::Signal() {
  {
    std::lock_guard hold(lock_);
    if (count_ < UINT64_MAX - 1) count_++;
  }
  changes_.Notify();
}

int ReadIrqRequest(uintptr_t arg, const std::function<uint32_t(uint32_t index)>& count, IrqRequest& out) {
  using namespace uapi;
  IrqSet& head = out.head;
  if (!CopyFromUser(&head, arg, sizeof head)) return -EFAULT;
  constexpr uint32_t kData = kIrqSetDataNone | kIrqSetDataBool | kIrqSetDataEventfd;
  constexpr uint32_t kAction = kIrqSetActionMask | kIrqSetActionUnmask | kIrqSetActionTrigger;
  if (head.argsz < sizeof head || head.index >= kPciIrqCount || head.count >= UINT32_MAX - head.start ||
      (head.flags & ~(kData | kAction)) != 0)
    return -EINVAL;
  const uint32_t there = count(head.index);
  if (head.start >= there || head.start + head.count > there) return -EINVAL;
  size_t size;
  switch (head.flags & kData) {
    case kIrqSetDataNone:
      size = 0;
      break;
    case kIrqSetDataBool:
      size = sizeof(uint8_t);
      break;
    case kIrqSetDataEventfd:
      size = sizeof(int32_t);
      break;
    default:
      return -EINVAL;
  }
  if (head.argsz - sizeof head < head.count * size) return -EINVAL;
  out.data.resize(head.count * size);
  return out.data.empty() || CopyFromUser(out.data.data(), arg + sizeof head, out.data.size()) ? 0 : -EFAULT;
}

int EventOf(Mock& mock, const IrqRequest& request, uint32_t i, std::shared_ptr<EventFile>& out) {
  int32_t fd;
  memcpy(&fd, request.data.data() + i * sizeof fd, sizeof fd);
  out = nullptr;
  if (fd < 0) return 0;
  FilePtr file = mock.fds.Get(fd);
  if (file == nullptr) return -EBADF;
  out = std::dynamic_pointer_cast<EventFile>(file);
  return out == nullptr ? -EINVAL : 0;
}

long PciIrqs::Set(Mock& mock, uintptr_t arg, const std::function<uint32_t(uint32_t index)>& count) {
  IrqRequest request;
  if (int e = ReadIrqRequest(arg, count, request); e != 0) return e;
  std::lock_guard hold(lock_);
  if (request.head.index == uapi::kPciReqIrqIndex) return SetRequest(mock, request);
  if (request.head.index == uapi::kPciErrIrqIndex) return -ENOTTY;
  return SetVectors(mock, request);
}

long PciIrqs::SetVectors(Mock& mock, const IrqRequest& request) {
  const auto& [argsz, flags, index, start, count] = request.head;
  // Masking is what no command of this project asks for.
  if ((flags & uapi::kIrqSetActionTrigger) == 0) return -ENOTTY;
  if (type_ != UINT32_MAX && type_ != index) return -EINVAL;
  if ((flags & uapi::kIrqSetDataNone) != 0 && count == 0) {
    if (type_ == UINT32_MAX) return index == uapi::kPciIntxIrqIndex ? -EINVAL : 0;
    type_ = UINT32_MAX;
    vectors_.clear();
    return 0;
  }
  if ((flags & uapi::kIrqSetDataEventfd) == 0) {
    if (type_ != index || start + count > vectors_.size()) return -EINVAL;
    for (uint32_t i = 0; i < count; i++) {
      const bool wanted = (flags & uapi::kIrqSetDataBool) == 0 || request.data[i] != 0;
      if (wanted && vectors_[start + i] != nullptr) vectors_[start + i]->Signal();
    }
    return 0;
  }
  std::vector<std::shared_ptr<EventFile>> vectors = vectors_;
  if (vectors.size() < start + count) vectors.resize(start + count);
  for (uint32_t i = 0; i < count; i++)
    if (int e = EventOf(mock, request, i, vectors[start + i]); e != 0) return e;
  vectors_ = std::move(vectors);
  type_ = index;
  return 0;
}

long PciIrqs::SetRequest(Mock& mock, const IrqRequest& request) {
  const auto& [argsz, flags, index, start, count] = request.head;
  if ((flags & uapi::kIrqSetActionTrigger) == 0) return -ENOTTY;
  if (start != 0 || count > 1) return -EINVAL;
  if ((flags & uapi::kIrqSetDataEventfd) != 0)
    return count == 0 ? -EINVAL : EventOf(mock, request, 0, request_);
  if (count == 0) {
    if ((flags & uapi::kIrqSetDataBool) != 0 || request_ == nullptr) return -EINVAL;
    request_ = nullptr;
    return 0;
  }
  const bool wanted = (flags & uapi::kIrqSetDataBool) == 0 || request.data[0] != 0;
  if (request_ == nullptr) return (flags & uapi::kIrqSetDataNone) != 0 ? -EINVAL : 0;
  if (wanted) request_->Signal();
  return 0;
}

bool PciIrqs::Uses(uint32_t index) const {
  std::lock_guard hold(lock_);
  return type_ == index;
}

bool PciIrqs::Request() {
  std::lock_guard hold(lock_);
  if (request_ == nullptr) return false;
  request_->Signal();
  return true;
}

void PciIrqs::Clear() {
  std::lock_guard hold(lock_);
  type_ = UINT32_MAX;
  vectors_.clear();
  request_ = nullptr;
}

}  // namespace vfm::mock
