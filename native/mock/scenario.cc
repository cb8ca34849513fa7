#include "mock/scenario.h"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "mock/content.h"
#include "mock/fault.h"
#include "mock/fsm.h"
#include "mock/personality.h"
#include "mock/reader.h"

namespace vfm::mock {

using json::Type;
using json::Value;

namespace {

bool IsHex(std::string_view s) {
  return !s.empty() && s.find_first_not_of("0123456789abcdef") == s.npos;
}

// dddd:bb:ss.f
bool IsBdf(std::string_view s) {
  if (s.size() < 12 || s.size() > 16) return false;
  std::string_view tail = s.substr(s.size() - 8);  // ":bb:ss.f"
  return IsHex(s.substr(0, s.size() - 8)) && tail[0] == ':' && IsHex(tail.substr(1, 2)) && tail[3] == ':' &&
         IsHex(tail.substr(4, 2)) && tail[6] == '.' && tail[7] >= '0' && tail[7] <= '7';
}

bool IsUuid(std::string_view s) {
  if (s.size() != 36) return false;
  for (size_t i = 0; i < s.size(); i++) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? s[i] != '-' : !IsHex(s.substr(i, 1))) return false;
  }
  return true;
}

KernelVersion ReadRelease(Reader& r, const std::string& release) {
  KernelVersion v;
  uint32_t* parts[] = {&v.major, &v.minor, &v.patch};
  const char* at = release.data();
  const char* end = at + release.size();
  for (int i = 0; i < 3; i++) {
    auto [next, error] = std::from_chars(at, end, *parts[i]);
    if (error != std::errc()) {
      if (i < 2) r.Fail("release", "\"" + release + "\" does not start with MAJOR.MINOR");
      break;
    }
    at = next;
    if (at == end || *at != '.') break;
    at++;
  }
  return v;
}

KernelConfig ReadKernel(const Value& value, const std::string& pointer) {
  KernelConfig k;
  Reader r(value, pointer);
  if (r.String("release", k.release)) k.version = ReadRelease(r, k.release);
  if (k.release.size() > 64) r.Fail("release", "longer than 64 characters");
  r.String("machine", k.machine);
  if (k.machine.size() > 64) r.Fail("machine", "longer than 64 characters");
  r.Bool("group_path", k.group_path);
  if (r.Bool("iommufd", k.iommufd)) k.iommufd_driver = k.iommufd;
  r.Bool("iommufd_driver", k.iommufd_driver);
  r.Bool("cdev", k.cdev);
  if (k.cdev && !k.iommufd)
    r.Fail("cdev", "CONFIG_VFIO_DEVICE_CDEV needs CONFIG_IOMMUFD: set \"iommufd\" too");
  if (k.cdev && !k.version.AtLeast(6, 6)) r.Fail("cdev", "the device cdev came with 6.6");
  if (k.iommufd && !k.version.AtLeast(6, 2)) r.Fail("iommufd", "iommufd came with 6.2");
  r.Bool("debugfs", k.debugfs);
  if (k.debugfs && !k.version.AtLeast(6, 8)) r.Fail("debugfs", "VFIO_DEBUGFS came with 6.8");
  r.Bool("noiommu", k.noiommu);
  r.Bool("cap_sys_rawio", k.cap_sys_rawio);
  if (const Value* types = r.ArrayMember("iommu_types")) {
    k.iommu_types.clear();
    for (size_t i = 0; i < types->items().size(); i++)
      k.iommu_types.push_back(
          ParseUint(types->items()[i], r.At("iommu_types") + "/" + std::to_string(i), UINT32_MAX));
  }
  r.Errno("unknown_feature", k.unknown_feature_errno);
  r.Small("fd_start", k.fd_start, 1 << 20);
  r.Small("fd_limit", k.fd_limit, 1 << 20);
  r.Small("log_size", k.log_size, 1 << 20);
  r.Finish();
  return k;
}

GroupConfig ReadGroup(const Value& value, const std::string& pointer) {
  GroupConfig g;
  Reader r(value, pointer);
  r.String("name", g.name);
  r.Bool("noiommu", g.noiommu);
  bool viable = true;
  if (r.Bool("viable", viable)) g.viable = viable;
  r.Bool("held", g.held);
  r.Finish();
  return g;
}

