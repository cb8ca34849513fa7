// The migration state machine as the kernel's core has it (uAPI §2.1): a table of first steps, filtered by
// what a device supports. Drivers walk it one step at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vfm::mock {

// The next state on the way from `cur` to `want`; nullopt where the kernel answers EINVAL. Any number may be
// given.
std::optional<uint32_t> NextState(uint64_t flags, uint32_t cur, uint32_t want);

// "STOP_COPY", or the number as text.
std::string StateName(uint32_t state);
std::optional<uint32_t> StateOf(std::string_view name);
// "STOP>STOP_COPY"
std::string ArcName(uint32_t from, uint32_t to);
bool IsArc(std::string_view text);

}  // namespace vfm::mock
