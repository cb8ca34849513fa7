// The part of the kernel's VFIO and iommufd interface that vfio-migrate uses, also where the build machine's
// headers are older. Nothing here is a macro and everything is in a namespace, so that a file can include
// <linux/vfio.h> too: test/native/uapi_system.cc does, and compares.
//
// Layouts are the same on 32 and 64 bit; all numbers are in host byte order (uAPI §1.1, §1.2).
#ifndef VFIO_MIGRATE_VFIO_UAPI_H
#define VFIO_MIGRATE_VFIO_UAPI_H

#include <cstddef>
#include <cstdint>

namespace vfm::uapi {

// ---- request numbers ----

// _IO(';', nr): VFIO and iommufd encode neither size nor direction.
constexpr unsigned long Request(unsigned nr) {
  return 0x3b00ul | nr;
}

// Container (/dev/vfio/vfio).
inline constexpr unsigned long kGetApiVersion = Request(100);
inline constexpr unsigned long kCheckExtension = Request(101);  // arg by value
inline constexpr unsigned long kSetIommu = Request(102);        // arg by value
// Group (/dev/vfio/N).
inline constexpr unsigned long kGroupGetStatus = Request(103);
inline constexpr unsigned long kGroupSetContainer = Request(104);  // int32_t*
inline constexpr unsigned long kGroupUnsetContainer = Request(105);
inline constexpr unsigned long kGroupGetDeviceFd = Request(106);  // const char*
// Device.
inline constexpr unsigned long kDeviceGetInfo = Request(107);
inline constexpr unsigned long kDeviceGetRegionInfo = Request(108);
inline constexpr unsigned long kDeviceGetIrqInfo = Request(109);
inline constexpr unsigned long kDeviceSetIrqs = Request(110);
inline constexpr unsigned long kDeviceReset = Request(111);
inline constexpr unsigned long kDeviceGetPciHotResetInfo = Request(112);
inline constexpr unsigned long kDevicePciHotReset = Request(113);
inline constexpr unsigned long kDeviceFeature = Request(117);
inline constexpr unsigned long kDeviceBindIommufd = Request(118);
inline constexpr unsigned long kDeviceAttachIommufdPt = Request(119);
inline constexpr unsigned long kDeviceDetachIommufdPt = Request(120);
// Container again: the numbers are per kind of fd.
inline constexpr unsigned long kIommuGetInfo = Request(112);
inline constexpr unsigned long kIommuMapDma = Request(113);
inline constexpr unsigned long kIommuUnmapDma = Request(114);
// Migration data fd.
inline constexpr unsigned long kMigGetPrecopyInfo = Request(121);
// iommufd (/dev/iommu).
inline constexpr unsigned long kIommuDestroy = Request(0x80);
inline constexpr unsigned long kIommuIoasAlloc = Request(0x81);
inline constexpr unsigned long kIommuIoasMap = Request(0x85);
inline constexpr unsigned long kIommuIoasUnmap = Request(0x86);
inline constexpr unsigned long kIommuVfioIoas = Request(0x88);

// ---- container and group ----

inline constexpr int kApiVersion = 0;
inline constexpr unsigned long kType1Iommu = 1;
inline constexpr unsigned long kType1v2Iommu = 3;
inline constexpr unsigned long kDmaCcIommu = 4;
inline constexpr unsigned long kType1NestingIommu = 6;
inline constexpr unsigned long kNoiommuIommu = 8;
inline constexpr unsigned long kUnmapAll = 9;
inline constexpr unsigned long kUpdateVaddr = 10;

inline constexpr uint32_t kGroupFlagsViable = 1u << 0;
inline constexpr uint32_t kGroupFlagsContainerSet = 1u << 1;

struct GroupStatus {
  uint32_t argsz;
  uint32_t flags;
};
static_assert(sizeof(GroupStatus) == 8 && offsetof(GroupStatus, flags) == 4);

// ---- device ----

inline constexpr uint32_t kDeviceFlagsReset = 1u << 0;
inline constexpr uint32_t kDeviceFlagsPci = 1u << 1;
inline constexpr uint32_t kDeviceFlagsPlatform = 1u << 2;
inline constexpr uint32_t kDeviceFlagsAmba = 1u << 3;
inline constexpr uint32_t kDeviceFlagsCcw = 1u << 4;
inline constexpr uint32_t kDeviceFlagsAp = 1u << 5;
inline constexpr uint32_t kDeviceFlagsFslMc = 1u << 6;
inline constexpr uint32_t kDeviceFlagsCaps = 1u << 7;
inline constexpr uint32_t kDeviceFlagsCdx = 1u << 8;

struct DeviceInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t num_regions;
  uint32_t num_irqs;
  uint32_t cap_offset;  // some drivers write only what comes before (uAPI §1.8): zero it first
  uint32_t pad;
};
inline constexpr uint32_t kDeviceInfoMinSize = 16;
static_assert(sizeof(DeviceInfo) == 24 && offsetof(DeviceInfo, flags) == 4 &&
              offsetof(DeviceInfo, num_regions) == 8 && offsetof(DeviceInfo, num_irqs) == 12 &&
              offsetof(DeviceInfo, cap_offset) == 16 && offsetof(DeviceInfo, pad) == 20);