// A number, text of one, or a list of capability names.
uint64_t ReadFlags(const Value& v, const std::string& pointer) {
  if (v.type() != Type::Array) return ParseUint(v, pointer, UINT64_MAX);
  static constexpr std::pair<const char*, uint64_t> kNames[] = {
      {"STOP_COPY", 1}, {"P2P", 2}, {"PRE_COPY", 4}};
  uint64_t flags = 0;
  for (const Value& item : v.items()) {
    auto row =
        std::find_if(std::begin(kNames), std::end(kNames), [&](auto& n) { return item.text() == n.first; });
    if (item.type() != Type::String || row == std::end(kNames))
      throw ScenarioError(pointer + ": wanted STOP_COPY, P2P or PRE_COPY");
    flags |= row->second;
  }
  return flags;
}

void ReadMigration(const Value& value, const std::string& pointer, MigrationKnobs& m) {
  Reader r(value, pointer);
  if (const Value* flags = r.Any("flags")) m.flags = ReadFlags(*flags, r.At("flags"));
  r.Bool("dirty_logging", m.dirty_logging);
  r.Bool("refuse_second_log_start", m.refuse_second_log_start);
  if (r.Uint("log_page_size", m.log_page_size, 1ull << 40) && (m.log_page_size & (m.log_page_size - 1)) != 0)
    r.Fail("log_page_size", "wanted a power of two");
  r.Uint("dirty_pages", m.dirty_pages, 1u << 20);
  size_t pattern = 0;
  if (r.Word("dirty_pattern", {"random", "sequential"}, pattern))
    m.dirty_pattern = static_cast<DirtyPattern>(pattern);
  if (r.Uint("size", m.size, 1ull << 50) && m.size < kImageHeader)
    r.Fail("size", "a saved state has a header of " + std::to_string(kImageHeader) + " bytes");
  r.Uint("seed", m.seed);
  r.String("model", m.model);
  if (m.model.size() > 31) r.Fail("model", "longer than 31 bytes");
  size_t word = 0;
  if (r.Word("checks", {"none", "length", "content"}, word)) m.checks = static_cast<Checks>(word);
  r.Errno("mismatch_errno", m.mismatch_errno);
  if (r.Word("after_error", {"again", "dead"}, word)) m.after_error = static_cast<AfterError>(word);
  uint64_t n = 0;
  if (r.Uint("data_size", n)) m.data_size = n;
  r.Errno("data_size_errno", m.data_size_errno);
  if (r.Word("framing", {"plain", "records", "hisi", "qat", "packets"}, word))
    m.framing = static_cast<Framing>(word);
  r.Bool("stop_copy_hint", m.stop_copy_hint);
  r.Uint("max_stream", m.max_stream, 1ull << 50);
  if (r.Word("verdict", {"write", "stop"}, word)) m.verdict = static_cast<Verdict>(word);
  r.Bool("refused_load_ends", m.refused_load_ends);
  r.Bool("guest_driver", m.guest_driver);
  r.Bool("match_once", m.match_once);
  // Saying how much PRE_COPY offers is saying that it does not offer everything.
  if (r.Uint("initial_bytes", m.initial_bytes, 1ull << 50)) m.whole_first = false;
  if (r.Uint("dirty_bytes", m.dirty_bytes, 1ull << 50)) m.whole_first = false;
  r.Bool("whole_first", m.whole_first);
  if (r.Word("precopy_info", {"none", "pre_copy", "both"}, word))
    m.precopy_info = static_cast<PrecopyInfo>(word);
  r.Uint("dirty_rate", m.dirty_rate, 1ull << 50);
  if (r.Uint("dirty_max", m.dirty_max, 1ull << 40) && m.dirty_max == 0)
    r.Fail("dirty_max", "wanted more than 0");
  r.Small("reinit", m.reinit);
  r.Bool("pump", m.pump);
  r.Small("pump_interval_ms", m.pump_interval_ms);
  if (r.Word("temporary_end", {"0", "ENOMSG"}, word)) m.temporary_end = word == 1 ? ENOMSG : 0;
  r.Uint("read_chunk", m.read_chunk);
  r.Uint("write_chunk", m.write_chunk);
  r.Small("read_delay_ms", m.read_delay_ms);
  r.Small("write_delay_ms", m.write_delay_ms);
  r.Uint("bandwidth", m.bandwidth);
  if (r.Uint("block_read_at", n)) m.block_read_at = n;
  r.Bool("honours_nonblock", m.honours_nonblock);
  r.Bool("polls", m.polls);
  if (r.String("data_fd", m.data_fd) && m.data_fd.size() > 32) r.Fail("data_fd", "longer than 32 characters");
  r.Small("delay_ms", m.delay_ms);
  r.Bool("delay_interruptible", m.delay_interruptible);
  if (const Value* arcs = r.ObjectMember("arc_delay_ms")) {
    for (const auto& [arc, ms] : arcs->members()) {
      std::string at = Pointer(r.At("arc_delay_ms"), arc);
      if (!IsArc(arc)) throw ScenarioError(at + ": an arc is written \"STOP>STOP_COPY\"");
      m.arc_delay_ms[arc] = static_cast<uint32_t>(ParseUint(ms, at, INT32_MAX));
    }
  }
  r.Errno("error_state_errno", m.error_state_errno);
  r.Errno("cancel_errno", m.cancel_errno);
  r.Bool("save_ends_logging", m.save_ends_logging);
  r.Bool("refusal_stops", m.refusal_stops);
  r.Finish();
}

