#include "mock/group.h"

#include <algorithm>

#include "mock/mock.h"
#include "mock/user.h"
#include "vfio/uapi.h"

namespace vfm::mock {

bool Group::Emulated() const {
  return std::all_of(devices.begin(), devices.end(),
                     [](Device* d) { return d->config()->kind == Kind::Mtty; });
}

bool Group::Viable() const {
  if (config.viable) return *config.viable;
  return std::all_of(devices.begin(), devices.end(), [](Device* d) {
    auto c = d->config();
    return c->driver.empty() || c->vfio || c->driver == "pcieport" || c->driver == "pci-stub";
  });
}

std::string Group::NodeName() const {
  return (config.noiommu ? "noiommu-" : "") + std::to_string(number);
}

int Group::Claim() {
  for (size_t i = 0; i < devices.size(); i++) {
    int e = devices[i]->driver() == nullptr ? 0 : devices[i]->driver()->Claim();
    if (e == 0) continue;
    while (i-- > 0)
      if (devices[i]->driver() != nullptr) devices[i]->driver()->Unclaim();
    return e;
  }
  return 0;
}

void Group::Unclaim() {
  for (Device* d : devices)
    if (d->driver() != nullptr) d->driver()->Unclaim();
}

FilePtr Group::OpenNode(int flags, int& error) {
  std::lock_guard hold(lock);
  if (config.noiommu && !mock.config.kernel.cap_sys_rawio)
    error = -EPERM;
  else if (held || is_open || cdev_opens != 0)
    error = -EBUSY;
  else
    error = Claim();
  if (error != 0) return nullptr;
  auto file = std::make_shared<GroupFile>(*this, flags);
  is_open = true;
  opened = file;
  return file;
}

std::string GroupFile::name() const {
  return "/dev/vfio/" + group_.NodeName();
}

GroupFile::~GroupFile() {
  std::lock_guard hold(group_.lock);
  if (group_.container != nullptr) group_.container->Detach(group_);
  group_.container.reset();
  group_.iommufd.reset();
  group_.container_users = 0;
  group_.is_open = false;
  group_.Unclaim();
}

long GroupFile::Ioctl(Call& call, unsigned long request, uintptr_t arg) {
  switch (request) {
    case uapi::kGroupGetDeviceFd:
      return GetDeviceFd(call, arg);
    case uapi::kGroupGetStatus:
      return GetStatus(arg);
    case uapi::kGroupSetContainer:
      return SetContainer(arg);
    case uapi::kGroupUnsetContainer:
      return UnsetContainer();
    default:
      return -ENOTTY;
  }
}

long GroupFile::GetStatus(uintptr_t arg) {
  uapi::GroupStatus status;
  if (!CopyFromUser(&status, arg, sizeof status)) return -EFAULT;
  if (status.argsz < sizeof status) return -EINVAL;
  {
    std::lock_guard hold(group_.lock);
    if (group_.container != nullptr || group_.iommufd != nullptr)
      status.flags = uapi::kGroupFlagsContainerSet | uapi::kGroupFlagsViable;
    else
      status.flags = group_.Viable() ? uapi::kGroupFlagsViable : 0;
  }
  return CopyToUser(arg, &status, sizeof status) ? 0 : -EFAULT;
}

long GroupFile::SetContainer(uintptr_t arg) {
  int32_t fd;
  if (!CopyFromUser(&fd, arg, sizeof fd)) return -EFAULT;
  FilePtr file = group_.mock.fds.Get(fd);
  if (file == nullptr) return -EBADF;
  std::lock_guard hold(group_.lock);
  if (group_.container != nullptr || group_.iommufd != nullptr) return -EINVAL;
  if (auto container = std::dynamic_pointer_cast<ContainerFile>(file)) {
    if (int e = container->Attach(group_); e != 0) return e;
    group_.container = std::move(container);
    group_.container_users = 1;
    return 0;
  }
  if (auto iommufd = std::dynamic_pointer_cast<IommufdFile>(file)) {
    iommufd->MakeCompat();
    group_.iommufd = std::move(iommufd);
    return 0;
  }
  return -EBADFD;
}

long GroupFile::UnsetContainer() {
  std::lock_guard hold(group_.lock);
  if (group_.container == nullptr && group_.iommufd == nullptr) return -EINVAL;
  if (group_.container != nullptr) {
    if (group_.container_users != 1) return -EBUSY;
    group_.container->Detach(group_);
    group_.container.reset();
    group_.container_users = 0;
  }
  group_.iommufd.reset();
  return 0;
}

long GroupFile::GetDeviceFd(Call& call, uintptr_t arg) {
  std::string name;
  if (int e = StringFromUser(name, arg, 4096); e != 0) return e;
  Device* device = nullptr;
  for (Device* d : group_.devices) {
    if (d->driver() == nullptr) continue;
    int match = d->Match(name);
    if (match < 0) return match;
    if (match != 0) {
      device = d;
      break;
    }
  }
  if (device == nullptr) return -ENODEV;
  call.device = device->address();
  std::shared_ptr<DeviceFile> file;
  {
    std::lock_guard hold(group_.lock);
    if (group_.container == nullptr && group_.iommufd == nullptr) return -EINVAL;
    if (group_.container != nullptr && !group_.container->HasIommu()) return -EINVAL;
    if (group_.config.noiommu && !group_.mock.config.kernel.cap_sys_rawio) return -EPERM;
    // With an iommufd the group's owner is claimed only now.
    if (int e = device->Open(true, group_.iommufd != nullptr); e != 0) return e;
    if (group_.container != nullptr && device->open_count() == 1) group_.container_users++;
    file = std::make_shared<DeviceFile>(*device, O_RDWR, shared_from_this());
    file->Grant();
  }
  return group_.mock.InstallFd(call, std::move(file), true);
}

// ---- container
// ----------------------------------------------------------------------------------------------------

bool ContainerFile::Offers(uint64_t type) const {
  const KernelConfig& k = mock_.config.kernel;
  if (type == uapi::kNoiommuIommu) return k.noiommu;
  return std::find(k.iommu_types.begin(), k.iommu_types.end(), type) != k.iommu_types.end();
}

// What the type1 driver knows beside the types in the scenario. Some of it depends on what is in the
// container.
long ContainerFile::Type1Extension(uint64_t extension) const {
  if (!Offers(uapi::kType1Iommu) && !Offers(uapi::kType1v2Iommu)) return 0;
  switch (extension) {
    case uapi::kType1NestingIommu:
      return mock_.config.kernel.version.AtLeast(6, 13) ? 0 : 1;
    case uapi::kUnmapAll:
      return 1;
    case uapi::kDmaCcIommu:
      return iommu_ != 0 ? 1 : 0;
    case uapi::kUpdateVaddr: {
      bool emulated =
          std::any_of(groups_.begin(), groups_.end(), [](const Group* g) { return g->Emulated(); });
      return iommu_ != 0 && !emulated ? 1 : 0;
    }
    default:
      return 0;
  }
}

long ContainerFile::CheckExtension(uint64_t type) {
  std::lock_guard hold(lock_);
  if (type == uapi::kNoiommuIommu) return Offers(type) && (groups_.empty() || noiommu_) ? 1 : 0;
  if (mock_.config.kernel.noiommu && !groups_.empty() && noiommu_) return 0;
  return Offers(type) ? 1 : Type1Extension(type);
}

long ContainerFile::SetIommu(uint64_t type) {
  std::lock_guard hold(lock_);
  if (groups_.empty() || iommu_ != 0) return -EINVAL;
  bool wants_noiommu = type == uapi::kNoiommuIommu;
  bool known = Offers(type) || Type1Extension(type) != 0;
  if (!known || wants_noiommu != noiommu_) return -ENODEV;
  // An extension that is no type.
  if (!Offers(type) && type != uapi::kType1NestingIommu) return -EINVAL;
  if (wants_noiommu && !mock_.config.kernel.cap_sys_rawio) return -EPERM;
  iommu_ = type;
  return 0;
}

long ContainerFile::Ioctl(Call&, unsigned long request, uintptr_t arg) {
  switch (request) {
    case uapi::kGetApiVersion:
      return uapi::kApiVersion;
    case uapi::kCheckExtension:
      return CheckExtension(arg);
    case uapi::kSetIommu:
      return SetIommu(arg);
    default:
      return HasIommu() ? -ENOTTY : -EINVAL;
  }
}

bool ContainerFile::HasIommu() {
  std::lock_guard hold(lock_);
  return iommu_ != 0;
}

int ContainerFile::Attach(Group& group) {
  if (group.config.noiommu && !mock_.config.kernel.cap_sys_rawio) return -EPERM;
  std::lock_guard hold(lock_);
  if (!groups_.empty() && noiommu_ != group.config.noiommu) return -EPERM;
  if (!group.config.noiommu && !group.Emulated() && !group.Viable()) return -EPERM;
  noiommu_ = group.config.noiommu;
  groups_.insert(&group);
  return 0;
}

void ContainerFile::Detach(Group& group) {
  std::lock_guard hold(lock_);
  groups_.erase(&group);
  // The last group takes the IOMMU with it.
  if (groups_.empty()) iommu_ = 0;
}

}  // namespace vfm::mock
