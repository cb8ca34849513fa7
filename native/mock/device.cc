#include "mock/device.h"

#include "mock/group.h"
#include "mock/mock.h"
#include "mock/user.h"
#include "vfio/uapi.h"

namespace vfm::mock {

Device::Device(Mock& mock, DeviceConfig config, int index)
    : mock_(mock),
      address_(config.address),
      index_(index),
      config_(std::make_shared<const DeviceConfig>(std::move(config))) {
  if (!config_->vfio) return;
  driver_ = config_->kind == Kind::Mtty ? MakeMtty(*this) : MakePci(*this);
}

std::shared_ptr<const DeviceConfig> Device::config() const {
  std::lock_guard hold(config_lock_);
  return config_;
}

void Device::set_config(DeviceConfig config) {
  auto next = std::make_shared<const DeviceConfig>(std::move(config));
  std::lock_guard hold(config_lock_);
  config_ = std::move(next);
}

int Device::Open(bool by_group, bool claim_dma) {
  if (open_count_ != 0 && !by_group) return -EINVAL;
  if (open_count_ == 0) {
    if (claim_dma && !group->Emulated() && !group->Viable()) return -EPERM;
    if (int e = config()->open_errno; e != 0) return -e;
    driver_->OpenDevice();
  }
  open_count_++;
  return 0;
}

void Device::Close() {
  if (open_count_ == 1) {
    driver_->CloseDevice();
    precopy_info_v2_ = false;
  }
  open_count_--;
}

int Device::CheckToken(const std::string& token) const {
  auto c = config();
  if (!c->physfn.empty()) {
    Device* pf = mock_.FindDevice(c->physfn);
    auto pf_config = pf == nullptr ? nullptr : pf->config();
    // Only a PF that is bound to vfio-pci itself has a token to share.
    if (pf_config == nullptr || pf_config->vf_token.empty()) return 0;
    return token == pf_config->vf_token ? 0 : -EACCES;
  }
  if (!c->vf_token.empty()) {
    // A PF in use by nobody takes a new token; here it stays what the scenario says.
    return token.empty() || token == c->vf_token ? 0 : -EACCES;
  }
  return token.empty() ? 0 : -EINVAL;
}

int Device::Match(const std::string& name) const {
  if (config()->kind == Kind::Mtty) return name == address_;
  if (!name.starts_with(address_)) return 0;
  std::string token;
  std::string_view rest = std::string_view(name).substr(address_.size());
  if (!rest.empty() && rest[0] != ' ') return 0;
  static constexpr std::string_view kOption = "vf_token=";
  while (!rest.empty()) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    if (rest.empty()) break;
    if (!rest.starts_with(kOption) || !token.empty()) return -EINVAL;
    rest.remove_prefix(kOption.size());
    if (rest.size() < 36) return -EINVAL;
    token = rest.substr(0, 36);
    for (size_t i = 0; i < token.size(); i++) {
      bool dash = i == 8 || i == 13 || i == 18 || i == 23;
      if (dash ? token[i] != '-' : !isxdigit(static_cast<unsigned char>(token[i]))) return -EINVAL;
      token[i] = static_cast<char>(tolower(token[i]));
    }
    rest.remove_prefix(36);
  }
  int e = CheckToken(token);
  return e != 0 ? e : 1;
}

DeviceFile::DeviceFile(Device& device, int flags, std::shared_ptr<GroupFile> group)
    : File(flags), device_(device), group_(std::move(group)) {}

DeviceFile::~DeviceFile() {
  Group& group = *device_.group;
  std::lock_guard hold(group.lock);
  if (!granted_) return;
  device_.Close();
  if (group_ != nullptr) {
    if (group.container != nullptr && device_.open_count() == 0) group.container_users--;
  } else {
    group.cdev_opens--;
    LeaveIommufd();
    if (group.cdev_opens == 0) group.Unclaim();
  }
  // group_ is released after this lock is: its own closing takes it again.
}

std::string DeviceFile::name() const {
  return group_ != nullptr ? "anon_inode:[vfio-device]"
                           : "/dev/vfio/devices/vfio" + std::to_string(device_.index());
}

long DeviceFile::Ioctl(Call& call, unsigned long request, uintptr_t arg) {
  if (request == uapi::kDeviceBindIommufd) {
    if (!device_.mock().config.kernel.cdev) return -ENOTTY;
    return Bind(arg);
  }
  if (!granted_) return -EINVAL;
  if (group_ == nullptr) {
    if (request == uapi::kDeviceAttachIommufdPt) return Attach(arg);
    if (request == uapi::kDeviceDetachIommufdPt) return Detach(arg);
  }
  if (request == uapi::kDeviceFeature) return DeviceFeature(device_, call, arg);
  if (request == uapi::kDeviceReset) return device_.driver()->Reset(call);
  return device_.driver()->Ioctl(call, request, arg);
}

ssize_t DeviceFile::Pread(Call&, void* buf, size_t len, int64_t offset) {
  if (!granted_ || offset < 0) return -EINVAL;
  return device_.driver()->ReadRegions(buf, len, offset);
}

ssize_t DeviceFile::Pwrite(Call&, const void* buf, size_t len, int64_t offset) {
  if (!granted_ || offset < 0) return -EINVAL;
  return device_.driver()->WriteRegions(buf, len, offset);
}

ssize_t DeviceFile::Read(Call& call, void* buf, size_t len) {
  ssize_t n = Pread(call, buf, len, pos_);
  if (n > 0) pos_ += n;
  return n;
}

ssize_t DeviceFile::Write(Call& call, const void* buf, size_t len) {
  ssize_t n = Pwrite(call, buf, len, pos_);
  if (n > 0) pos_ += n;
  return n;
}

}  // namespace vfm::mock
