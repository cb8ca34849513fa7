// VFIO_DEVICE_FEATURE: the checks in the kernel's order, and the features that the core answers itself (uAPI
// §1.3 to §1.6). What else there is goes to the driver.
#include <algorithm>
#include <vector>

#include "mock/device.h"
#include "mock/mock.h"
#include "mock/user.h"
#include "vfio/uapi.h"

namespace vfm::mock {

namespace {

constexpr size_t kPage = 4096;

struct Request {
  Device& device;
  Call& call;
  uint32_t flags;
  uintptr_t payload;
  size_t size;
};

bool Migrates(const Request& r) {
  return r.device.config()->migrates;
}

long Migration(const Request& r) {
  if (!Migrates(r)) return -ENOTTY;
  uapi::FeatureMigration answer{r.device.driver()->Flags()};
  if (int c = CheckFeature(r.flags, r.size, uapi::kFeatureGet, sizeof answer); c != 1) return c;
  return CopyToUser(r.payload, &answer, sizeof answer) ? 0 : -EFAULT;
}

// The transition has happened by now: when no descriptor can be given out, the session's only file goes with
// it (uAPI §1.4).
long ReturnFd(const Request& r, FilePtr file, uapi::FeatureMigState& mig) {
  Mock& mock = r.device.mock();
  int fd = mock.InstallFd(r.call, std::move(file), true);
  if (fd < 0) return fd;
  mig.data_fd = fd;
  if (CopyToUser(r.payload, &mig, sizeof mig)) return 0;
  mock.fds.Remove(fd);
  return -EFAULT;
}

long MigDeviceState(const Request& r) {
  if (!Migrates(r)) return -ENOTTY;
  uapi::FeatureMigState mig;
  int c = CheckFeature(r.flags, r.size, uapi::kFeatureGet | uapi::kFeatureSet, sizeof mig);
  if (c != 1) return c;
  if (!CopyFromUser(&mig, r.payload, sizeof mig)) return -EFAULT;
  long result;
  FilePtr file;
  if (r.flags & uapi::kFeatureGet) {
    result = r.device.driver()->GetState(r.call, mig.device_state);
    if (result != 0) return result;
  } else {
    result = r.device.driver()->SetState(r.call, mig.device_state, file);
    if (result == 0 && file != nullptr) return ReturnFd(r, std::move(file), mig);
  }
  mig.data_fd = -1;
  return CopyToUser(r.payload, &mig, sizeof mig) ? result : -EFAULT;
}

long MigDataSize(const Request& r) {
  if (!Migrates(r)) return -ENOTTY;
  uapi::FeatureMigDataSize answer{};
  if (int c = CheckFeature(r.flags, r.size, uapi::kFeatureGet, sizeof answer); c != 1) return c;
  if (int e = r.device.config()->knobs.data_size_errno; e != 0) return -e;
  answer.stop_copy_length = r.device.driver()->DataSize();
  return CopyToUser(r.payload, &answer, sizeof answer) ? 0 : -EFAULT;
}

long PrecopyInfoV2(const Request& r) {
  // Asked before everything else, and of devices without migration too.
  if (!Migrates(r) || (r.device.driver()->Flags() & uapi::kMigrationPreCopy) == 0) return -EINVAL;
  if (int c = CheckFeature(r.flags, r.size, uapi::kFeatureSet, 0); c != 1) return c;
  r.device.set_precopy_info_v2();
  return 0;
}

bool HasLogOps(const Request& r) {
  return Migrates(r) && r.device.driver()->HasLogOps();
}

// Reads the ranges. 0, or why they are refused.
long CheckRanges(const uapi::FeatureDmaLoggingControl& control,
                 std::vector<uapi::FeatureDmaLoggingRange>& seen) {
  for (uint32_t i = 0; i < control.num_ranges; i++) {
    uapi::FeatureDmaLoggingRange range;
    if (!CopyFromUser(&range, static_cast<uintptr_t>(control.ranges) + i * sizeof range, sizeof range))
      return -EFAULT;
    // The kernel's IS_ALIGNED is a mask, whatever page_size is.
    uint64_t mask = control.page_size - 1;
    if ((range.iova & mask) != 0 || (range.length & mask) != 0) return -EINVAL;
    if (range.iova + range.length < range.iova) return -EOVERFLOW;
    uint64_t last = range.iova + range.length - 1;
    for (const auto& s : seen)
      if (range.iova <= s.iova + s.length - 1 && s.iova <= last) return -EINVAL;
    seen.push_back(range);
  }
  return 0;
}

long LoggingStart(const Request& r) {
  if (!HasLogOps(r)) return -ENOTTY;
  uapi::FeatureDmaLoggingControl control;
  if (int c = CheckFeature(r.flags, r.size, uapi::kFeatureSet, sizeof control); c != 1) return c;
  if (!CopyFromUser(&control, r.payload, sizeof control)) return -EFAULT;
  if (control.num_ranges == 0) return -EINVAL;
  if (control.num_ranges > kPage / sizeof(uapi::FeatureDmaLoggingRange)) return -E2BIG;
  std::vector<uapi::FeatureDmaLoggingRange> ranges;
  if (long e = CheckRanges(control, ranges); e != 0) return e;
  if (long e = r.device.driver()->LogStart(control.page_size, std::move(ranges)); e != 0) return e;
  if (CopyToUser(r.payload, &control, sizeof control)) return 0;
  r.device.driver()->LogStop();
  return -EFAULT;
}

long LoggingStop(const Request& r) {
  if (!HasLogOps(r)) return -ENOTTY;
  if (int c = CheckFeature(r.flags, r.size, uapi::kFeatureSet, 0); c != 1) return c;
  return r.device.driver()->LogStop();
}

long LoggingReport(const Request& r) {
  if (!HasLogOps(r)) return -ENOTTY;
  uapi::FeatureDmaLoggingReport report;
  if (int c = CheckFeature(r.flags, r.size, uapi::kFeatureGet, sizeof report); c != 1) return c;
  if (!CopyFromUser(&report, r.payload, sizeof report)) return -EFAULT;
  if (report.page_size < kPage || (report.page_size & (report.page_size - 1)) != 0) return -EINVAL;
  if (report.iova + report.length < report.iova) return -EOVERFLOW;
  // The bitmap helper comes with the drivers that iommufd has (uAPI §1.6).
  if (!r.device.mock().config.kernel.iommufd_driver) return -EOPNOTSUPP;
  return r.device.driver()->LogReport(report);
}

struct FeatureRow {
  uint32_t index;
  uint32_t since_major, since_minor;
  long (*answer)(const Request&);
};

// What the core knows, by the release that brought it. Older kernels hand the index to the driver.
constexpr FeatureRow kCore[] = {
    {uapi::kFeatureMigration, 5, 18, Migration},
    {uapi::kFeatureMigDeviceState, 5, 18, MigDeviceState},
    {uapi::kFeatureDmaLoggingStart, 6, 1, LoggingStart},
    {uapi::kFeatureDmaLoggingStop, 6, 1, LoggingStop},
    {uapi::kFeatureDmaLoggingReport, 6, 1, LoggingReport},
    {uapi::kFeatureMigDataSize, 6, 2, MigDataSize},
    {uapi::kFeatureMigPrecopyInfoV2, 7, 1, PrecopyInfoV2},
};

}  // namespace

int CheckFeature(uint32_t flags, size_t size, uint32_t ops, size_t least) {
  constexpr uint32_t kOps = uapi::kFeatureGet | uapi::kFeatureSet;
  if ((flags & kOps & ~ops) != 0) return -EINVAL;
  if (flags & uapi::kFeatureProbe) return 0;
  if ((flags & kOps) == 0) return -EINVAL;
  if (size < least) return -EINVAL;
  return 1;
}

long DeviceFeature(Device& device, Call& call, uintptr_t arg) {
  uapi::DeviceFeature head;
  if (!CopyFromUser(&head, arg, sizeof head)) return -EFAULT;
  if (head.argsz < sizeof head) return -EINVAL;
  constexpr uint32_t kOps = uapi::kFeatureGet | uapi::kFeatureSet;
  if ((head.flags & ~(uapi::kFeatureMask | kOps | uapi::kFeatureProbe)) != 0) return -EINVAL;
  if ((head.flags & uapi::kFeatureProbe) == 0 && (head.flags & kOps) == kOps) return -EINVAL;
  Request r{device, call, head.flags, arg + sizeof head, head.argsz - sizeof head};
  uint32_t index = head.flags & uapi::kFeatureMask;
  const KernelConfig& kernel = device.mock().config.kernel;
  for (const FeatureRow& row : kCore)
    if (row.index == index && kernel.version.AtLeast(row.since_major, row.since_minor)) return row.answer(r);
  if (!device.config()->device_feature_op) return -device.mock().UnknownFeatureErrno();
  return device.driver()->Feature(call, head.flags, r.payload, r.size);
}

}  // namespace vfm::mock
