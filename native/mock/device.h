// A device and the descriptors that name it: by its group, or by its own character device (uAPI §1.9, §1.10).
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "mock/driver.h"
#include "mock/file.h"
#include "mock/scenario.h"

namespace vfm::mock {

class Group;
class GroupFile;
class IommufdFile;
class Mock;

class Device {
 public:
  // `index` is N of vfioN; -1 when the device is not bound to vfio.
  Device(Mock& mock, DeviceConfig config, int index);

  Mock& mock() const { return mock_; }
  const std::string& address() const { return address_; }
  int index() const { return index_; }
  // Never null for a device that can be opened.
  Group* group = nullptr;
  // A copy that stays as it is while the knobs change.
  std::shared_ptr<const DeviceConfig> config() const;
  void set_config(DeviceConfig config);
  // Null when it is not bound to vfio.
  Driver* driver() const { return driver_.get(); }

  // Opt-in to feature 12: until the last close.
  bool precopy_info_v2() const { return precopy_info_v2_; }
  void set_precopy_info_v2() { precopy_info_v2_ = true; }
  int open_count() const { return open_count_; }

  // vfio_df_open and vfio_df_close; the group's lock is held.
  int Open(bool by_group, bool claim_dma);
  void Close();

  // Is `token` (36 characters, or empty for none) what this device wants? 0 or a negated errno.
  int CheckToken(const std::string& token) const;
  // Does this name mean the device? 1, 0, or a negated errno.
  int Match(const std::string& name) const;

 private:
  Mock& mock_;
  const std::string address_;
  const int index_;
  mutable std::mutex config_lock_;
  std::shared_ptr<const DeviceConfig> config_;
  std::unique_ptr<Driver> driver_;
  std::atomic<int> open_count_{0};
  std::atomic<bool> precopy_info_v2_{false};
};

class DeviceFile : public File {
 public:
  // `group`: the open group that it came from, which it keeps open; null for the cdev.
  DeviceFile(Device& device, int flags, std::shared_ptr<GroupFile> group);
  ~DeviceFile() override;

  const char* kind() const override { return "device"; }
  std::string name() const override;
  Device* device() const override { return &device_; }
  long Ioctl(Call& call, unsigned long request, uintptr_t arg) override;
  ssize_t Read(Call& call, void* buf, size_t len) override;
  ssize_t Write(Call& call, const void* buf, size_t len) override;
  ssize_t Pread(Call& call, void* buf, size_t len, int64_t offset) override;
  ssize_t Pwrite(Call& call, const void* buf, size_t len, int64_t offset) override;

  // From the group path: the device is open now.
  void Grant() { granted_ = true; }

 private:
  long Bind(uintptr_t arg);
  long BindLocked(int iommufd, uintptr_t arg, bool has_token, uintptr_t token);
  long Attach(uintptr_t arg);
  long Detach(uintptr_t arg);
  // The group's lock is held.
  void LeaveIommufd();

  Device& device_;
  const std::shared_ptr<GroupFile> group_;
  std::atomic<bool> granted_{false};
  /* guarded by the group's lock */
  std::shared_ptr<IommufdFile> iommufd_;
  uint32_t devid_ = 0;
  uint32_t ioas_ = 0;  // what it is attached to
  std::atomic<int64_t> pos_{0};
};

// /dev/iommu: only what opening a device needs. Objects are numbers.
class IommufdFile : public File {
 public:
  IommufdFile(int flags) : File(flags) {}
  const char* kind() const override { return "iommufd"; }
  std::string name() const override { return "/dev/iommu"; }
  long Ioctl(Call& call, unsigned long request, uintptr_t arg) override;

  // An object whose maker uses it, so that nobody else destroys it.
  uint32_t NewObject();
  void RemoveObject(uint32_t id);
  // Counts a user of an address space; false when there is none of that number.
  bool UseIoas(uint32_t id);
  void ReleaseIoas(uint32_t id);
  // GROUP_SET_CONTAINER with an iommufd makes an address space for the old interface.
  void MakeCompat();

 private:
  std::mutex lock_;
  uint32_t next_ = 1;
  std::map<uint32_t, uint32_t> objects_;  // by number: how many use it
  std::set<uint32_t> ioas_;
  bool compat_ = false;
};

// VFIO_DEVICE_FEATURE in the kernel's order of checks (uAPI §1.3).
long DeviceFeature(Device& device, Call& call, uintptr_t arg);
// vfio_check_feature: 1 to go on, 0 for a probe, or -EINVAL. `size` is that of the payload.
int CheckFeature(uint32_t flags, size_t size, uint32_t ops, size_t least);

}  // namespace vfm::mock
