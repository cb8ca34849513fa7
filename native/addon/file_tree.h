/* The files of /dev, /sys and /proc as one kernel shows them, and the thread that reads them. No N-API. */
#ifndef VFIO_MIGRATE_ADDON_FILE_TREE_H
#define VFIO_MIGRATE_ADDON_FILE_TREE_H

#include <string>
#include <utility>
#include <vector>

#include "device.h"

namespace vfm {

class FileTree final : public Worker {
 public:
  FileTree(std::shared_ptr<Delivery> delivery, KernelRef kernel)
      : Worker(std::move(delivery)), kernel_(std::move(kernel)) {}

  const KernelRef& kernel() const { return kernel_; }

  Outcome<Bytes> ReadFile(const std::string& path, size_t max);
  /* One write of everything; a short one is EIO, because half an attribute is none. */
  Outcome<Nothing> WriteFile(const std::string& path, const Bytes& data);
  /* Without `.` and `..`, sorted bytewise. */
  Outcome<std::vector<std::string>> Readdir(const std::string& path);
  Outcome<std::string> Readlink(const std::string& path);
  Outcome<vfm_stat> Stat(const std::string& path, bool nofollow);
  Outcome<Nothing> Access(const std::string& path, int mode);

 private:
  Outcome<Fd> Open(const std::string& path, int flags);
  const KernelRef kernel_;
};

}  // namespace vfm
#endif
