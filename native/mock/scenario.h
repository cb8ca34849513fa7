// A scenario: the host that a mock kernel plays, as data. docs/mock.md explains each member; this is what
// remains after reading and checking.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "mock/attributes.h"
#include "mock/json.h"

namespace vfm::mock {

// What is wrong with a scenario, with the JSON pointer of the place; for people.
struct ScenarioError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct KernelVersion {
  uint32_t major = 0, minor = 0, patch = 0;
  bool AtLeast(uint32_t ma, uint32_t mi) const { return major != ma ? major > ma : minor >= mi; }
};

struct KernelConfig {
  std::string release = "6.12.117";
  std::string machine = "x86_64";
  KernelVersion version{6, 12, 117};
  bool group_path = true;       // CONFIG_VFIO_GROUP
  bool iommufd = false;         // CONFIG_IOMMUFD
  bool iommufd_driver = false;  // CONFIG_IOMMUFD_DRIVER: some driver has asked for it
  bool cdev = false;            // CONFIG_VFIO_DEVICE_CDEV
  bool debugfs = false;         // CONFIG_VFIO_DEBUGFS
  bool noiommu = false;         // CONFIG_VFIO_NOIOMMU
  bool cap_sys_rawio = true;
  std::vector<uint64_t> iommu_types{1, 3};
  int unknown_feature_errno = 0;  // 0: what the release does
  int fd_start = 3;
  int fd_limit = 1024;
  size_t log_size = 4096;
};

struct GroupConfig {
  std::string name;            // sysfs `name`; only emulated and no-IOMMU groups have one
  bool noiommu = false;        // VFIO_NO_IOMMU: /dev/vfio/noiommu-N
  std::optional<bool> viable;  // default: by the drivers of its devices
  bool held = false;           // another process has it open
};

enum class Checks { None, Length, Content };
enum class AfterError { Again, Dead };
// What surrounds an image in the stream (framing.h).
enum class Framing { Plain, Records, Hisi, Qat, Packets };
// States in which the data fd has VFIO_MIG_GET_PRECOPY_INFO. None: never (ENOTTY).
enum class PrecopyInfo { None, PreCopy, Both };
// When a load that does not fit is refused: by write, or when RESUMING is left.
enum class Verdict { Write, Stop };
enum class DirtyPattern { Random, Sequential };

// How a driver migrates: everything in which drivers differ (uAPI §1.8, §2.4, §4).
struct MigrationKnobs {
  uint64_t flags = 0x7;
  bool dirty_logging = false;
  bool refuse_second_log_start = true;
  bool save_ends_logging = false;  // leaving STOP_COPY stops DMA logging (pds)
  uint64_t log_page_size = 0;      // what the driver tracks with; 0: what it is asked for
  uint64_t dirty_pages = 0;        // that DMA writes to between two reports
  DirtyPattern dirty_pattern = DirtyPattern::Random;
  /* the state's bytes */
  uint64_t size = 64ull << 20;
  uint64_t seed = 0;
  std::string model = "mock.example/nic";
  Checks checks = Checks::Length;
  int mismatch_errno = 22;
  AfterError after_error = AfterError::Again;
  std::optional<uint64_t> data_size;  // MIG_DATA_SIZE, when it is not `size`
  int data_size_errno = 0;
  Framing framing = Framing::Plain;
  bool stop_copy_hint = false;  // Records: an optional record that announces the size of STOP_COPY
  uint64_t max_stream = 0;      // a load takes no more: short writes, then EINVAL. 0: no limit
  Verdict verdict = Verdict::Write;
  bool refused_load_ends = false;  // leaving RESUMING in vain ends the session (xe)
  bool guest_driver = true;        // Hisi: the guest has set the device up, so that there is a state
  bool match_once = false;         // a load after one that matched is not looked at (hisi_acc before 7.0)
  /* pre-copy */
  uint64_t initial_bytes = 1ull << 20;
  uint64_t dirty_bytes = 0;
  bool whole_first = false;  // the whole first image, instead of these two
  int temporary_end = 0;     // 0 or ENOMSG
  PrecopyInfo precopy_info = PrecopyInfo::Both;
  /* what becomes dirty after the whole first image was offered, as increments */
  uint64_t dirty_rate = 0;          // bytes a second
  uint64_t dirty_max = 1ull << 20;  // in one increment
  uint32_t reinit = 0;              // so many of the increments start with new initial bytes (7.1)
  bool pump = false;                // they appear only when VFIO_MIG_GET_PRECOPY_INFO is asked
  uint32_t pump_interval_ms = 0;    // ... and not more often than this
  /* the data fd */
  uint64_t read_chunk = 0;
  uint64_t write_chunk = 0;
  uint32_t read_delay_ms = 0;
  uint32_t write_delay_ms = 0;
  uint64_t bandwidth = 0;
  std::optional<uint64_t> block_read_at;
  bool honours_nonblock = false;
  bool polls = false;  // has a poll of its own
  std::string data_fd = "mock_pci_mig";
  /* transitions */
  uint32_t delay_ms = 0;
  bool delay_interruptible = false;
  std::map<std::string, uint32_t> arc_delay_ms;
  int error_state_errno = 22;
  int cancel_errno = 0;        // of a request that leaves PRE_COPY for RUNNING (mlx5)
  bool refusal_stops = false;  // a request that is refused stops the device until a reset (xe)
};

struct ResetKnobs {
  bool works = true;
  uint32_t delay_ms = 0;
  uint32_t again = 0;  // first so many calls answer EAGAIN
  int fails = 0;       // errno of every call
  bool on_open = true;
  bool deferred = true;  // during a transition: returns at once and acts at its end; else it waits
};

enum class Kind { Pci, Mtty };

struct DeviceConfig {
  Kind kind = Kind::Pci;
  std::string address;  // BDF or UUID
  std::string driver;   // empty: none bound
  bool vfio = false;    // bound to a vfio driver
  uint32_t group = 0;
  bool has_group = true;
  bool device_feature_op = true;
  std::map<std::string, std::string> ids;  // vendor, device, subsystem_*, revision, class
  std::string physfn;
  std::optional<uint32_t> numvfs;  // has sriov_numvfs
  std::string vf_token;
  int open_errno = 0;
  bool migrates = true;
  uint32_t ports = 1;  // mtty
  MigrationKnobs knobs;
  ResetKnobs reset;
};

// An entry of `files`: adds to the tree, or changes how a file of it answers.
struct FileConfig {
  std::string path;
  std::optional<std::string> content;
  std::optional<std::string> link;
  bool directory = false;
  bool absent = false;
  std::optional<uint32_t> mode;
  int open_errno = 0, read_errno = 0, write_errno = 0;
};

// What happens to the bytes of a data fd on their way (stream_fault.h).
enum class StreamFault { None, Lost, Duplicated, Reordered, Flipped, Short, Endless, Stale };

struct FaultConfig {
  std::string name;
  /* which calls it meets */
  std::string call;
  std::string request;
  std::string device;
  std::string fd;
  std::string path;
  std::string arc;
  uint64_t nth = 1;
  uint64_t times = 1;  // 0: from the nth on for ever
  std::optional<uint64_t> at_offset;
  /* what it does */
  int error = 0;
  bool after = false;
  bool hang = false;
  uint32_t delay_ms = 0;
  std::optional<uint64_t> at_most;
  std::optional<uint32_t> state;
  StreamFault stream = StreamFault::None;
  uint64_t bytes = 512;  // of the stream that it meets
  uint64_t seed = 1;     // where, without at_offset
};

struct Scenario {
  std::string name;
  std::string description;
  KernelConfig kernel;
  std::map<uint32_t, GroupConfig> groups;
  std::vector<DeviceConfig> devices;
  std::vector<FileConfig> files;
  std::vector<FaultConfig> faults;
  AttributesConfig attributes;
};

// Throw ScenarioError.
Scenario ReadScenario(std::string_view text);
std::vector<FaultConfig> ReadFaults(const json::Value& list, const std::string& pointer);
// Changes those members of `knobs` and `reset` that the object names.
void ReadKnobs(const json::Value& object, const std::string& pointer, DeviceConfig& device);

// "STOP" or a number. Throws ScenarioError.
uint32_t ReadState(const json::Value& value, const std::string& pointer);

}  // namespace vfm::mock