inline constexpr uint32_t kRegionFlagsRead = 1u << 0;
inline constexpr uint32_t kRegionFlagsWrite = 1u << 1;
inline constexpr uint32_t kRegionFlagsMmap = 1u << 2;
inline constexpr uint32_t kRegionFlagsCaps = 1u << 3;

struct RegionInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t cap_offset;
  uint64_t size;
  uint64_t offset;
};
static_assert(sizeof(RegionInfo) == 32 && offsetof(RegionInfo, flags) == 4 &&
              offsetof(RegionInfo, index) == 8 && offsetof(RegionInfo, cap_offset) == 12 &&
              offsetof(RegionInfo, size) == 16 && offsetof(RegionInfo, offset) == 24);

inline constexpr uint32_t kIrqInfoEventfd = 1u << 0;
inline constexpr uint32_t kIrqInfoMaskable = 1u << 1;
inline constexpr uint32_t kIrqInfoAutomasked = 1u << 2;
inline constexpr uint32_t kIrqInfoNoresize = 1u << 3;

struct IrqInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t count;
};
static_assert(sizeof(IrqInfo) == 16 && offsetof(IrqInfo, flags) == 4 && offsetof(IrqInfo, index) == 8 &&
              offsetof(IrqInfo, count) == 12);

// VFIO_DEVICE_SET_IRQS: `count` times a byte or an int32_t follow, or nothing, as DATA_* says.
struct IrqSet {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t start;
  uint32_t count;
};
static_assert(sizeof(IrqSet) == 20 && offsetof(IrqSet, flags) == 4 && offsetof(IrqSet, index) == 8 &&
              offsetof(IrqSet, start) == 12 && offsetof(IrqSet, count) == 16);
inline constexpr uint32_t kIrqSetDataNone = 1u << 0;
inline constexpr uint32_t kIrqSetDataBool = 1u << 1;
inline constexpr uint32_t kIrqSetDataEventfd = 1u << 2;
inline constexpr uint32_t kIrqSetActionMask = 1u << 3;
inline constexpr uint32_t kIrqSetActionUnmask = 1u << 4;
inline constexpr uint32_t kIrqSetActionTrigger = 1u << 5;

// PCI: indexes of interrupts.
inline constexpr uint32_t kPciIntxIrqIndex = 0;
inline constexpr uint32_t kPciMsiIrqIndex = 1;
inline constexpr uint32_t kPciMsixIrqIndex = 2;
inline constexpr uint32_t kPciErrIrqIndex = 3;
inline constexpr uint32_t kPciReqIrqIndex = 4;
inline constexpr uint32_t kPciIrqCount = 5;

// PCI: a region's offset in the device fd is its index shifted by this; config space is region 7.
inline constexpr unsigned kPciOffsetShift = 40;
inline constexpr uint32_t kPciConfigRegionIndex = 7;

