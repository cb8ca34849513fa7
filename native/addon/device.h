/* The requests on a device, on a migration data fd and on a kernel's file tree. No N-API.
 *
 * Each class is a thread and what belongs to it. Members that make a request run on that thread; the others
 * say so. */
#ifndef VFIO_MIGRATE_ADDON_DEVICE_H
#define VFIO_MIGRATE_ADDON_DEVICE_H

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../vfio/uapi.h"
#include "block.h"
#include "fd.h"
#include "outcome.h"
#include "worker.h"

namespace vfm {

class TransferJob;

using Bytes = std::vector<uint8_t>;

/* Bounds of what one request may allocate. */
inline constexpr size_t kMaxRead = kBlockSize;
inline constexpr size_t kMaxRegionRead = size_t{16} << 20;
inline constexpr size_t kMaxWrite = size_t{64} << 20;
inline constexpr size_t kMaxFile = size_t{64} << 20;
inline constexpr size_t kMaxStruct = size_t{1} << 20;
inline constexpr size_t kMaxBitmap = size_t{256} << 20;

/* A worker that makes ioctls. */
class Handle : public Worker {
 protected:
  using Worker::Worker;
  Outcome<int> Ioctl(const Fd& fd, unsigned long request, uintptr_t arg, const std::string& name);
  template <class Struct>
  Outcome<int> IoctlStruct(const Fd& fd, unsigned long request, Struct& arg, const std::string& name) {
    return Ioctl(fd, request, reinterpret_cast<uintptr_t>(&arg), name);
  }
  template <class Payload>
  Outcome<Payload> FeatureStruct(const Fd& device, uint32_t index, uint32_t ops, Payload payload);
  Outcome<uint32_t> StateOf(const Fd& device);
  /* SET. The data fd of a session that this starts, else one that is not valid. */
  Outcome<Fd> ChangeState(const Fd& device, uint32_t state);
};

/* A migration data fd: one save or load session (uAPI §2.3, §2.4). */
class DataFd final : public Handle {
 public:
  DataFd(std::shared_ptr<Delivery> delivery, std::shared_ptr<const Fd> device)
      : Handle(std::move(delivery)), device_(std::move(device)) {}

  /* Its descriptor. Once, before anybody is given this; any thread. */
  void Adopt(Fd fd);

  Outcome<Block> Read(size_t max);
  Outcome<uint32_t> Write(const uint8_t* data, size_t size);
  Outcome<uapi::PrecopyInfo> PrecopyInfo();
  /* Of the device, on this thread: who reads to the end saves the way to the device's. */
  Outcome<uint32_t> DeviceState() { return StateOf(*device_); }
  /* The same for a request that starts no session: a data fd in the answer is closed. */
  Outcome<Nothing> LeaveState(uint32_t to);

  /* Use of the descriptor by a transfer, which may run on another thread. The descriptor stays open until the
   * lease ends, and closing waits for that. Any thread. fd() is invalid when the descriptor had been closed
   * before. */
  class Lease {
   public:
    explicit Lease(std::shared_ptr<DataFd> owner);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    const Fd& fd() const { return *fd_; }

   private:
    std::shared_ptr<DataFd> owner_;
    std::shared_ptr<Fd> fd_;
  };

  /* JavaScript's thread: a transfer is queued or running here; other requests are refused. */
  std::weak_ptr<TransferJob> transfer;
  bool in_transfer = false;

 private:
  void OnClose() override;
  bool HasDescriptors() const override { return true; }

  const std::shared_ptr<Fd> fd_ = std::make_shared<Fd>();
  /* Given back when this is closed: the device is closed after its sessions. */
  std::shared_ptr<const Fd> device_;
  std::optional<KeepSpares> keep_spares_{std::in_place};
  std::mutex lease_mutex_;
  std::condition_variable lease_ended_;
  int leases_ = 0;
  bool closed_ = false;
};

/* What VFIO_DEVICE_FEATURE is asked to do, as uAPI §1.2 counts the bits. */
enum FeatureOps : uint32_t { kOpGet = 1, kOpSet = 2 };

class Device final : public Handle {
 public:
  Device(std::shared_ptr<Delivery> delivery, KernelRef kernel)
      : Handle(std::move(delivery)), kernel_(std::move(kernel)) {}

