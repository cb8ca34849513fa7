// Names of the errnos a scenario can ask for, both ways.
#pragma once

#include <string>
#include <string_view>

namespace vfm::mock {

// 0 when the name is unknown.
int ErrnoOf(std::string_view name);
// "EINVAL", or the number as text.
std::string ErrnoName(int number);

}  // namespace vfm::mock
