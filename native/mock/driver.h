// What a bus driver does for one device: the walk through the migration states, which all drivers share, and
// the operations in which they differ. Each kind of device (kinds/) is one class.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mock/dirty.h"
#include "mock/file.h"
#include "mock/json.h"
#include "mock/migf.h"
#include "vfio/uapi.h"

namespace vfm::mock {

class Device;

class Driver {
 public:
  explicit Driver(Device& device) : device_(device) {}
  virtual ~Driver() = default;

  Device& device() const { return device_; }

  /* migration: what FEATURE_MIGRATION and its companions call; `call` gets the details for the log */
  uint64_t Flags() const;  // as this kernel's release knows them
  long SetState(Call& call, uint32_t want, FilePtr& file);
  long GetState(Call& call, uint32_t& state);
  virtual uint64_t DataSize() const = 0;

  virtual bool HasLogOps() const;
  long LogStart(uint64_t& page_size, std::vector<uapi::FeatureDmaLoggingRange> ranges);
  long LogStop();
  // Sets bits of the caller's bitmap.
  long LogReport(const uapi::FeatureDmaLoggingReport& report);
  // The device writes there, as far as it is logged.
  void Dma(uint64_t iova, uint64_t length);

  /* the rest of the device */
  long Reset(Call& call);
  virtual long Ioctl(Call& call, unsigned long request, uintptr_t arg) = 0;
  // VFIO_DEVICE_FEATURE that the core does not know; only asked when the driver has that operation.
  virtual long Feature(Call& call, uint32_t flags, uintptr_t payload, size_t size);
  virtual ssize_t ReadRegions(void* buf, size_t len, int64_t pos) = 0;
  virtual ssize_t WriteRegions(const void* buf, size_t len, int64_t pos) = 0;

  // First open and last close.
  virtual void OpenDevice() {}
  virtual void CloseDevice();
  // The device is taken from other processes that share the state directory: 0, or -EBUSY.
  virtual int Claim() { return 0; }
  virtual void Unclaim() {}

  // Somebody wants the device back (vfio_device_ops.request). False when its user has not asked to hear of
  // it.
  virtual bool Request() { return false; }

  // Runs `work` with the state, while it cannot change.
  long WithState(const std::function<long(uint32_t)>& work);
  // Without waiting for a transition.
  virtual uint32_t StateNow() { return state_.load(); }
  // Behind the owner's back.
  void ForceState(uint32_t state);
  // For the control interface.
  virtual void Describe(json::Value& out);

 protected:
  // One arc. 0, with a file when a session starts; or a negated errno, and the state stays.
  virtual int Step(uint32_t from, uint32_t to, FilePtr& file) = 0;
  // The device was reset; the state is RUNNING and no session is left.
  virtual void AfterReset() {}
  // State or contents changed.
  virtual void Changed() {}
  // The state is about to be looked at: another process may have changed it.
  virtual void Refresh() {}
  // What the driver does to VFIO_DEVICE_RESET before the state machine hears of it: 0 or a negated errno.
  virtual long BusReset();
  void DisableFiles();
  void UnlockState();

  Device& device_;
  std::mutex state_mutex_;
  std::atomic<uint32_t> state_{uapi::kStateRunning};
  // A reset arriving during a transition takes effect at its end.
  std::mutex reset_mutex_;
  bool deferred_reset_ = false;
  // The driver died inside a transition (mtty found in RESUMING without a session, uAPI §5).
  std::atomic<bool> crashed_{false};
  // A request was refused, and the driver has stopped the device for it: only a reset helps (xe, uAPI §0.9).
  std::atomic<bool> stopped_{false};
  std::shared_ptr<MigFile> saving_, resuming_;
  DirtyLog log_;
  std::atomic<uint32_t> reset_again_{0};
};

std::unique_ptr<Driver> MakeMtty(Device& device);
std::unique_ptr<Driver> MakePci(Device& device);

}  // namespace vfm::mock
