#include "mock/fault.h"

#include <algorithm>

#include "mock/reader.h"
#include "vfio/uapi.h"

namespace vfm::mock {

namespace {

const std::vector<std::string> kCalls = {"openat",   "close", "ioctl",   "read",       "write",   "pread",
                                         "pwrite",   "poll",  "fcntl",   "readlinkat", "fstatat", "faccessat",
                                         "getdents", "uname", "eventfd", "arc",        "alloc-fd"};

struct RequestRow {
  const char* fd_kind;
  unsigned long number;
  const char* name;
};

constexpr RequestRow kRequests[] = {
    {"container", uapi::kGetApiVersion, "VFIO_GET_API_VERSION"},
    {"container", uapi::kCheckExtension, "VFIO_CHECK_EXTENSION"},
    {"container", uapi::kSetIommu, "VFIO_SET_IOMMU"},
    {"container", uapi::kIommuGetInfo, "VFIO_IOMMU_GET_INFO"},
    {"container", uapi::kIommuMapDma, "VFIO_IOMMU_MAP_DMA"},
    {"container", uapi::kIommuUnmapDma, "VFIO_IOMMU_UNMAP_DMA"},
    {"group", uapi::kGroupGetStatus, "VFIO_GROUP_GET_STATUS"},
    {"group", uapi::kGroupSetContainer, "VFIO_GROUP_SET_CONTAINER"},
    {"group", uapi::kGroupUnsetContainer, "VFIO_GROUP_UNSET_CONTAINER"},
    {"group", uapi::kGroupGetDeviceFd, "VFIO_GROUP_GET_DEVICE_FD"},
    {"device", uapi::kDeviceGetInfo, "VFIO_DEVICE_GET_INFO"},
    {"device", uapi::kDeviceGetRegionInfo, "VFIO_DEVICE_GET_REGION_INFO"},
    {"device", uapi::kDeviceGetIrqInfo, "VFIO_DEVICE_GET_IRQ_INFO"},
    {"device", uapi::kDeviceSetIrqs, "VFIO_DEVICE_SET_IRQS"},
    {"device", uapi::kDeviceReset, "VFIO_DEVICE_RESET"},
    {"device", uapi::kDeviceGetPciHotResetInfo, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"},
    {"device", uapi::kDevicePciHotReset, "VFIO_DEVICE_PCI_HOT_RESET"},
    {"device", uapi::kDeviceFeature, "VFIO_DEVICE_FEATURE"},
    {"device", uapi::kDeviceBindIommufd, "VFIO_DEVICE_BIND_IOMMUFD"},
    {"device", uapi::kDeviceAttachIommufdPt, "VFIO_DEVICE_ATTACH_IOMMUFD_PT"},
    {"device", uapi::kDeviceDetachIommufdPt, "VFIO_DEVICE_DETACH_IOMMUFD_PT"},
    {"data", uapi::kMigGetPrecopyInfo, "VFIO_MIG_GET_PRECOPY_INFO"},
    {"iommufd", uapi::kIommuDestroy, "IOMMU_DESTROY"},
    {"iommufd", uapi::kIommuIoasAlloc, "IOMMU_IOAS_ALLOC"},
    {"iommufd", uapi::kIommuIoasMap, "IOMMU_IOAS_MAP"},
    {"iommufd", uapi::kIommuIoasUnmap, "IOMMU_IOAS_UNMAP"},
    {"iommufd", uapi::kIommuVfioIoas, "IOMMU_VFIO_IOAS"},
};

constexpr const char* kFeatures[] = {
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

std::string FeatureRequest(uint32_t flags) {
  uint32_t index = flags & uapi::kFeatureMask;
  std::string name = "VFIO_DEVICE_FEATURE_";
  name += index < std::size(kFeatures) ? std::string(kFeatures[index]) : std::to_string(index);
  if (flags & uapi::kFeatureProbe) name += " PROBE";
  if (flags & uapi::kFeatureGet) name += " GET";
  if (flags & uapi::kFeatureSet) name += " SET";
  return name;
}

// "X" meets "X" and "X SET".
bool RequestMatches(const std::string& wanted, const std::string& name) {
  return name == wanted || (name.starts_with(wanted) && name[wanted.size()] == ' ');
}

bool Matches(const FaultConfig& f, const Call& call, const std::string& what, const std::string& arc) {
  if (f.call != what) return false;
  if (!f.device.empty() && f.device != call.device) return false;
  if (!f.fd.empty() && f.fd != call.fd_kind) return false;
  if (!f.path.empty() && f.path != call.path) return false;
  if (!f.request.empty() && !RequestMatches(f.request, call.request)) return false;
  if (!f.arc.empty() && f.arc != arc) return false;
  if (f.at_offset) {
    uint64_t start = call.offset.value_or(0);
    if (*f.at_offset < start || *f.at_offset >= start + std::max<uint64_t>(call.length.value_or(0), 1))
      return false;
  }
  return true;
}

}  // namespace

std::string CheckCallName(const std::string& name) {
  if (std::find(kCalls.begin(), kCalls.end(), name) != kCalls.end()) return "";
  std::string near = Nearest(name, kCalls);
  return "\"" + name + "\" is not a call" + (near.empty() ? "" : "; did you mean \"" + near + "\"?");
}

std::string CheckRequestName(const std::string& name) {
  std::string base = name.substr(0, name.find(' '));
  std::vector<std::string> known;
  for (const RequestRow& r : kRequests) known.emplace_back(r.name);
  for (const char* f : kFeatures) known.push_back(std::string("VFIO_DEVICE_FEATURE_") + f);
  if (std::find(known.begin(), known.end(), base) != known.end()) return "";
  std::string near = Nearest(base, known);
  return "\"" + name + "\" is not a request" + (near.empty() ? "" : "; did you mean \"" + near + "\"?");
}

std::string RequestName(const std::string& fd_kind, unsigned long request, uint32_t feature_flags) {
  if (fd_kind == "device" && request == uapi::kDeviceFeature) return FeatureRequest(feature_flags);
  for (const RequestRow& r : kRequests)
    if (fd_kind == r.fd_kind && request == r.number) return r.name;
  return std::to_string(request);
}

void FaultTable::Set(std::vector<FaultConfig> faults) {
  std::lock_guard hold(lock_);
  entries_.clear();
  for (FaultConfig& f : faults) {
    if (f.name.empty()) f.name = "fault-" + std::to_string(entries_.size() + 1);
    entries_.push_back({std::move(f), 0, 0});
  }
}

std::optional<FaultConfig> FaultTable::Meet(Call& call, const std::string& what, const std::string& arc) {
  std::lock_guard hold(lock_);
  for (Entry& e : entries_) {
    const FaultConfig& f = e.config;
    if (!Matches(f, call, what, arc)) continue;
    e.matched++;
    if (e.matched < f.nth || (f.times != 0 && e.matched >= f.nth + f.times)) continue;
    e.fired++;
    call.fault = f.name;
    return f;
  }
  return std::nullopt;
}

json::Value FaultTable::Dump() const {
  std::lock_guard hold(lock_);
  json::Value list = json::Value::Array();
  for (const Entry& e : entries_) {
    json::Value v = json::Value::Object();
    v.Set("name", e.config.name);
    v.Set("matched", e.matched);
    v.Set("fired", e.fired);
    list.Push(std::move(v));
  }
  return list;
}

}  // namespace vfm::mock
