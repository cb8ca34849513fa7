#include "mock/attributes.h"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "mock/mock.h"

namespace vfm::mock {

using json::Value;

namespace {

bool ToNumber(std::string_view text, uint64_t& out) {
  int base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    text.remove_prefix(2);
  }
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// As kstrtobool reads it.
bool ToBool(std::string_view text, bool& out) {
  static constexpr std::string_view kOn[] = {"1", "y", "Y", "on", "On", "ON"};
  static constexpr std::string_view kOff[] = {"0", "n", "N", "off", "Off", "OFF"};
  out = std::find(std::begin(kOn), std::end(kOn), text) != std::end(kOn);
  return out || std::find(std::begin(kOff), std::end(kOff), text) != std::end(kOff);
}

// The driver's own spelling; false: the text has not the type.
bool Parse(AttributeConfig::Type type, std::string_view text, std::string& out) {
  if (type == AttributeConfig::Type::Text) {
    out = text;
    return true;
  }
  if (type == AttributeConfig::Type::Bool) {
    bool on = false;
    if (!ToBool(text, on)) return false;
    out = on ? "1" : "0";
    return true;
  }
  uint64_t n = 0;
  if (!ToNumber(text, n)) return false;
  out = std::to_string(n);
  return true;
}

uint64_t Amount(const std::string& value) {
  uint64_t n = 0;
  return ToNumber(value, n) ? n : 0;
}

std::string Parent(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

}  // namespace

void Attributes::Build() {
  const AttributesConfig& config = mock_.config.attributes;
  for (const auto& [name, pool] : config.pools) pools_[name].config = pool;
  for (const AttributeConfig& a : config.attributes)
    if (Add(a, "") != 0)
      throw ScenarioError("/attributes: " + a.path + " takes more than its pool " + a.pool + " has");
  for (const MdevTypeConfig& t : config.mdev_types) AddType(t);
}

int Attributes::Add(const AttributeConfig& config, const std::string& base) {
  auto attribute = std::make_shared<Attribute>();
  attribute->config = config;
  attribute->base = base;
  attribute->value = config.value;
  if (int e = Claim(config, 0, Amount(config.value)); e != 0) return e;
  std::string path = base.empty() ? mock_.tree.Resolve(config.path) : base + "/" + config.path;
  Node& node = mock_.tree.File(path, "", config.msix ? 0200 : config.mode);
  if (!config.msix) node.show = [this, attribute](std::string& out) { return Show(*attribute, out); };
  node.store = [this, attribute](std::string_view text) { return Store(*attribute, text); };
  attributes_[path] = attribute;
  if (config.msix) AddConfigSpace(Parent(path), attribute);
  return 0;
}

// Configuration space with one capability: MSI-X, at 0x40. Its table size is the attribute's value.
void Attributes::AddConfigSpace(const std::string& directory, const std::shared_ptr<Attribute>& attribute) {
  mock_.tree.File(directory + "/config", "", 0644).show = [this, attribute](std::string& out) {
    std::lock_guard hold(lock_);
    uint64_t last = Amount(attribute->value) - 1;
    out.assign(256, '\0');
    out[0x06] = 0x10;  // there are capabilities
    out[0x34] = 0x40;
    out[0x40] = 0x11;
    out[0x42] = static_cast<char>(last & 0xff);
    out[0x43] = static_cast<char>(last >> 8 & 0x07);
    return 0;
  };
}

int Attributes::Show(Attribute& attribute, std::string& out) {
  std::lock_guard hold(lock_);
  const std::vector<std::string>& turns = attribute.config.reads;
  out = (turns.empty() ? attribute.value : turns[attribute.reads++ % turns.size()]) + "\n";
  return 0;
}

int Attributes::Store(Attribute& attribute, std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::lock_guard hold(lock_);
  const AttributeConfig& c = attribute.config;
  std::string value;
  if (!Parse(c.type, text, value)) return -EINVAL;
  if (c.busy == AttributeConfig::Busy::Always) return -EBUSY;
  if (c.busy == AttributeConfig::Busy::Open && mock_.FindDevice(c.device)->open_count() != 0) return -EBUSY;
  if (!c.allowed.empty() && !Allows(c.allowed, value)) return -EINVAL;
  if (!NeedsHold(attribute)) return -EINVAL;
  if (c.type == AttributeConfig::Type::Int) {
    uint64_t n = std::min(Amount(value), c.at_most);
    value = std::to_string(n - n % c.step);
  }
  if (int e = Claim(c, Amount(attribute.value), Amount(value)); e != 0) return e;
  attribute.value = std::move(value);
  return 0;
}

bool Attributes::Allows(const std::vector<AllowedItem>& items, const std::string& value) const {
  return std::any_of(items.begin(), items.end(), [&](const AllowedItem& item) {
    if (!item.range) return item.text == value;
    uint64_t n = 0;
    return ToNumber(value, n) && item.range->first <= n && n <= item.range->second;
  });
}

bool Attributes::NeedsHold(const Attribute& attribute) const {
  for (const auto& [path, items] : attribute.config.needs) {
    std::string other = attribute.base.empty() ? mock_.tree.Resolve(path) : attribute.base + "/" + path;
    auto it = attributes_.find(other);
    if (it == attributes_.end() || !Allows(items, it->second->value)) return false;
  }
  return true;
}

// Moves an attribute's share of its pool.
int Attributes::Claim(const AttributeConfig& config, uint64_t from, uint64_t to) {
  if (config.pool.empty()) return 0;
  Pool& pool = pools_[config.pool];
  if (to > from && to - from > pool.Free()) return -ENOSPC;
  if (from > to && pool.config.taker) pool.taken += from - to;
  pool.used += to - from;
  return 0;
}

int Attributes::Set(const std::string& path, const std::string& value) {
  std::lock_guard hold(lock_);
  auto it = attributes_.find(mock_.tree.Resolve(path));
  if (it == attributes_.end()) return -ENOENT;
  it->second->value = value;
  return 0;
}

Value Attributes::Pools() const {
  std::lock_guard hold(lock_);
  Value all = Value::Object();
  for (const auto& [name, pool] : pools_) {
    Value v = Value::Object();
    v.Set("capacity", pool.config.capacity);
    v.Set("free", pool.Free());
    v.Set("taken", pool.taken);
    all.Set(name, std::move(v));
  }
  return all;
}

void Attributes::AddType(const MdevTypeConfig& config) {
  Tree& tree = mock_.tree;
  auto type = std::make_unique<MdevType>();
  MdevType& t = *type;
  t.config = config;
  bool pci = config.parent.find(':') != std::string::npos;
  t.parent_dir =
      pci ? "/sys/devices/pci" + config.parent.substr(0, config.parent.size() - 5) + "/" + config.parent
          : "/sys/devices/virtual/" + config.parent + "/" + config.parent;
  t.dir = t.parent_dir + "/mdev_supported_types/" + config.type;
  if (pci) tree.Link("/sys/bus/pci/devices/" + config.parent, t.parent_dir);
  tree.Link("/sys/class/mdev_bus/" + config.parent, t.parent_dir);
  tree.Directory("/sys/bus/mdev/devices");
  tree.Directory(t.dir + "/devices");
  if (!config.name.empty()) tree.File(t.dir + "/name", config.name + "\n");
  if (!config.description.empty()) tree.File(t.dir + "/description", config.description + "\n");
  tree.File(t.dir + "/device_api", config.device_api + "\n");
  tree.File(t.dir + "/available_instances", "").show = [this, &t](std::string& out) {
    std::lock_guard hold(lock_);
    out = std::to_string(t.config.instances - t.instances.size()) + "\n";
    return 0;
  };
  tree.File(t.dir + "/create", "", 0200).store = [this, &t](std::string_view text) {
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (text.size() != 36) return -EINVAL;
    return Create(t, std::string(text), {});
  };
  for (const auto& [uuid, values] : config.existing)
    if (Create(t, uuid, values) != 0)
      throw ScenarioError("/mdev_types: the instance " + uuid + " of " + config.type + " has no room");
  types_.push_back(std::move(type));
}

int Attributes::Create(MdevType& type, const std::string& uuid,
                       const std::map<std::string, std::string>& values) {
  std::lock_guard hold(lock_);
  Tree& tree = mock_.tree;
  const MdevTypeConfig& c = type.config;
  Node* node = nullptr;
  if (tree.Lookup(nullptr, "/sys/bus/mdev/devices/" + uuid, false, node) == 0) return -EEXIST;
  if (type.instances.size() >= c.instances) return -ENOSPC;
  auto change = tree.Change();
  std::string dir = type.parent_dir + "/" + uuid;
  type.instances.push_back(uuid);
  for (AttributeConfig a : c.attributes) {
    if (auto it = values.find(a.path); it != values.end()) a.value = it->second;
    if (int e = Add(a, dir); e != 0) {
      RemoveLocked(type, uuid);
      return e;
    }
  }
  std::string driver = "/sys/bus/mdev/drivers/" + c.driver;
  tree.Link("/sys/bus/mdev/devices/" + uuid, dir);
  tree.Link(dir + "/subsystem", "/sys/bus/mdev");
  tree.Link(dir + "/driver", driver);
  tree.Link(driver + "/" + uuid, dir);
  tree.Link(dir + "/mdev_type", type.dir);
  tree.Link(type.dir + "/devices/" + uuid, dir);
  for (const auto& [path, content] : c.files) tree.File(dir + "/" + path, content);
  if (mock_.config.kernel.version.AtLeast(6, 1)) {
    // After those of the devices, so that no number is there twice.
    std::string entry = "vfio" + std::to_string(mock_.devices.size() + made_++);
    tree.Link(dir + "/vfio-dev/" + entry + "/device", dir);
    tree.Link("/sys/class/vfio-dev/" + entry, dir + "/vfio-dev/" + entry);
    type.entries[uuid] = entry;
  }
  tree.File(dir + "/remove", "", 0200).store = [this, &type, uuid](std::string_view text) {
    if (text != "1" && text != "1\n") return -EINVAL;
    std::lock_guard hold(lock_);
    auto change = mock_.tree.Change();
    RemoveLocked(type, uuid);
    return 0;
  };
  return 0;
}

void Attributes::RemoveLocked(MdevType& type, const std::string& uuid) {
  std::string dir = type.parent_dir + "/" + uuid;
  for (auto it = attributes_.begin(); it != attributes_.end();) {
    if (it->first.starts_with(dir + "/")) {
      Claim(it->second->config, Amount(it->second->value), 0);
      it = attributes_.erase(it);
    } else {
      ++it;
    }
  }
  std::erase(type.instances, uuid);
  for (const std::string& path :
       {dir, "/sys/class/vfio-dev/" + type.entries[uuid], "/sys/bus/mdev/devices/" + uuid,
        type.dir + "/devices/" + uuid, "/sys/bus/mdev/drivers/" + type.config.driver + "/" + uuid})
    mock_.tree.Remove(path);
}

}  // namespace vfm::mock
