#include "device.h"

#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <cerrno>

namespace vfm {

namespace {

/* The kernel writes back how much it has to say. Less than the fields we are about to read means that
 * whatever answered is not the interface we know (spec K-15). */
Outcome<Nothing> CheckArgsz(uint32_t argsz, uint32_t least, const std::string& name) {
  if (argsz < least) return Failure::Errno(EPROTO, "ioctl " + name);
  return Nothing{};
}

constexpr const char* kFeatureNames[] = {
    "PCI_VF_TOKEN",
    "MIGRATION",
    "MIG_DEVICE_STATE",
    "LOW_POWER_ENTRY",
    "LOW_POWER_ENTRY_WITH_WAKEUP",
    "LOW_POWER_EXIT",
    "DMA_LOGGING_START",
    "DMA_LOGGING_STOP",
    "DMA_LOGGING_REPORT",
    "MIG_DATA_SIZE",
    "BUS_MASTER",
    "DMA_BUF",
    "MIG_PRECOPY_INFOv2",
    "ZPCI_ERROR",
};
constexpr const char* kOpNames[] = {"", " GET", " SET", " GET|SET"};

std::string FeatureName(uint32_t index, uint32_t ops, bool probe) {
  const std::string name = index < std::size(kFeatureNames) ? std::string("_") + kFeatureNames[index]
                                                            : " " + std::to_string(index);
  return "VFIO_DEVICE_FEATURE" + name + (probe ? " PROBE" : "") + kOpNames[ops];
}

uint32_t FeatureFlags(uint32_t index, uint32_t ops) {
  return index | (ops & kOpGet ? uapi::kFeatureGet : 0) | (ops & kOpSet ? uapi::kFeatureSet : 0);
}

/* Where a data fd may come with the answer to SET (spec K-3). */
bool MayStartSession(uint32_t state) {
  return state == uapi::kStateStopCopy || state == uapi::kStateResuming || state == uapi::kStatePreCopy ||
         state == uapi::kStatePreCopyP2p;
}

Outcome<Block> Memory(size_t capacity) {
  Block block = NewBlock(capacity);
  if (!block.data) return Failure::Errno(ENOMEM, "malloc");
  return block;
}

}  // namespace

/* An ioctl is never repeated here: after an EINTR a state change may have happened in part (spec K-5 rule 5).
 * A descriptor that was not opened yet gets what Linux says to -1. */
Outcome<int> Handle::Ioctl(const Fd& fd, unsigned long request, uintptr_t arg, const std::string& name) {
  if (!fd.valid()) return Failure::Errno(EBADF, "ioctl " + name);
  const long result =
      Call([&] { return fd.kernel()->ioctl(fd.kernel()->ctx, fd.get(), request, arg); }, false);
  if (result < 0) return CallFailed(result, "ioctl " + name);
  return static_cast<int>(result);
}

template <class Payload>
Outcome<Payload> Handle::FeatureStruct(const Fd& device, uint32_t index, uint32_t ops, Payload payload) {
  struct {
    uapi::DeviceFeature header;
    Payload payload;
  } whole = {};
  static_assert(sizeof(whole) == sizeof(uapi::DeviceFeature) + sizeof(Payload));
  whole.header.argsz = sizeof(whole);
  whole.header.flags = FeatureFlags(index, ops);
  whole.payload = payload;
  Outcome<int> done = IoctlStruct(device, uapi::kDeviceFeature, whole, FeatureName(index, ops, false));
  if (!done.ok()) return done.failure();
  return whole.payload;
}

Outcome<uint32_t> Handle::StateOf(const Fd& device) {
  Outcome<uapi::FeatureMigState> answer =
      FeatureStruct(device, uapi::kFeatureMigDeviceState, kOpGet, uapi::FeatureMigState{0, -1});
  if (!answer.ok()) return answer.failure();
  return answer.value().device_state;
}

Outcome<Fd> Handle::ChangeState(const Fd& device, uint32_t state) {
  /* data_fd goes in as -1: a kernel that leaves the payload alone then names no descriptor of somebody else.
   * A number beside an errno means nothing and is never closed (spec K-3). */
  Outcome<uapi::FeatureMigState> answer =
      FeatureStruct(device, uapi::kFeatureMigDeviceState, kOpSet, uapi::FeatureMigState{state, -1});
  if (!answer.ok()) return answer.failure();
  return answer.value().data_fd < 0 ? Fd() : Fd(device.kernel(), answer.value().data_fd);
}

Outcome<Nothing> DataFd::LeaveState(uint32_t to) {
  Outcome<Fd> session = ChangeState(*device_, to);
  if (!session.ok()) return session.failure();
  return Nothing{};
}

Outcome<Block> DataFd::Read(size_t max) {
  Outcome<Block> block = Memory(max);
  if (!block.ok()) return block;
  const KernelRef& kernel = fd_->kernel();
  const long got = Call([&] { return kernel->read(kernel->ctx, fd_->get(), block.value().data.get(), max); });
  if (got < 0) return CallFailed(got, "read");
  block.value().size = static_cast<size_t>(got);
  return block;
}

Outcome<uint32_t> DataFd::Write(const uint8_t* data, size_t size) {
  const KernelRef& kernel = fd_->kernel();
  /* Not repeated after an EINTR: a driver that had taken some of the bytes would get them twice (spec K-7 b).
   */
  const long put = Call([&] { return kernel->write(kernel->ctx, fd_->get(), data, size); }, false);
  if (put < 0) return CallFailed(put, "write");
  return static_cast<uint32_t>(put);
}

Outcome<uapi::PrecopyInfo> DataFd::PrecopyInfo() {
  uapi::PrecopyInfo info = {};
  info.argsz = sizeof(info);
  const std::string name = "VFIO_MIG_GET_PRECOPY_INFO";
  Outcome<int> done = IoctlStruct(*fd_, uapi::kMigGetPrecopyInfo, info, name);
  if (!done.ok()) return done.failure();
  Outcome<Nothing> checked = CheckArgsz(info.argsz, sizeof(info), name);
  if (!checked.ok()) return checked.failure();
  return info;
}

DataFd::Lease::Lease(std::shared_ptr<DataFd> owner) : owner_(std::move(owner)), fd_(owner_->fd_) {
  const std::lock_guard lock(owner_->lease_mutex_);
  ++owner_->leases_;
}

DataFd::Lease::~Lease() {
  const std::lock_guard lock(owner_->lease_mutex_);
  --owner_->leases_;
  owner_->lease_ended_.notify_all();
}

void DataFd::Adopt(Fd fd) {
  const std::lock_guard lock(lease_mutex_);
  /* The environment may have ended meanwhile, and the thread with it: then this closes. */
  if (!closed_) *fd_ = std::move(fd);
}

void DataFd::OnClose() {
  std::unique_lock lock(lease_mutex_);
  closed_ = true;
  while (leases_ > 0 && !abandoned()) lease_ended_.wait_for(lock, std::chrono::milliseconds(10));
  /* With a lease left the environment is gone, and the transfer's thread closes. */
  if (leases_ > 0) return;
  fd_->Close();
  device_.reset();
  keep_spares_.reset();
}

Outcome<Nothing> Device::Open(Fd& fd, const std::string& path) {
  /* One object, one device: a second open would close the first behind the caller's back. */
  if (fd.valid()) return Failure::Errno(EALREADY, "openat", path);
  const long number =
      Call([&] { return kernel_->openat(kernel_->ctx, AT_FDCWD, path.c_str(), O_RDWR | O_CLOEXEC, 0); });
  if (number < 0) return CallFailed(number, "openat", path);
  fd = Fd(kernel_, static_cast<int>(number));
  return Nothing{};
}

void Device::AdoptDevice(int fd) {
  device_ = Fd(kernel_, fd);
  is_open_.store(true, std::memory_order_release);
}

Outcome<Nothing> Device::OpenCdev(const std::string& path) {
  Outcome<Nothing> opened = Open(device_, path);
  if (opened.ok()) is_open_.store(true, std::memory_order_release);
  return opened;
}

Outcome<int> Device::ContainerApiVersion() {
  return Ioctl(container_, uapi::kGetApiVersion, 0, "VFIO_GET_API_VERSION");
}

Outcome<int> Device::ContainerCheckExtension(uint32_t extension) {
  return Ioctl(container_, uapi::kCheckExtension, extension, "VFIO_CHECK_EXTENSION");
}

Outcome<Nothing> Device::ContainerSetIommu(uint32_t type) {
  Outcome<int> done = Ioctl(container_, uapi::kSetIommu, type, "VFIO_SET_IOMMU");
  if (!done.ok()) return done.failure();
  return Nothing{};
}

Outcome<uint32_t> Device::GroupStatus() {
  uapi::GroupStatus status = {};
  status.argsz = sizeof(status);
  const std::string name = "VFIO_GROUP_GET_STATUS";
  Outcome<int> done = IoctlStruct(group_, uapi::kGroupGetStatus, status, name);
  if (!done.ok()) return done.failure();
  Outcome<Nothing> checked = CheckArgsz(status.argsz, sizeof(status), name);
  if (!checked.ok()) return checked.failure();
  return status.flags;
}

Outcome<Nothing> Device::GroupSetContainer() {
  int32_t container = container_.get();
  Outcome<int> done = IoctlStruct(group_, uapi::kGroupSetContainer, container, "VFIO_GROUP_SET_CONTAINER");
  if (!done.ok()) return done.failure();
  return Nothing{};
}

Outcome<Nothing> Device::GroupGetDeviceFd(const std::string& name) {
  if (device_.valid()) return Failure::Errno(EALREADY, "ioctl VFIO_GROUP_GET_DEVICE_FD");
  Outcome<int> fd = Ioctl(group_, uapi::kGroupGetDeviceFd, reinterpret_cast<uintptr_t>(name.c_str()),
                          "VFIO_GROUP_GET_DEVICE_FD");
  if (!fd.ok()) return fd.failure();
  AdoptDevice(fd.value());
  return Nothing{};
}

Outcome<uint32_t> Device::BindIommufd(const Bytes& token) {
  uapi::DeviceBindIommufd bind = {};
  bind.argsz = token.empty() ? uapi::kDeviceBindIommufdSizeV1 : sizeof(bind);
  bind.flags = token.empty() ? 0 : uapi::kDeviceBindFlagToken;
  bind.iommufd = iommufd_.get();
  bind.token_uuid_ptr = token.empty() ? 0 : reinterpret_cast<uintptr_t>(token.data());
  Outcome<int> done = IoctlStruct(device_, uapi::kDeviceBindIommufd, bind, "VFIO_DEVICE_BIND_IOMMUFD");
  if (!done.ok()) return done.failure();
  return bind.out_devid;
}

Outcome<Nothing> Device::FeatureProbe(uint32_t index, uint32_t ops) {
  uapi::DeviceFeature feature = {};
  feature.argsz = sizeof(feature);
  feature.flags = FeatureFlags(index, ops) | uapi::kFeatureProbe;
  Outcome<int> done = IoctlStruct(device_, uapi::kDeviceFeature, feature, FeatureName(index, ops, true));
  if (!done.ok()) return done.failure();
  return Nothing{};
}

Outcome<Bytes> Device::Feature(uint32_t index, FeatureOps op, Bytes payload) {
  uapi::DeviceFeature header = {};
  header.argsz = static_cast<uint32_t>(sizeof(header) + payload.size());
  header.flags = FeatureFlags(index, op);
  Bytes whole(header.argsz);
  memcpy(whole.data(), &header, sizeof(header));
  if (!payload.empty()) memcpy(whole.data() + sizeof(header), payload.data(), payload.size());
  Outcome<int> done = Ioctl(device_, uapi::kDeviceFeature, reinterpret_cast<uintptr_t>(whole.data()),
                            FeatureName(index, op, false));
  if (!done.ok()) return done.failure();
  whole.erase(whole.begin(), whole.begin() + sizeof(header));
  return whole;
}

Outcome<uint64_t> Device::MigrationFlags() {
  Outcome<uapi::FeatureMigration> answer =
      FeatureStruct(device_, uapi::kFeatureMigration, kOpGet, uapi::FeatureMigration{});
  if (!answer.ok()) return answer.failure();
  return answer.value().flags;
}

/* The thread of a session is there before the session is: its start would pass while the device stands. */
Outcome<std::shared_ptr<DataFd>> Device::SetState(uint32_t state) {
  std::erase_if(sessions_, [](const std::weak_ptr<DataFd>& old) { return old.expired(); });
  const bool in_session = std::any_of(sessions_.begin(), sessions_.end(), [](const auto& old) {
    const std::shared_ptr<DataFd> session = old.lock();
    return session && !session->closing();
  });
  std::shared_ptr<DataFd> session;
  const auto prepare = [&] { session = Worker::Make<DataFd>(delivery(), shared_device_); };
  if (!in_session && MayStartSession(state)) {
    prepare();
    session->Start();
  }
  Outcome<Fd> answer = ChangeState(device_, state);
  if (!answer.ok() || !answer.value().valid()) {
    if (session) session->Close(nullptr);
    if (!answer.ok()) return answer.failure();
    return std::shared_ptr<DataFd>();
  }
  if (!session) prepare();
  session->Adopt(std::move(answer.value()));
  sessions_.push_back(session);
  return session;
}

Outcome<uint64_t> Device::DataSize() {
  Outcome<uapi::FeatureMigDataSize> answer =
      FeatureStruct(device_, uapi::kFeatureMigDataSize, kOpGet, uapi::FeatureMigDataSize{});
  if (!answer.ok()) return answer.failure();
  return answer.value().stop_copy_length;
}

Outcome<Nothing> Device::Reset() {
  Outcome<int> done = Ioctl(device_, uapi::kDeviceReset, 0, "VFIO_DEVICE_RESET");
  if (!done.ok()) return done.failure();
  return Nothing{};
}

Outcome<uint64_t> Device::LoggingStart(uint64_t page_size, std::vector<uapi::FeatureDmaLoggingRange> ranges) {
  uapi::FeatureDmaLoggingControl control = {};
  control.page_size = page_size;
  control.num_ranges = static_cast<uint32_t>(ranges.size());
  control.ranges = reinterpret_cast<uintptr_t>(ranges.data());
  Outcome<uapi::FeatureDmaLoggingControl> answer =
      FeatureStruct(device_, uapi::kFeatureDmaLoggingStart, kOpSet, control);
  if (!answer.ok()) return answer.failure();
  return answer.value().page_size;
}

Outcome<Nothing> Device::LoggingStop() {
  Outcome<Bytes> done = Feature(uapi::kFeatureDmaLoggingStop, kOpSet, {});
  if (!done.ok()) return done.failure();
  return Nothing{};
}

/* The kernel only sets bits, so the memory has to be zero before. */
Outcome<Block> Device::LoggingReport(uint64_t iova, uint64_t length, uint64_t page_size) {
  const uint64_t bits = length / page_size + (length % page_size != 0);
  const size_t size = static_cast<size_t>((bits + 63) / 64) * sizeof(uint64_t);
  Outcome<Block> bitmap = NewBlock(size);
  if (!bitmap.ok()) return bitmap.failure();
  Block& block = bitmap.value();
  memset(block.data.get(), 0, size);
  block.size = size;
  uapi::FeatureDmaLoggingReport report = {};
  report.iova = iova;
  report.length = length;
  report.page_size = page_size;
  report.bitmap = reinterpret_cast<uintptr_t>(block.data.get());
  Outcome<uapi::FeatureDmaLoggingReport> answer =
      FeatureStruct(device_, uapi::kFeatureDmaLoggingReport, kOpGet, report);
  if (!answer.ok()) return answer.failure();
  return bitmap;
}

Outcome<uapi::DeviceInfo> Device::Info() {
  uapi::DeviceInfo info = {};
  info.argsz = sizeof(info);
  const std::string name = "VFIO_DEVICE_GET_INFO";
  Outcome<int> done = IoctlStruct(device_, uapi::kDeviceGetInfo, info, name);
  if (!done.ok()) return done.failure();
  Outcome<Nothing> checked = CheckArgsz(info.argsz, uapi::kDeviceInfoMinSize, name);
  if (!checked.ok()) return checked.failure();
  return info;
}

Outcome<uapi::RegionInfo> Device::RegionInfo(uint32_t index) {
  uapi::RegionInfo info = {};
  info.argsz = sizeof(info);
  info.index = index;
  const std::string name = "VFIO_DEVICE_GET_REGION_INFO";
  Outcome<int> done = IoctlStruct(device_, uapi::kDeviceGetRegionInfo, info, name);
  if (!done.ok()) return done.failure();
  Outcome<Nothing> checked = CheckArgsz(info.argsz, sizeof(info), name);
  if (!checked.ok()) return checked.failure();
  return info;
}

Outcome<uapi::IrqInfo> Device::IrqInfo(uint32_t index) {
  uapi::IrqInfo info = {};
  info.argsz = sizeof(info);
  info.index = index;
  const std::string name = "VFIO_DEVICE_GET_IRQ_INFO";
  Outcome<int> done = IoctlStruct(device_, uapi::kDeviceGetIrqInfo, info, name);
  if (!done.ok()) return done.failure();
  Outcome<Nothing> checked = CheckArgsz(info.argsz, sizeof(info), name);
  if (!checked.ok()) return checked.failure();
  return info;
}

Outcome<Nothing> Device::SetIrqEvent(uint32_t index, const Fd& event) {
  struct {
    uapi::IrqSet head;
    int32_t event;
  } set = {};
  static_assert(sizeof(set) == sizeof(uapi::IrqSet) + sizeof(int32_t));
  set.head.argsz = sizeof(set);
  set.head.flags = uapi::kIrqSetDataEventfd | uapi::kIrqSetActionTrigger;
  set.head.index = index;
  set.head.count = 1;
  set.event = event.get();
  Outcome<int> done = IoctlStruct(device_, uapi::kDeviceSetIrqs, set, "VFIO_DEVICE_SET_IRQS");
  if (!done.ok()) return done.failure();
  return Nothing{};
}

Outcome<Block> Device::Pread(uint64_t offset, size_t length) {
  if (!device_.valid()) return Failure::Errno(EBADF, "pread");
  Outcome<Block> block = Memory(length);
  if (!block.ok()) return block;
  const long got = Call([&] {
    return kernel_->pread(kernel_->ctx, device_.get(), block.value().data.get(), length,
                          static_cast<int64_t>(offset));
  });
  if (got < 0) return CallFailed(got, "pread");
  block.value().size = static_cast<size_t>(got);
  return block;
}

Outcome<uint32_t> Device::Pwrite(uint64_t offset, const Bytes& data) {
  if (!device_.valid()) return Failure::Errno(EBADF, "pwrite");
  const long put = Call([&] {
    return kernel_->pwrite(kernel_->ctx, device_.get(), data.data(), data.size(),
                           static_cast<int64_t>(offset));
  });
  if (put < 0) return CallFailed(put, "pwrite");
  return static_cast<uint32_t>(put);
}

Outcome<int> Device::RawIoctl(uint32_t request, uintptr_t arg) {
  const std::string name = std::to_string(request);
  Outcome<int> done = Ioctl(device_, request, arg, name);
  if (!done.ok() && done.failure().error != 0) return -done.failure().error;
  return done;
}

void Device::OnClose() {
  bool left_behind = false;
  for (auto at = sessions_.rbegin(); at != sessions_.rend(); ++at) {
    if (std::shared_ptr<DataFd> session = at->lock()) {
      session->Close(nullptr);
      /* False when the environment ends and the session's thread is stuck: it closes its descriptor when it
       * can. */
      left_behind = !session->WaitEnded([this] { return abandoned(); });
      if (left_behind) break;
    }
  }
  is_open_.store(false, std::memory_order_release);
  if (!left_behind) device_.Close();
  group_.Close();
  container_.Close();
  iommufd_.Close();
}

}  // namespace vfm