void ReadReset(const Value& value, const std::string& pointer, ResetKnobs& k) {
  Reader r(value, pointer);
  r.Bool("works", k.works);
  r.Small("delay_ms", k.delay_ms);
  r.Small("again", k.again);
  r.Errno("fails", k.fails);
  r.Bool("on_open", k.on_open);
  r.Bool("deferred", k.deferred);
  r.Finish();
}

// FNV-1a: devices without a seed of their own start with different contents.
uint64_t SeedOf(const std::string& address) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (char c : address) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

constexpr const char* kIds[] = {"vendor",           "device",   "subsystem_vendor",
                                "subsystem_device", "revision", "class"};

constexpr std::pair<const char*, const char*> kDefaultIds[] = {
    {"vendor", "0x1af4"},           {"device", "0x10ff"}, {"subsystem_vendor", "0x1af4"},
    {"subsystem_device", "0x0001"}, {"revision", "0x01"}, {"class", "0x020000"},
};

void ReadIds(Reader& r, DeviceConfig& d) {
  for (const char* id : kIds) {
    std::string text;
    if (!r.String(id, text)) continue;
    size_t width = std::string_view(id) == "revision" ? 4 : std::string_view(id) == "class" ? 8 : 6;
    if (text.size() != width || !text.starts_with("0x") || !IsHex(std::string_view(text).substr(2)))
      r.Fail(id, "wanted text such as \"" + d.ids[id] + "\", as sysfs has it");
    d.ids[id] = text;
  }
}

