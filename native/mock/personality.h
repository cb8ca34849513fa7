// How the drivers in the kernel differ, as rows of a table (uAPI §1.8, §2.4, §4). A row is what a device
// starts from; a scenario's own members override its cells.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mock/scenario.h"

namespace vfm::mock {

// Sets everything that the driver of this name decides. False when there is none.
bool ApplyPersonality(std::string_view name, const KernelVersion& kernel, DeviceConfig& device);

std::vector<std::string> PersonalityNames();

}  // namespace vfm::mock
