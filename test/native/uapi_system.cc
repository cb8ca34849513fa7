// Our uAPI header against the build machine's, item by item, where that one has the item.
#include <linux/vfio.h>

#include <cstddef>
#include <iostream>

#include "vfio/uapi.h"

#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#endif

#include "check.h"

namespace u = vfm::uapi;

namespace {

int compared;

template <class A, class B>
void Same(A ours, B systems, const char* name) {
  ++compared;
  if (static_cast<unsigned long long>(ours) != static_cast<unsigned long long>(systems)) {
    check::Failure(__FILE__, __LINE__) << name << ": " << +ours << " here, " << +systems << " there\n";
  }
}

}  // namespace

#define SAME(ours, systems) Same(u::ours, systems, #systems)
#define SAME_FIELD(ours, our_field, theirs, field)                                                     \
  Same(offsetof(u::ours, our_field), offsetof(struct theirs, field), "offset of " #theirs "." #field); \
  Same(sizeof(static_cast<u::ours*>(nullptr)->our_field),                                              \
       sizeof(static_cast<struct theirs*>(nullptr)->field), "size of " #theirs "." #field)
#define SAME_SIZE(ours, theirs) Same(sizeof(u::ours), sizeof(struct theirs), "size of " #theirs)

TEST(uapi_requests) {
  SAME(kGetApiVersion, VFIO_GET_API_VERSION);
  SAME(kCheckExtension, VFIO_CHECK_EXTENSION);
  SAME(kSetIommu, VFIO_SET_IOMMU);
  SAME(kGroupGetStatus, VFIO_GROUP_GET_STATUS);
  SAME(kGroupSetContainer, VFIO_GROUP_SET_CONTAINER);
  SAME(kGroupUnsetContainer, VFIO_GROUP_UNSET_CONTAINER);
  SAME(kGroupGetDeviceFd, VFIO_GROUP_GET_DEVICE_FD);
  SAME(kDeviceGetInfo, VFIO_DEVICE_GET_INFO);
  SAME(kDeviceGetRegionInfo, VFIO_DEVICE_GET_REGION_INFO);
  SAME(kDeviceGetIrqInfo, VFIO_DEVICE_GET_IRQ_INFO);
  SAME(kDeviceSetIrqs, VFIO_DEVICE_SET_IRQS);
  SAME(kDeviceReset, VFIO_DEVICE_RESET);
  SAME(kDeviceGetPciHotResetInfo, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO);
  SAME(kDevicePciHotReset, VFIO_DEVICE_PCI_HOT_RESET);
  SAME(kDeviceFeature, VFIO_DEVICE_FEATURE);
  SAME(kIommuGetInfo, VFIO_IOMMU_GET_INFO);
  SAME(kIommuMapDma, VFIO_IOMMU_MAP_DMA);
  SAME(kIommuUnmapDma, VFIO_IOMMU_UNMAP_DMA);
#ifdef VFIO_DEVICE_BIND_IOMMUFD
  SAME(kDeviceBindIommufd, VFIO_DEVICE_BIND_IOMMUFD);
  SAME(kDeviceAttachIommufdPt, VFIO_DEVICE_ATTACH_IOMMUFD_PT);
  SAME(kDeviceDetachIommufdPt, VFIO_DEVICE_DETACH_IOMMUFD_PT);
#endif
#ifdef VFIO_MIG_GET_PRECOPY_INFO
  SAME(kMigGetPrecopyInfo, VFIO_MIG_GET_PRECOPY_INFO);
#endif
#ifdef IOMMU_IOAS_ALLOC
  SAME(kIommuDestroy, IOMMU_DESTROY);
  SAME(kIommuIoasAlloc, IOMMU_IOAS_ALLOC);
  SAME(kIommuIoasMap, IOMMU_IOAS_MAP);
  SAME(kIommuIoasUnmap, IOMMU_IOAS_UNMAP);
  SAME(kIommuVfioIoas, IOMMU_VFIO_IOAS);
#endif
}

TEST(uapi_numbers) {
  SAME(kApiVersion, VFIO_API_VERSION);
  SAME(kType1Iommu, VFIO_TYPE1_IOMMU);
  SAME(kType1v2Iommu, VFIO_TYPE1v2_IOMMU);
  SAME(kNoiommuIommu, VFIO_NOIOMMU_IOMMU);
  SAME(kDmaCcIommu, VFIO_DMA_CC_IOMMU);
#ifdef VFIO_TYPE1_NESTING_IOMMU
  SAME(kType1NestingIommu, VFIO_TYPE1_NESTING_IOMMU);
#endif
  SAME(kUnmapAll, VFIO_UNMAP_ALL);
  SAME(kUpdateVaddr, VFIO_UPDATE_VADDR);
  SAME(kGroupFlagsViable, VFIO_GROUP_FLAGS_VIABLE);
  SAME(kGroupFlagsContainerSet, VFIO_GROUP_FLAGS_CONTAINER_SET);
  SAME(kDeviceFlagsReset, VFIO_DEVICE_FLAGS_RESET);
  SAME(kDeviceFlagsPci, VFIO_DEVICE_FLAGS_PCI);
  SAME(kDeviceFlagsPlatform, VFIO_DEVICE_FLAGS_PLATFORM);
  SAME(kDeviceFlagsAmba, VFIO_DEVICE_FLAGS_AMBA);
  SAME(kDeviceFlagsCcw, VFIO_DEVICE_FLAGS_CCW);
  SAME(kDeviceFlagsAp, VFIO_DEVICE_FLAGS_AP);
  SAME(kDeviceFlagsFslMc, VFIO_DEVICE_FLAGS_FSL_MC);
  SAME(kDeviceFlagsCaps, VFIO_DEVICE_FLAGS_CAPS);
#ifdef VFIO_DEVICE_FLAGS_CDX
  SAME(kDeviceFlagsCdx, VFIO_DEVICE_FLAGS_CDX);
#endif
  SAME(kRegionFlagsRead, VFIO_REGION_INFO_FLAG_READ);
  SAME(kRegionFlagsWrite, VFIO_REGION_INFO_FLAG_WRITE);
  SAME(kRegionFlagsMmap, VFIO_REGION_INFO_FLAG_MMAP);
  SAME(kRegionFlagsCaps, VFIO_REGION_INFO_FLAG_CAPS);
  SAME(kPciConfigRegionIndex, VFIO_PCI_CONFIG_REGION_INDEX);
  SAME(kFeatureMask, VFIO_DEVICE_FEATURE_MASK);
  SAME(kFeatureGet, VFIO_DEVICE_FEATURE_GET);
  SAME(kFeatureSet, VFIO_DEVICE_FEATURE_SET);
  SAME(kFeatureProbe, VFIO_DEVICE_FEATURE_PROBE);
  SAME(kFeaturePciVfToken, VFIO_DEVICE_FEATURE_PCI_VF_TOKEN);
#ifdef VFIO_DEVICE_BIND_FLAG_TOKEN
  SAME(kDeviceBindFlagToken, VFIO_DEVICE_BIND_FLAG_TOKEN);
#endif
#ifdef VFIO_DEVICE_ATTACH_PASID
  SAME(kDeviceAttachPasid, VFIO_DEVICE_ATTACH_PASID);
  SAME(kDeviceDetachPasid, VFIO_DEVICE_DETACH_PASID);
#endif
}

TEST(uapi_migration_numbers) {
#ifdef VFIO_DEVICE_FEATURE_MIGRATION
  SAME(kFeatureMigration, VFIO_DEVICE_FEATURE_MIGRATION);
  SAME(kMigrationStopCopy, VFIO_MIGRATION_STOP_COPY);
  SAME(kMigrationP2p, VFIO_MIGRATION_P2P);
  SAME(kFeatureMigDeviceState, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE);
  SAME(kStateError, VFIO_DEVICE_STATE_ERROR);
  SAME(kStateStop, VFIO_DEVICE_STATE_STOP);
  SAME(kStateRunning, VFIO_DEVICE_STATE_RUNNING);
  SAME(kStateStopCopy, VFIO_DEVICE_STATE_STOP_COPY);
  SAME(kStateResuming, VFIO_DEVICE_STATE_RESUMING);
  SAME(kStateRunningP2p, VFIO_DEVICE_STATE_RUNNING_P2P);
#endif
#ifdef VFIO_MIGRATION_PRE_COPY
  SAME(kMigrationPreCopy, VFIO_MIGRATION_PRE_COPY);
  SAME(kStatePreCopy, VFIO_DEVICE_STATE_PRE_COPY);
  SAME(kStatePreCopyP2p, VFIO_DEVICE_STATE_PRE_COPY_P2P);
#endif
#ifdef VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
  SAME(kFeatureLowPowerEntry, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY);
  SAME(kFeatureLowPowerEntryWithWakeup, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP);
  SAME(kFeatureLowPowerExit, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT);
#endif
#ifdef VFIO_DEVICE_FEATURE_DMA_LOGGING_START
  SAME(kFeatureDmaLoggingStart, VFIO_DEVICE_FEATURE_DMA_LOGGING_START);
  SAME(kFeatureDmaLoggingStop, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP);
  SAME(kFeatureDmaLoggingReport, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT);
#endif
#ifdef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
  SAME(kFeatureMigDataSize, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE);
#endif
#ifdef VFIO_DEVICE_FEATURE_BUS_MASTER
  SAME(kFeatureBusMaster, VFIO_DEVICE_FEATURE_BUS_MASTER);
#endif
#ifdef VFIO_DEVICE_FEATURE_DMA_BUF
  SAME(kFeatureDmaBuf, VFIO_DEVICE_FEATURE_DMA_BUF);
#endif
#ifdef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2
  SAME(kFeatureMigPrecopyInfoV2, VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2);
  SAME(kPrecopyInfoReinit, VFIO_PRECOPY_INFO_REINIT);
#endif
#ifdef VFIO_DEVICE_FEATURE_ZPCI_ERROR
  SAME(kFeatureZpciError, VFIO_DEVICE_FEATURE_ZPCI_ERROR);
#endif
}

TEST(uapi_structs) {
  SAME_SIZE(GroupStatus, vfio_group_status);
  SAME_FIELD(GroupStatus, flags, vfio_group_status, flags);
  SAME_FIELD(DeviceInfo, argsz, vfio_device_info, argsz);
  SAME_FIELD(DeviceInfo, flags, vfio_device_info, flags);
  SAME_FIELD(DeviceInfo, num_regions, vfio_device_info, num_regions);
  SAME_FIELD(DeviceInfo, num_irqs, vfio_device_info, num_irqs);
  SAME_FIELD(DeviceInfo, cap_offset, vfio_device_info, cap_offset);
  SAME_SIZE(RegionInfo, vfio_region_info);
  SAME_FIELD(RegionInfo, index, vfio_region_info, index);
  SAME_FIELD(RegionInfo, cap_offset, vfio_region_info, cap_offset);
  SAME_FIELD(RegionInfo, size, vfio_region_info, size);
  SAME_FIELD(RegionInfo, offset, vfio_region_info, offset);
  SAME_SIZE(IrqInfo, vfio_irq_info);
  SAME_FIELD(IrqInfo, flags, vfio_irq_info, flags);
  SAME_FIELD(IrqInfo, index, vfio_irq_info, index);
  SAME_FIELD(IrqInfo, count, vfio_irq_info, count);
  SAME_SIZE(IrqSet, vfio_irq_set);
  SAME_FIELD(IrqSet, flags, vfio_irq_set, flags);
  SAME_FIELD(IrqSet, index, vfio_irq_set, index);
  SAME_FIELD(IrqSet, start, vfio_irq_set, start);
  SAME_FIELD(IrqSet, count, vfio_irq_set, count);
  SAME(kIrqSetDataNone, VFIO_IRQ_SET_DATA_NONE);
  SAME(kIrqSetDataBool, VFIO_IRQ_SET_DATA_BOOL);
  SAME(kIrqSetDataEventfd, VFIO_IRQ_SET_DATA_EVENTFD);
  SAME(kIrqSetActionMask, VFIO_IRQ_SET_ACTION_MASK);
  SAME(kIrqSetActionUnmask, VFIO_IRQ_SET_ACTION_UNMASK);
  SAME(kIrqSetActionTrigger, VFIO_IRQ_SET_ACTION_TRIGGER);
  SAME(kPciMsiIrqIndex, VFIO_PCI_MSI_IRQ_INDEX);
  SAME(kPciMsixIrqIndex, VFIO_PCI_MSIX_IRQ_INDEX);
  SAME(kPciReqIrqIndex, VFIO_PCI_REQ_IRQ_INDEX);
  SAME(kPciIrqCount, VFIO_PCI_NUM_IRQS);
  SAME_SIZE(DeviceFeature, vfio_device_feature);
  SAME_FIELD(DeviceFeature, argsz, vfio_device_feature, argsz);
  SAME_FIELD(DeviceFeature, flags, vfio_device_feature, flags);
#ifdef VFIO_DEVICE_FEATURE_MIGRATION
  SAME_SIZE(FeatureMigration, vfio_device_feature_migration);
  SAME_SIZE(FeatureMigState, vfio_device_feature_mig_state);
  SAME_FIELD(FeatureMigState, device_state, vfio_device_feature_mig_state, device_state);
  SAME_FIELD(FeatureMigState, data_fd, vfio_device_feature_mig_state, data_fd);
#endif
#ifdef VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
  SAME_SIZE(FeatureLowPowerEntryWithWakeup, vfio_device_low_power_entry_with_wakeup);
#endif
#ifdef VFIO_DEVICE_FEATURE_DMA_LOGGING_START
  SAME_SIZE(FeatureDmaLoggingControl, vfio_device_feature_dma_logging_control);
  SAME_FIELD(FeatureDmaLoggingControl, page_size, vfio_device_feature_dma_logging_control, page_size);
  SAME_FIELD(FeatureDmaLoggingControl, num_ranges, vfio_device_feature_dma_logging_control, num_ranges);
  SAME_FIELD(FeatureDmaLoggingControl, ranges, vfio_device_feature_dma_logging_control, ranges);
  SAME_SIZE(FeatureDmaLoggingRange, vfio_device_feature_dma_logging_range);
  SAME_FIELD(FeatureDmaLoggingRange, iova, vfio_device_feature_dma_logging_range, iova);
  SAME_SIZE(FeatureDmaLoggingReport, vfio_device_feature_dma_logging_report);
  SAME_FIELD(FeatureDmaLoggingReport, page_size, vfio_device_feature_dma_logging_report, page_size);
  SAME_FIELD(FeatureDmaLoggingReport, bitmap, vfio_device_feature_dma_logging_report, bitmap);
#endif
#ifdef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
  SAME_SIZE(FeatureMigDataSize, vfio_device_feature_mig_data_size);
#endif
#ifdef VFIO_DEVICE_FEATURE_BUS_MASTER
  SAME_SIZE(FeatureBusMaster, vfio_device_feature_bus_master);
#endif
#ifdef VFIO_MIG_GET_PRECOPY_INFO
  SAME_SIZE(PrecopyInfo, vfio_precopy_info);
  SAME_FIELD(PrecopyInfo, flags, vfio_precopy_info, flags);
  SAME_FIELD(PrecopyInfo, initial_bytes, vfio_precopy_info, initial_bytes);
  SAME_FIELD(PrecopyInfo, dirty_bytes, vfio_precopy_info, dirty_bytes);
#endif
#ifdef VFIO_DEVICE_BIND_IOMMUFD
  SAME_FIELD(DeviceBindIommufd, iommufd, vfio_device_bind_iommufd, iommufd);
  SAME_FIELD(DeviceBindIommufd, out_devid, vfio_device_bind_iommufd, out_devid);
  SAME_FIELD(DeviceAttachIommufdPt, pt_id, vfio_device_attach_iommufd_pt, pt_id);
#endif
#ifdef VFIO_DEVICE_BIND_FLAG_TOKEN
  SAME_SIZE(DeviceBindIommufd, vfio_device_bind_iommufd);
  SAME_FIELD(DeviceBindIommufd, token_uuid_ptr, vfio_device_bind_iommufd, token_uuid_ptr);
#endif
#ifdef VFIO_DEVICE_ATTACH_PASID
  SAME_SIZE(DeviceAttachIommufdPt, vfio_device_attach_iommufd_pt);
  SAME_SIZE(DeviceDetachIommufdPt, vfio_device_detach_iommufd_pt);
#endif
#ifdef IOMMU_IOAS_ALLOC
  SAME_SIZE(IommuDestroy, iommu_destroy);
  SAME_SIZE(IommuIoasAlloc, iommu_ioas_alloc);
  SAME_FIELD(IommuIoasAlloc, out_ioas_id, iommu_ioas_alloc, out_ioas_id);
#endif
  std::cout << compared << " items compared with the system's headers\n";
}