void ReadPersonality(Reader& r, const KernelConfig& kernel, DeviceConfig& d) {
  for (auto [id, value] : kDefaultIds) d.ids[id] = value;
  d.driver = "mlx5_vfio_pci";
  std::string name;
  if (!r.String("personality", name) || ApplyPersonality(name, kernel.version, d)) return;
  std::string all, near = Nearest(name, PersonalityNames());
  for (const std::string& known : PersonalityNames()) all += (all.empty() ? "" : ", ") + known;
  r.Fail("personality",
         "\"" + name + "\" is none of " + all + (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
}

DeviceConfig ReadDevice(const Value& value, const std::string& pointer, const KernelConfig& kernel) {
  DeviceConfig d;
  Reader r(value, pointer);
  size_t kind = 0;
  if (!r.Word("kind", {"pci", "mtty"}, kind)) r.Fail("kind", "missing: \"pci\" or \"mtty\"");
  d.kind = static_cast<Kind>(kind);
  if (!r.String("address", d.address)) r.Fail("address", "missing");
  if (d.kind == Kind::Pci && !IsBdf(d.address))
    r.Fail("address", "wanted a PCI address such as \"0000:65:00.2\"");
  if (d.kind == Kind::Mtty && !IsUuid(d.address)) r.Fail("address", "wanted a UUID in lower case");
  d.knobs.seed = SeedOf(d.address);
  if (const Value* g = r.Any("group")) {
    d.has_group = g->type() != Type::Null;
    if (d.has_group) d.group = static_cast<uint32_t>(ParseUint(*g, r.At("group"), INT32_MAX));
  } else {
    r.Fail("group", "missing: the number of the IOMMU group, or null");
  }
  r.Errno("open_errno", d.open_errno);
  if (d.kind == Kind::Mtty) {
    d.driver = "mtty";
    d.vfio = true;
    d.device_feature_op = false;
    d.reset.on_open = false;
    d.knobs.dirty_logging = true;
    d.knobs.refuse_second_log_start = false;
    size_t type = 1;
    r.Word("type", {"mtty-1", "mtty-2"}, type);
    d.ports = static_cast<uint32_t>(type) + 1;
  } else {
    ReadPersonality(r, kernel, d);
    if (const Value* driver = r.Any("driver")) {
      if (driver->type() != Type::String && driver->type() != Type::Null)
        r.Fail("driver", "wanted a driver's name, or null when none is bound");
      d.driver = driver->type() == Type::String ? driver->text() : "";
    }
    d.vfio = d.driver.find("vfio") != std::string::npos;
    r.Bool("vfio", d.vfio);
    if (d.vfio && d.driver.empty()) r.Fail("vfio", "a device without driver is not bound to vfio");
    r.Bool("device_feature_op", d.device_feature_op);
    ReadIds(r, d);
    r.String("physfn", d.physfn);
    uint32_t n = 0;
    if (r.Small("sriov_numvfs", n, 65535)) d.numvfs = n;
    if (r.String("vf_token", d.vf_token) && !IsUuid(d.vf_token))
      r.Fail("vf_token", "wanted a UUID in lower case");
  }
  if (d.vfio && !d.has_group) r.Fail("group", "a device bound to vfio has a group");
  const Value* migration = r.Any("migration");
  d.migrates = d.vfio && !(migration != nullptr && migration->type() == Type::Null);
  if (migration != nullptr && migration->type() != Type::Null)
    ReadMigration(*migration, r.At("migration"), d.knobs);
  if (const Value* reset = r.Any("reset")) ReadReset(*reset, r.At("reset"), d.reset);
  r.Finish();
  return d;
}

FileConfig ReadFile(const std::string& path, const Value& value, const std::string& pointer) {
  FileConfig f;
  f.path = path;
  if (path.empty() || path[0] != '/') throw ScenarioError(pointer + ": a path starts with /");
  Reader r(value, pointer);
  std::string text;
  if (r.String("content", text)) f.content = text;
  if (r.String("link", text)) f.link = text;
  r.Bool("directory", f.directory);
  r.Bool("absent", f.absent);
  if ((f.content ? 1 : 0) + (f.link ? 1 : 0) + f.directory + f.absent > 1)
    throw ScenarioError(pointer + ": only one of content, link, directory and absent");
  uint64_t mode = 0;
  if (r.String("mode", text)) {
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (error != std::errc() || end != text.data() + text.size() || mode > 0777)
      r.Fail("mode", "wanted octal text such as \"0644\"");
    f.mode = static_cast<uint32_t>(mode);
  }
  r.Errno("errno", f.open_errno);
  r.Errno("read_errno", f.read_errno);
  r.Errno("write_errno", f.write_errno);
  r.Finish();
  return f;
}

void ReadStreamFault(Reader& r, FaultConfig& f) {
  size_t word = 0;
  if (r.Word("stream", {"lost", "duplicated", "reordered", "flipped", "short", "endless", "stale"}, word)) {
    f.stream = static_cast<StreamFault>(word + 1);
    bool fits = f.stream == StreamFault::Stale     ? f.call == "ioctl" && f.request == "VFIO_DEVICE_RESET"
                : f.stream == StreamFault::Endless ? f.call == "read"
                                                   : f.call == "read" || f.call == "write";
    if (!fits)
      r.Fail("stream", "is for read and write, endless for read, stale for the ioctl VFIO_DEVICE_RESET");
    if (f.stream != StreamFault::Stale) {
      if (!f.fd.empty() && f.fd != "data") r.Fail("stream", "only a data fd has one");
      f.fd = "data";
    }
  }
  r.Uint("bytes", f.bytes);
  if (f.bytes == 0) r.Fail("bytes", "wanted at least 1");
  r.Uint("seed", f.seed);
}

FaultConfig ReadFault(const Value& value, const std::string& pointer) {
  FaultConfig f;
  Reader r(value, pointer);
  r.String("name", f.name);
  if (!r.String("call", f.call)) r.Fail("call", "missing: which call the fault meets");
  if (std::string why = CheckCallName(f.call); !why.empty()) r.Fail("call", why);
  if (r.String("request", f.request))
    if (std::string why = CheckRequestName(f.request); !why.empty()) r.Fail("request", why);
  r.String("device", f.device);
  size_t word = 0;
  static constexpr const char* kFds[] = {"container", "group", "device",   "iommufd",
                                         "data",      "file",  "directory"};
  if (r.Word("fd", {"container", "group", "device", "iommufd", "data", "file", "directory"}, word))
    f.fd = kFds[word];
  r.String("path", f.path);
  if (r.String("arc", f.arc) && !IsArc(f.arc)) r.Fail("arc", "an arc is written \"STOP>STOP_COPY\"");
  r.Uint("nth", f.nth);
  if (f.nth == 0) r.Fail("nth", "the first call is number 1");
  r.Uint("times", f.times);
  uint64_t n = 0;
  if (r.Uint("at_offset", n)) f.at_offset = n;
  r.Errno("errno", f.error);
  if (r.Word("when", {"before", "after"}, word)) f.after = word == 1;
  r.Bool("hang", f.hang);
  r.Small("delay_ms", f.delay_ms);
  if (r.Uint("at_most", n)) f.at_most = n;
  if (const Value* state = r.Any("state")) f.state = ReadState(*state, r.At("state"));
  ReadStreamFault(r, f);
  if (f.error == 0 && f.call == "alloc-fd") f.error = EMFILE;
  if (f.error == 0 && !f.hang && f.delay_ms == 0 && !f.at_most && !f.state && f.stream == StreamFault::None)
    throw ScenarioError(pointer +
                        ": the fault does nothing: give errno, hang, delay_ms, at_most, state or stream");
  r.Finish();
  return f;
}

const DeviceConfig* FindDevice(const Scenario& s, const std::string& address) {
  for (const DeviceConfig& d : s.devices)
    if (d.address == address) return &d;
  return nullptr;
}

void CheckReferences(const Scenario& s) {
  for (size_t i = 0; i < s.devices.size(); i++) {
    const DeviceConfig& d = s.devices[i];
    std::string at = "/devices/" + std::to_string(i);
    if (FindDevice(s, d.address) != &d)
      throw ScenarioError(at + "/address: " + d.address + " is there twice");
    if (!d.physfn.empty() && FindDevice(s, d.physfn) == nullptr)
      throw ScenarioError(at + "/physfn: no device " + d.physfn);
  }
}

}  // namespace

uint32_t ReadState(const Value& value, const std::string& pointer) {
  if (value.type() == Type::String)
    if (auto state = StateOf(value.text())) return *state;
  if (value.type() == Type::Number) return static_cast<uint32_t>(ParseUint(value, pointer, UINT32_MAX));
  throw ScenarioError(pointer + ": wanted a state's name or a number");
}

std::vector<FaultConfig> ReadFaults(const Value& list, const std::string& pointer) {
  if (list.type() != Type::Array) throw ScenarioError(pointer + ": wanted an array of faults");
  std::vector<FaultConfig> faults;
  for (size_t i = 0; i < list.items().size(); i++)
    faults.push_back(ReadFault(list.items()[i], pointer + "/" + std::to_string(i)));
  return faults;
}

void ReadKnobs(const Value& object, const std::string& pointer, DeviceConfig& device) {
  Reader r(object, pointer);
  if (const Value* m = r.ObjectMember("migration")) ReadMigration(*m, r.At("migration"), device.knobs);
  if (const Value* reset = r.ObjectMember("reset")) ReadReset(*reset, r.At("reset"), device.reset);
  r.Finish();
}

Scenario ReadScenario(std::string_view text) {
  Value document;
  try {
    document = json::Parse(text);
  } catch (const json::Error& e) {
    throw ScenarioError(std::string("not JSON: ") + e.what());
  }
  Scenario s;
  Reader r(document, "");
  r.Any("$schema");
  if (!r.String("name", s.name) || s.name.empty()) r.Fail("name", "missing");
  r.String("description", s.description);
  if (const Value* k = r.ObjectMember("kernel")) s.kernel = ReadKernel(*k, "/kernel");
  if (const Value* groups = r.ObjectMember("groups")) {
    for (const auto& [number, value] : groups->members()) {
      std::string at = Pointer("/groups", number);
      s.groups[static_cast<uint32_t>(ParseUint(Value(number), at, INT32_MAX))] = ReadGroup(value, at);
    }
  }
  if (const Value* devices = r.ArrayMember("devices")) {
    for (size_t i = 0; i < devices->items().size(); i++)
      s.devices.push_back(ReadDevice(devices->items()[i], "/devices/" + std::to_string(i), s.kernel));
  }
  if (const Value* files = r.ObjectMember("files")) {
    for (const auto& [path, value] : files->members())
      s.files.push_back(ReadFile(path, value, Pointer("/files", path)));
  }
  ReadAttributes(r, s);
  if (const Value* faults = r.ArrayMember("faults")) s.faults = ReadFaults(*faults, "/faults");
  r.Finish();
  for (const DeviceConfig& d : s.devices)
    if (d.has_group) s.groups.try_emplace(d.group);
  CheckReferences(s);
  return s;
}

}  // namespace vfm::mock
