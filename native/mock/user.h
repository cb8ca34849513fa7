// Access to the caller's memory with the kernel's answer to a bad pointer: EFAULT instead of a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vfm::mock {

bool CopyFromUser(void* to, uintptr_t from, size_t n);
bool CopyToUser(uintptr_t to, const void* from, size_t n);
// For buffers of any size: looks at the first and the last byte only, since this is done for every MiB of a
// stream.
bool UserCanRead(const void* p, size_t n);
bool UserCanWrite(void* p, size_t n);
// A NUL-terminated string of fewer than `max` bytes; -EFAULT, or -EINVAL when it is longer. 0 when done.
int StringFromUser(std::string& to, uintptr_t from, size_t max);

}  // namespace vfm::mock