// VFIO_DEVICE_BIND_IOMMUFD. Kernels before 6.17 know the first 16 bytes; 6.17 and newer refuse a longer
// struct only when its unknown tail is not zero (uAPI §1.10).
struct DeviceBindIommufd {
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t out_devid;
  uint64_t token_uuid_ptr;
};
inline constexpr uint32_t kDeviceBindIommufdSizeV1 = 16;
inline constexpr uint32_t kDeviceBindFlagToken = 1u << 0;
static_assert(sizeof(DeviceBindIommufd) == 24 && offsetof(DeviceBindIommufd, flags) == 4 &&
              offsetof(DeviceBindIommufd, iommufd) == 8 && offsetof(DeviceBindIommufd, out_devid) == 12 &&
              offsetof(DeviceBindIommufd, token_uuid_ptr) == kDeviceBindIommufdSizeV1);

struct DeviceAttachIommufdPt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pt_id;
  uint32_t pasid;
};
inline constexpr uint32_t kDeviceAttachIommufdPtSizeV1 = 12;
inline constexpr uint32_t kDeviceAttachPasid = 1u << 0;
static_assert(sizeof(DeviceAttachIommufdPt) == 16 && offsetof(DeviceAttachIommufdPt, flags) == 4 &&
              offsetof(DeviceAttachIommufdPt, pt_id) == 8 &&
              offsetof(DeviceAttachIommufdPt, pasid) == kDeviceAttachIommufdPtSizeV1);

struct DeviceDetachIommufdPt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pasid;
};
inline constexpr uint32_t kDeviceDetachIommufdPtSizeV1 = 8;
inline constexpr uint32_t kDeviceDetachPasid = 1u << 0;
static_assert(sizeof(DeviceDetachIommufdPt) == 12 && offsetof(DeviceDetachIommufdPt, flags) == 4 &&
              offsetof(DeviceDetachIommufdPt, pasid) == kDeviceDetachIommufdPtSizeV1);

struct IommuDestroy {
  uint32_t size;
  uint32_t id;
};
static_assert(sizeof(IommuDestroy) == 8 && offsetof(IommuDestroy, id) == 4);

struct IommuIoasAlloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_ioas_id;
};
static_assert(sizeof(IommuIoasAlloc) == 12 && offsetof(IommuIoasAlloc, flags) == 4 &&
              offsetof(IommuIoasAlloc, out_ioas_id) == 8);

// ---- VFIO_DEVICE_FEATURE ----

// The payload follows the header at once; `argsz` counts both.
struct DeviceFeature {
  uint32_t argsz;
  uint32_t flags;
};
static_assert(sizeof(DeviceFeature) == 8 && offsetof(DeviceFeature, flags) == 4);

inline constexpr uint32_t kFeatureMask = 0xffff;
inline constexpr uint32_t kFeatureGet = 1u << 16;
inline constexpr uint32_t kFeatureSet = 1u << 17;
inline constexpr uint32_t kFeatureProbe = 1u << 18;

// Indexes.
inline constexpr uint32_t kFeaturePciVfToken = 0;
inline constexpr uint32_t kFeatureMigration = 1;
inline constexpr uint32_t kFeatureMigDeviceState = 2;
inline constexpr uint32_t kFeatureLowPowerEntry = 3;
inline constexpr uint32_t kFeatureLowPowerEntryWithWakeup = 4;
inline constexpr uint32_t kFeatureLowPowerExit = 5;
inline constexpr uint32_t kFeatureDmaLoggingStart = 6;
inline constexpr uint32_t kFeatureDmaLoggingStop = 7;
inline constexpr uint32_t kFeatureDmaLoggingReport = 8;
inline constexpr uint32_t kFeatureMigDataSize = 9;
inline constexpr uint32_t kFeatureBusMaster = 10;
inline constexpr uint32_t kFeatureDmaBuf = 11;            // 6.19
inline constexpr uint32_t kFeatureMigPrecopyInfoV2 = 12;  // 7.1; SET without payload
inline constexpr uint32_t kFeatureZpciError = 13;         // 7.3

