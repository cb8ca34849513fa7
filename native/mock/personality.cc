#include "mock/personality.h"

#include <cerrno>

#include "vfio/uapi.h"

namespace vfm::mock {

namespace {

constexpr uint64_t kSave = uapi::kMigrationStopCopy, kP2p = uapi::kMigrationP2p,
                   kPrecopy = uapi::kMigrationPreCopy;

struct Row {
  const char* name;
  /* what sysfs and /proc show */
  const char *driver, *data_fd, *vendor, *device, *class_code;
  bool feature_op;  // has VFIO_DEVICE_FEATURE beyond migration: low power, VF token
  uint64_t flags;
  bool dirty_logging, save_ends_logging;
  /* the stream */
  Framing framing;
  uint64_t size;       // of the image in it
  uint64_t data_size;  // MIG_DATA_SIZE; 0: what there is
  bool whole_first;    // PRE_COPY offers the whole first image
  bool stop_copy_hint;
  uint64_t max_stream;  // writes beyond it are short, then EINVAL; 0: no limit
  /* the data fd */
  int temporary_end;
  bool polls, nonblock;
  PrecopyInfo precopy_info;
  bool pump;
  uint32_t pump_interval_ms;
  /* a load */
  int mismatch_errno;
  Verdict verdict;
  bool refused_load_ends;
  AfterError after_error;
  Checks checks;
  /* requests */
  bool interruptible;
  int error_state_errno;
  bool refusal_stops;
  bool deferred_reset;
};

// clang-format off
constexpr Row kRows[] = {
  {.name = "mlx5", .driver = "mlx5_vfio_pci", .data_fd = "mlx5vf_mig",
   .vendor = "0x15b3", .device = "0x101e", .class_code = "0x020000", .feature_op = true,
   .flags = kSave | kP2p | kPrecopy, .dirty_logging = true, .save_ends_logging = false,
   .framing = Framing::Records, .size = 64ull << 20, .data_size = 0, .whole_first = true, .stop_copy_hint = true, .max_stream = 0,
   .temporary_end = ENOMSG, .polls = true, .nonblock = true,
   .precopy_info = PrecopyInfo::Both, .pump = true, .pump_interval_ms = 0,
   .mismatch_errno = EINVAL, .verdict = Verdict::Write, .refused_load_ends = false, .after_error = AfterError::Dead, .checks = Checks::None,
   .interruptible = true, .error_state_errno = EINVAL, .refusal_stops = false, .deferred_reset = true},

  {.name = "hisi_acc", .driver = "hisi_acc_vfio_pci", .data_fd = "hisi_acc_vf_mig",
   .vendor = "0x19e5", .device = "0xa259", .class_code = "0x100000", .feature_op = true,
   .flags = kSave | kPrecopy, .dirty_logging = false, .save_ends_logging = false,
   .framing = Framing::Hisi, .size = 136, .data_size = 176, .whole_first = false, .stop_copy_hint = false, .max_stream = 0,
   .temporary_end = 0, .polls = false, .nonblock = false,
   .precopy_info = PrecopyInfo::PreCopy, .pump = false, .pump_interval_ms = 0,
   .mismatch_errno = EFAULT, .verdict = Verdict::Write, .refused_load_ends = false, .after_error = AfterError::Again, .checks = Checks::Length,
   .interruptible = false, .error_state_errno = EINVAL, .refusal_stops = false, .deferred_reset = false},

  {.name = "pds", .driver = "pds_vfio_pci", .data_fd = "pds_vfio_lm",
   .vendor = "0x1dd8", .device = "0x1003", .class_code = "0x020000", .feature_op = true,
   .flags = kSave | kP2p, .dirty_logging = true, .save_ends_logging = true,
   .framing = Framing::Plain, .size = 32768, .data_size = 65536, .whole_first = false, .stop_copy_hint = false, .max_stream = 65536,
   .temporary_end = 0, .polls = false, .nonblock = false,
   .precopy_info = PrecopyInfo::None, .pump = false, .pump_interval_ms = 0,
   .mismatch_errno = EIO, .verdict = Verdict::Stop, .refused_load_ends = false, .after_error = AfterError::Again, .checks = Checks::None,
   .interruptible = false, .error_state_errno = EIO, .refusal_stops = false, .deferred_reset = false},

  {.name = "qat", .driver = "qat_vfio_pci", .data_fd = "qat_vf_mig",
   .vendor = "0x8086", .device = "0x4941", .class_code = "0x0b4000", .feature_op = false,
   .flags = kSave | kP2p | kPrecopy, .dirty_logging = false, .save_ends_logging = false,
   .framing = Framing::Qat, .size = 2048, .data_size = 4096, .whole_first = false, .stop_copy_hint = false, .max_stream = 0,
   .temporary_end = 0, .polls = false, .nonblock = false,
   .precopy_info = PrecopyInfo::Both, .pump = false, .pump_interval_ms = 0,
   .mismatch_errno = EINVAL, .verdict = Verdict::Write, .refused_load_ends = false, .after_error = AfterError::Again, .checks = Checks::Length,
   .interruptible = false, .error_state_errno = EINVAL, .refusal_stops = false, .deferred_reset = false},

  {.name = "virtio", .driver = "virtio_vfio_pci", .data_fd = "virtiovf_mig",
   .vendor = "0x1af4", .device = "0x1041", .class_code = "0x020000", .feature_op = true,
   .flags = kSave | kP2p | kPrecopy, .dirty_logging = false, .save_ends_logging = false,
   .framing = Framing::Records, .size = 1ull << 20, .data_size = 0, .whole_first = true, .stop_copy_hint = false, .max_stream = 0,
   .temporary_end = ENOMSG, .polls = false, .nonblock = false,
   .precopy_info = PrecopyInfo::Both, .pump = true, .pump_interval_ms = 1000,
   .mismatch_errno = EINVAL, .verdict = Verdict::Write, .refused_load_ends = false, .after_error = AfterError::Dead, .checks = Checks::None,
   .interruptible = false, .error_state_errno = EINVAL, .refusal_stops = false, .deferred_reset = true},

  {.name = "xe", .driver = "xe-vfio-pci", .data_fd = "xe_vfio_mig",
   .vendor = "0x8086", .device = "0xe211", .class_code = "0x030000", .feature_op = true,
   .flags = kSave | kP2p, .dirty_logging = false, .save_ends_logging = false,
   .framing = Framing::Packets, .size = 64ull << 20, .data_size = 0, .whole_first = false, .stop_copy_hint = false, .max_stream = 0,
   .temporary_end = 0, .polls = false, .nonblock = false,
   .precopy_info = PrecopyInfo::None, .pump = false, .pump_interval_ms = 0,
   .mismatch_errno = EINVAL, .verdict = Verdict::Write, .refused_load_ends = true, .after_error = AfterError::Again, .checks = Checks::Length,
   .interruptible = false, .error_state_errno = EINVAL, .refusal_stops = true, .deferred_reset = true},
};
// clang-format on

}  // namespace

bool ApplyPersonality(std::string_view name, const KernelVersion& kernel, DeviceConfig& device) {
  for (const Row& row : kRows) {
    if (row.name != name) continue;
    device.driver = row.driver;
    device.ids["vendor"] = device.ids["subsystem_vendor"] = row.vendor;
    device.ids["device"] = row.device;
    device.ids["class"] = row.class_code;
    device.device_feature_op = row.feature_op;
    MigrationKnobs& k = device.knobs;
    k.flags = row.flags;
    k.dirty_logging = row.dirty_logging;
    k.save_ends_logging = row.save_ends_logging;
    k.framing = row.framing;
    k.size = row.size;
    if (row.data_size != 0) k.data_size = row.data_size;
    k.model = std::string("mock.example/") + row.name;
    k.data_fd = row.data_fd;
    k.whole_first = row.whole_first;
    k.stop_copy_hint = row.stop_copy_hint;
    k.max_stream = row.max_stream;
    // What the setup in front of the image has: the framing says how much.
    k.initial_bytes = 0;
    k.temporary_end = row.temporary_end;
    k.polls = row.polls;
    k.honours_nonblock = row.nonblock;
    k.precopy_info = row.precopy_info;
    k.pump = row.pump;
    k.pump_interval_ms = row.pump_interval_ms;
    k.mismatch_errno = row.mismatch_errno;
    k.verdict = row.verdict;
    k.refused_load_ends = row.refused_load_ends;
    k.after_error = row.after_error;
    k.checks = row.checks;
    k.delay_interruptible = row.interruptible;
    k.error_state_errno = row.error_state_errno;
    k.refusal_stops = row.refusal_stops;
    // 7.0 clears the flag at every open.
    k.match_once = row.framing == Framing::Hisi && !kernel.AtLeast(7, 0);
    device.reset.deferred = row.deferred_reset;
    return true;
  }
  return false;
}

std::vector<std::string> PersonalityNames() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.name);
  return names;
}

}  // namespace vfm::mock
