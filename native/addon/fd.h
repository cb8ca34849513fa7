/* Owners of a kernel table and of a descriptor. No N-API. */
#ifndef VFIO_MIGRATE_ADDON_FD_H
#define VFIO_MIGRATE_ADDON_FD_H

#include <utility>

#include "../kernel/kernel.h"

namespace vfm {

/* One reference to a kernel table. Whatever holds a descriptor holds one, so the table outlives its last
 * descriptor. */
class KernelRef {
 public:
  KernelRef() = default;
  /* Takes over a reference that the caller has. */
  static KernelRef Adopt(vfm_kernel* table) { return KernelRef(table); }
  KernelRef(const KernelRef& other) : table_(other.table_) {
    if (table_) table_->retain(table_->ctx);
  }
  KernelRef(KernelRef&& other) noexcept : table_(std::exchange(other.table_, nullptr)) {}
  KernelRef& operator=(KernelRef other) noexcept {
    std::swap(table_, other.table_);
    return *this;
  }
  ~KernelRef() {
    if (table_) table_->release(table_->ctx);
  }

  vfm_kernel* get() const { return table_; }
  vfm_kernel* operator->() const { return table_; }

 private:
  explicit KernelRef(vfm_kernel* table) : table_(table) {}
  vfm_kernel* table_ = nullptr;
};

/* The one owner of a descriptor: closes it exactly once, through the kernel that it belongs to. 0 is a
 * descriptor. */
class Fd {
 public:
  Fd() = default;
  Fd(KernelRef kernel, int fd) : kernel_(std::move(kernel)), fd_(fd) {}
  Fd(Fd&& other) noexcept : kernel_(std::move(other.kernel_)), fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Close();
      kernel_ = std::move(other.kernel_);
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { Close(); }

  /* Idempotent. The result of close(2) is of no use: the descriptor is gone whatever it says. */
  void Close() {
    if (fd_ < 0) return;
    kernel_->close(kernel_->ctx, std::exchange(fd_, -1));
    kernel_ = KernelRef();
  }

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }
  const KernelRef& kernel() const { return kernel_; }

 private:
  KernelRef kernel_;
  int fd_ = -1;
};

}  // namespace vfm
#endif
