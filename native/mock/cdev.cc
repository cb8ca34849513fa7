// The device's own character device: BIND, ATTACH and DETACH, and as much of /dev/iommu as they need (uAPI
// §1.10).
#include <algorithm>
#include <cstring>

#include "mock/device.h"
#include "mock/group.h"
#include "mock/mock.h"
#include "mock/user.h"
#include "vfio/uapi.h"

namespace vfm::mock {

namespace {

std::string UuidText(const uint8_t (&b)[16]) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kHex[b[i] >> 4];
    text += kHex[b[i] & 15];
  }
  return text;
}

// copy_struct_from_user: bytes beyond what this kernel knows must be zero.
int CopyStruct(void* to, size_t known, uintptr_t from, size_t given) {
  memset(to, 0, known);
  if (!CopyFromUser(to, from, std::min(known, given))) return -EFAULT;
  for (size_t at = known; at < given; at++) {
    uint8_t byte;
    if (!CopyFromUser(&byte, from + at, 1)) return -EFAULT;
    if (byte != 0) return -E2BIG;
  }
  return 0;
}

}  // namespace

long DeviceFile::Bind(uintptr_t arg) {
  bool tokens = device_.mock().config.kernel.version.AtLeast(6, 17);
  uapi::DeviceBindIommufd bind{};
  if (!CopyFromUser(&bind.argsz, arg, sizeof bind.argsz)) return -EFAULT;
  uint32_t given = bind.argsz;
  if (tokens) {
    if (given < uapi::kDeviceBindIommufdSizeV1) return -EINVAL;
    if (int e = CopyStruct(&bind, sizeof bind, arg, given); e != 0) return e;
  } else {
    if (!CopyFromUser(&bind, arg, uapi::kDeviceBindIommufdSizeV1)) return -EFAULT;
    if (given < uapi::kDeviceBindIommufdSizeV1) return -EINVAL;
  }
  uint32_t known = tokens ? uapi::kDeviceBindFlagToken : 0;
  if ((bind.flags & ~known) != 0 || bind.iommufd < 0) return -EINVAL;
  if (group_ != nullptr) return -EINVAL;

  Group& group = *device_.group;
  std::lock_guard hold(group.lock);
  if (group.is_open || group.held) return -EBUSY;
  if (granted_) return -EINVAL;
  return BindLocked(bind.iommufd, arg, tokens && (bind.flags & uapi::kDeviceBindFlagToken) != 0,
                    static_cast<uintptr_t>(bind.token_uuid_ptr));
}

long DeviceFile::BindLocked(int fd, uintptr_t arg, bool has_token, uintptr_t token_ptr) {
  Group& group = *device_.group;
  if (device_.mock().config.kernel.version.AtLeast(6, 17)) {
    uint8_t token[16];
    if (has_token && !CopyFromUser(token, token_ptr, sizeof token)) return -EFAULT;
    if (has_token && device_.config()->kind == Kind::Mtty) return -EINVAL;
    if (int e = device_.CheckToken(has_token ? UuidText(token) : ""); e != 0) return e;
  }
  FilePtr file = device_.mock().fds.Get(fd);
  if (file == nullptr) return -EBADF;
  auto iommufd = std::dynamic_pointer_cast<IommufdFile>(file);
  if (iommufd == nullptr) return -EBADFD;
  // A device without an IOMMU behind it cannot be bound before 7.3.
  if (group.config.noiommu) return -EINVAL;
  bool claimed = group.cdev_opens == 0;
  if (claimed)
    if (int e = group.Claim(); e != 0) return e;
  int e = device_.Open(false, true);
  if (e != 0) {
    if (claimed) group.Unclaim();
    return e;
  }
  uint32_t id = iommufd->NewObject();
  if (!CopyToUser(arg + offsetof(uapi::DeviceBindIommufd, out_devid), &id, sizeof id)) {
    iommufd->RemoveObject(id);
    device_.Close();
    if (claimed) group.Unclaim();
    return -EFAULT;
  }
  group.cdev_opens++;
  iommufd_ = std::move(iommufd);
  devid_ = id;
  granted_ = true;
  return 0;
}

void DeviceFile::LeaveIommufd() {
  if (ioas_ != 0) iommufd_->ReleaseIoas(ioas_);
  iommufd_->RemoveObject(devid_);
  iommufd_.reset();
}

