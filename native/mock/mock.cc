#include "mock/mock.h"

#include <algorithm>

namespace vfm::mock {

Mock::Mock(Scenario scenario, std::string state_directory)
    : config(std::move(scenario)),
      state_dir(std::move(state_directory)),
      fds(config.kernel.fd_start, config.kernel.fd_limit),
      log(config.kernel.log_size) {
  for (const auto& [number, group] : config.groups)
    groups[number] = std::make_unique<Group>(*this, number, group);
  int index = 0;
  for (const DeviceConfig& d : config.devices) {
    devices.push_back(std::make_unique<Device>(*this, d, d.vfio ? index++ : -1));
    if (!d.has_group) continue;
    Group& group = *groups[d.group];
    devices.back()->group = &group;
    group.devices.push_back(devices.back().get());
    group.held = group.config.held;
  }
  SetFaults(config.faults);
  BuildTree(*this);
}

Mock::~Mock() {
  fds.CloseAll();
}

Device* Mock::FindDevice(const std::string& address) const {
  for (const auto& d : devices)
    if (d->address() == address) return d.get();
  return nullptr;
}

int Mock::UnknownFeatureErrno() const {
  const KernelConfig& k = config.kernel;
  if (k.unknown_feature_errno != 0) return k.unknown_feature_errno;
  // 6.18, and the stable releases it was taken to; of those only 6.12.117 has been looked at.
  if (k.version.AtLeast(6, 18)) return ENOTTY;
  return k.version.major == 6 && k.version.minor == 12 && k.version.patch >= 117 ? ENOTTY : EINVAL;
}

void Mock::SetFaults(std::vector<FaultConfig> list) {
  streams.Clear(std::any_of(list.begin(), list.end(),
                            [](const FaultConfig& f) { return f.stream != StreamFault::None; }));
  faults.Set(std::move(list));
}

int Mock::InstallFd(Call& call, FilePtr file, bool cloexec) {
  if (auto fault = faults.Meet(call, "alloc-fd")) return -fault->error;
  return fds.Install(std::move(file), cloexec);
}

}  // namespace vfm::mock