// FEATURE_MIGRATION.
struct FeatureMigration {
  uint64_t flags;
};
static_assert(sizeof(FeatureMigration) == 8);
inline constexpr uint64_t kMigrationStopCopy = 1u << 0;
inline constexpr uint64_t kMigrationP2p = 1u << 1;
inline constexpr uint64_t kMigrationPreCopy = 1u << 2;

// FEATURE_MIG_DEVICE_STATE. `device_state` may be a number that is not listed here (uAPI §8).
struct FeatureMigState {
  uint32_t device_state;
  int32_t data_fd;
};
static_assert(sizeof(FeatureMigState) == 8 && offsetof(FeatureMigState, data_fd) == 4);

inline constexpr uint32_t kStateError = 0;
inline constexpr uint32_t kStateStop = 1;
inline constexpr uint32_t kStateRunning = 2;
inline constexpr uint32_t kStateStopCopy = 3;
inline constexpr uint32_t kStateResuming = 4;
inline constexpr uint32_t kStateRunningP2p = 5;
inline constexpr uint32_t kStatePreCopy = 6;
inline constexpr uint32_t kStatePreCopyP2p = 7;
inline constexpr uint32_t kStateCount = 8;

// FEATURE_MIG_DATA_SIZE: an estimate (uAPI §1.5).
struct FeatureMigDataSize {
  uint64_t stop_copy_length;
};
static_assert(sizeof(FeatureMigDataSize) == 8);

// FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP.
struct FeatureLowPowerEntryWithWakeup {
  int32_t wakeup_eventfd;
  uint32_t reserved;
};
static_assert(sizeof(FeatureLowPowerEntryWithWakeup) == 8 &&
              offsetof(FeatureLowPowerEntryWithWakeup, reserved) == 4);

// FEATURE_DMA_LOGGING_*.
struct FeatureDmaLoggingControl {
  uint64_t page_size;
  uint32_t num_ranges;
  uint32_t reserved;
  uint64_t ranges;  // pointer to FeatureDmaLoggingRange[num_ranges]
};
static_assert(sizeof(FeatureDmaLoggingControl) == 24 && offsetof(FeatureDmaLoggingControl, num_ranges) == 8 &&
              offsetof(FeatureDmaLoggingControl, reserved) == 12 &&
              offsetof(FeatureDmaLoggingControl, ranges) == 16);

struct FeatureDmaLoggingRange {
  uint64_t iova;
  uint64_t length;
};
static_assert(sizeof(FeatureDmaLoggingRange) == 16 && offsetof(FeatureDmaLoggingRange, length) == 8);

struct FeatureDmaLoggingReport {
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t bitmap;  // pointer to 64-bit words
};
static_assert(sizeof(FeatureDmaLoggingReport) == 32 && offsetof(FeatureDmaLoggingReport, length) == 8 &&
              offsetof(FeatureDmaLoggingReport, page_size) == 16 &&
              offsetof(FeatureDmaLoggingReport, bitmap) == 24);

// FEATURE_BUS_MASTER.
struct FeatureBusMaster {
  uint32_t op;  // 0 clear, 1 set
};
static_assert(sizeof(FeatureBusMaster) == 4);

// ---- migration data fd ----

// VFIO_MIG_GET_PRECOPY_INFO. `flags` comes back as given unless feature 12 was set before (uAPI §1.7).
struct PrecopyInfo {
  uint32_t argsz;
  uint32_t flags;
  uint64_t initial_bytes;
  uint64_t dirty_bytes;
};
static_assert(sizeof(PrecopyInfo) == 24 && offsetof(PrecopyInfo, flags) == 4 &&
              offsetof(PrecopyInfo, initial_bytes) == 8 && offsetof(PrecopyInfo, dirty_bytes) == 16);
inline constexpr uint32_t kPrecopyInfoReinit = 1u << 0;  // 7.1

}  // namespace vfm::uapi

#endif