  /* True when a device fd is there. Any thread. */
  bool is_open() const { return is_open_.load(std::memory_order_acquire); }

  Outcome<Nothing> OpenContainer(const std::string& path) { return Open(container_, path); }
  Outcome<Nothing> OpenGroup(const std::string& path) { return Open(group_, path); }
  Outcome<Nothing> OpenIommufd(const std::string& path) { return Open(iommufd_, path); }
  Outcome<Nothing> OpenCdev(const std::string& path);
  Outcome<int> ContainerApiVersion();
  Outcome<int> ContainerCheckExtension(uint32_t extension);
  Outcome<Nothing> ContainerSetIommu(uint32_t type);
  Outcome<uint32_t> GroupStatus();
  Outcome<Nothing> GroupSetContainer();
  Outcome<Nothing> GroupGetDeviceFd(const std::string& name);
  /* `token`: 16 bytes, or none for the struct that kernels before 6.17 know. Gives the devid. */
  Outcome<uint32_t> BindIommufd(const Bytes& token);

  /* Descriptors that come from elsewhere, and go there (device_fds.cc). */
  Outcome<Nothing> AdoptFd(int fd);
  Outcome<Nothing> TakeFd(const Fd& pidfd, int target);
  struct Received {
    Bytes data;
    /* Descriptors that came with the bytes. The first is the device's; others are closed. */
    uint32_t fds = 0;
  };
  Outcome<Received> ReceiveFd(const Fd& socket, size_t max);
  /* `more`: descriptors of other devices, which stand behind this one's. */
  Outcome<Nothing> SendFds(const Fd& socket, const Bytes& data, const std::vector<int>& more);
  /* Kernel's numbers, -1 where nothing is open, in the order in which SendFds() sends them. */
  struct Numbers {
    int device, iommufd, container, group;
  };
  Outcome<Numbers> Descriptors();

  Outcome<Nothing> FeatureProbe(uint32_t index, uint32_t ops);
  /* GET or SET with `payload`; gives the payload as the kernel left it. */
  Outcome<Bytes> Feature(uint32_t index, FeatureOps op, Bytes payload);
  Outcome<uint64_t> MigrationFlags();
  Outcome<uint32_t> GetState() { return StateOf(device_); }
  /* Gives the session's data fd, or null when no session was started. */
  Outcome<std::shared_ptr<DataFd>> SetState(uint32_t state);
  Outcome<uint64_t> DataSize();
  Outcome<Nothing> Reset();
  /* DMA logging (uAPI §1.6). Start gives the page size that the driver chose, report a bitmap. */
  Outcome<uint64_t> LoggingStart(uint64_t page_size, std::vector<uapi::FeatureDmaLoggingRange> ranges);
  Outcome<Nothing> LoggingStop();
  Outcome<Block> LoggingReport(uint64_t iova, uint64_t length, uint64_t page_size);
  Outcome<uapi::DeviceInfo> Info();
  Outcome<uapi::RegionInfo> RegionInfo(uint32_t index);
  Outcome<uapi::IrqInfo> IrqInfo(uint32_t index);
  /* The one interrupt of `index` signals `event`; nothing, when that is not valid. */
  Outcome<Nothing> SetIrqEvent(uint32_t index, const Fd& event);
  Outcome<Block> Pread(uint64_t offset, size_t length);
  Outcome<uint32_t> Pwrite(uint64_t offset, const Bytes& data);
  /* The result, or a negated errno. */
  Outcome<int> RawIoctl(uint32_t request, uintptr_t arg);

 private:
  /* Data fds first, newest first; then device, group, container, iommufd. */
  void OnClose() override;
  Outcome<Nothing> Open(Fd& fd, const std::string& path);
  void AdoptDevice(int fd);

  KernelRef kernel_;
  Fd container_, group_, iommufd_;
  /* Sessions have it too. A thread that is left behind in one keeps it open until it ends. */
  const std::shared_ptr<Fd> shared_device_ = std::make_shared<Fd>();
  Fd& device_ = *shared_device_;
  std::atomic<bool> is_open_ = false;
  std::vector<std::weak_ptr<DataFd>> sessions_;
};

}  // namespace vfm
#endif
