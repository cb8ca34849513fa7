// Groups and containers: the way to a device that every kernel has (uAPI §1.9).
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "mock/device.h"
#include "mock/file.h"
#include "mock/scenario.h"

namespace vfm::mock {

class ContainerFile;
class GroupFile;

class Group {
 public:
  Group(Mock& mock, uint32_t number, GroupConfig config)
      : mock(mock), number(number), config(std::move(config)) {}

  // All devices that can be opened are emulated: there is no IOMMU group to own.
  bool Emulated() const;
  // No host driver owns a device of the group.
  bool Viable() const;
  std::string NodeName() const;
  // open(2) of the group's node.
  FilePtr OpenNode(int flags, int& error);
  // Keeps other processes that share the state directory away from all its devices: 0 or -EBUSY.
  int Claim();
  void Unclaim();

  Mock& mock;
  const uint32_t number;
  const GroupConfig config;
  std::vector<Device*> devices;

  // Plays the kernel's group_lock and the lock of its devices' set: opening and closing.
  std::mutex lock;
  /* under lock */
  bool held = false;  // open in another process
  std::weak_ptr<GroupFile> opened;
  bool is_open = false;
  std::shared_ptr<ContainerFile> container;
  std::shared_ptr<IommufdFile> iommufd;
  int container_users = 0;
  int cdev_opens = 0;
};

class GroupFile : public File, public std::enable_shared_from_this<GroupFile> {
 public:
  GroupFile(Group& group, int flags) : File(flags), group_(group) {}
  ~GroupFile() override;
  const char* kind() const override { return "group"; }
  std::string name() const override;
  long Ioctl(Call& call, unsigned long request, uintptr_t arg) override;

 private:
  long GetStatus(uintptr_t arg);
  long SetContainer(uintptr_t arg);
  long UnsetContainer();
  long GetDeviceFd(Call& call, uintptr_t arg);

  Group& group_;
};

class ContainerFile : public File {
 public:
  ContainerFile(Mock& mock, int flags) : File(flags), mock_(mock) {}
  const char* kind() const override { return "container"; }
  std::string name() const override { return "/dev/vfio/vfio"; }
  long Ioctl(Call& call, unsigned long request, uintptr_t arg) override;

  int Attach(Group& group);
  void Detach(Group& group);
  bool HasIommu();

 private:
  long CheckExtension(uint64_t type);
  long Type1Extension(uint64_t extension) const;
  long SetIommu(uint64_t type);
  bool Offers(uint64_t type) const;

  Mock& mock_;
  std::mutex lock_;
  std::set<Group*> groups_;
  uint64_t iommu_ = 0;
  bool noiommu_ = false;
};

}  // namespace vfm::mock
