// Eventfds, and how drivers take them: VFIO_DEVICE_SET_IRQS.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "mock/file.h"
#include "mock/wait.h"
#include "vfio/uapi.h"

namespace vfm::mock {

class Mock;

class EventFile : public File {
 public:
  EventFile(uint64_t initial, int flags) : File(O_RDWR | flags), count_(initial) {}
  const char* kind() const override { return "eventfd"; }
  std::string name() const override { return "anon_inode:[eventfd]"; }
  ssize_t Read(Call& call, void* buf, size_t len) override;
  ssize_t Write(Call& call, const void* buf, size_t len) override;
  short Poll() override;
  Event* Changes() override { return &changes_; }
  void Signal();

 private:
  std::mutex lock_;
  uint64_t count_;
  Event changes_;
};

// A request as the kernel's core checks it before a driver sees it. 0 or a negated errno.
struct IrqRequest {
  uapi::IrqSet head{};
  std::vector<uint8_t> data;  // as many bytes or descriptors as `head.count`
};
int ReadIrqRequest(uintptr_t arg, const std::function<uint32_t(uint32_t index)>& count, IrqRequest& out);

// The eventfd that descriptor `i` of the request names; null with 0 for -1, or -EBADF, -EINVAL.
int EventOf(Mock& mock, const IrqRequest& request, uint32_t i, std::shared_ptr<EventFile>& out);

// The interrupts of a vfio-pci device: one way at a time, and beside it the request for the device.
class PciIrqs {
 public:
  long Set(Mock& mock, uintptr_t arg, const std::function<uint32_t(uint32_t index)>& count);
  // MSI, MSI-X or INTx is what the user of the device gave eventfds for.
  bool Uses(uint32_t index) const;
  // Somebody wants the device back. False when its user has not asked to hear of it.
  bool Request();
  void Clear();

 private:
  long SetVectors(Mock& mock, const IrqRequest& request);
  long SetRequest(Mock& mock, const IrqRequest& request);

  mutable std::mutex lock_;
  uint32_t type_ = UINT32_MAX;
  std::vector<std::shared_ptr<EventFile>> vectors_;
  std::shared_ptr<EventFile> request_;
};

}  // namespace vfm::mock