long DeviceFile::Attach(uintptr_t arg) {
  uapi::DeviceAttachIommufdPt attach{};
  if (!CopyFromUser(&attach, arg, uapi::kDeviceAttachIommufdPtSizeV1)) return -EFAULT;
  if (attach.argsz < uapi::kDeviceAttachIommufdPtSizeV1) return -EINVAL;
  if (attach.flags != 0) {
    bool pasid = device_.mock().config.kernel.version.AtLeast(6, 15);
    if (!pasid || (attach.flags & ~uapi::kDeviceAttachPasid) != 0 || attach.argsz < sizeof attach)
      return -EINVAL;
    return -EOPNOTSUPP;
  }
  std::lock_guard hold(device_.group->lock);
  if (!iommufd_->UseIoas(attach.pt_id)) return -ENOENT;
  if (ioas_ != 0) iommufd_->ReleaseIoas(ioas_);
  ioas_ = attach.pt_id;
  return CopyToUser(arg + offsetof(uapi::DeviceAttachIommufdPt, pt_id), &attach.pt_id, 4) ? 0 : -EFAULT;
}

long DeviceFile::Detach(uintptr_t arg) {
  uapi::DeviceDetachIommufdPt detach{};
  if (!CopyFromUser(&detach, arg, uapi::kDeviceDetachIommufdPtSizeV1)) return -EFAULT;
  if (detach.argsz < uapi::kDeviceDetachIommufdPtSizeV1) return -EINVAL;
  if (detach.flags == 0) {
    std::lock_guard hold(device_.group->lock);
    if (ioas_ != 0) iommufd_->ReleaseIoas(ioas_);
    ioas_ = 0;
    return 0;
  }
  bool pasid = device_.mock().config.kernel.version.AtLeast(6, 15);
  if (!pasid || (detach.flags & ~uapi::kDeviceDetachPasid) != 0 || detach.argsz < sizeof detach)
    return -EINVAL;
  return -EOPNOTSUPP;
}

uint32_t IommufdFile::NewObject() {
  std::lock_guard hold(lock_);
  objects_[next_] = 1;
  return next_++;
}

void IommufdFile::RemoveObject(uint32_t id) {
  std::lock_guard hold(lock_);
  objects_.erase(id);
}

bool IommufdFile::UseIoas(uint32_t id) {
  std::lock_guard hold(lock_);
  if (!ioas_.contains(id)) return false;
  objects_[id]++;
  return true;
}

void IommufdFile::ReleaseIoas(uint32_t id) {
  std::lock_guard hold(lock_);
  objects_[id]--;
}

void IommufdFile::MakeCompat() {
  std::lock_guard hold(lock_);
  if (compat_) return;
  compat_ = true;
  objects_[next_] = 0;
  ioas_.insert(next_++);
}

long IommufdFile::Ioctl(Call&, unsigned long request, uintptr_t arg) {
  switch (request) {
    case uapi::kIommuIoasAlloc: {
      uapi::IommuIoasAlloc alloc;
      if (!CopyFromUser(&alloc.size, arg, 4)) return -EFAULT;
      if (alloc.size < sizeof alloc) return -EINVAL;
      if (int e = CopyStruct(&alloc, sizeof alloc, arg, alloc.size); e != 0) return e;
      if (alloc.flags != 0) return -EOPNOTSUPP;
      std::lock_guard hold(lock_);
      alloc.out_ioas_id = next_;
      if (!CopyToUser(arg, &alloc, sizeof alloc)) return -EFAULT;
      objects_[next_] = 0;
      ioas_.insert(next_++);
      return 0;
    }
    case uapi::kIommuDestroy: {
      uapi::IommuDestroy destroy;
      if (!CopyFromUser(&destroy.size, arg, 4)) return -EFAULT;
      if (destroy.size < sizeof destroy) return -EINVAL;
      if (int e = CopyStruct(&destroy, sizeof destroy, arg, destroy.size); e != 0) return e;
      std::lock_guard hold(lock_);
      auto object = objects_.find(destroy.id);
      if (object == objects_.end()) return -ENOENT;
      if (object->second != 0) return -EBUSY;
      ioas_.erase(destroy.id);
      objects_.erase(object);
      return 0;
    }
    /* the old container's interface, once a group uses this as its container */
    case uapi::kGetApiVersion:
      return uapi::kApiVersion;
    case uapi::kCheckExtension:
      return arg == uapi::kType1Iommu || arg == uapi::kType1v2Iommu ? 1 : 0;
    case uapi::kSetIommu: {
      if (arg != uapi::kType1Iommu && arg != uapi::kType1v2Iommu) return -EINVAL;
      std::lock_guard hold(lock_);
      return compat_ ? 0 : -ENODEV;
    }
    default:
      return -ENOTTY;
  }
}

}  // namespace vfm::mock
