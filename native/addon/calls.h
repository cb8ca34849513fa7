/* The calls of a kernel table as they stand, for tests that compare kernels: any descriptor, any argument,
 * any order. No N-API. */
#ifndef VFIO_MIGRATE_ADDON_CALLS_H
#define VFIO_MIGRATE_ADDON_CALLS_H

#include <string>
#include <utility>
#include <vector>

#include "device.h"

namespace vfm {

struct CallArgs {
  int fd = -1;
  /* What a pointer points to; the kernel may write to it. */
  Bytes memory;
  /* Bytes of `memory` that are the caller's; behind them lies room for a kernel that writes more than the
   * struct says. */
  size_t size = 0;
  /* Instead of a pointer to `memory`: a value, or a pointer that is to be bad. */
  std::optional<uint64_t> value;
  /* read, write, pread, pwrite. */
  uint64_t length = 0;
  int64_t offset = 0;
  /* ioctl: the request; fcntl: the command; openat: the flags; poll: the events. */
  uint32_t number = 0;

  uintptr_t arg() {
    return value ? static_cast<uintptr_t>(*value) : reinterpret_cast<uintptr_t>(memory.data());
  }
};

class Calls final : public Worker {
 public:
  using Function = long (*)(vfm_kernel*, CallArgs&);

  Calls(std::shared_ptr<Delivery> delivery, KernelRef kernel)
      : Worker(std::move(delivery)), kernel_(std::move(kernel)) {}

  /* Null when there is no call of that name. Any thread. */
  static Function Find(const std::string& name);
  /* The call's result, or its negated errno. */
  Outcome<int> Make(Function function, CallArgs& args);

 private:
  const KernelRef kernel_;
};

}  // namespace vfm
#endif
