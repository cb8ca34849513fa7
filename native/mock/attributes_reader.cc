// `pools`, `attributes` and `mdev_types` of a scenario.
#include <charconv>

#include "mock/attributes.h"
#include "mock/reader.h"
#include "mock/scenario.h"

namespace vfm::mock {

using json::Type;
using json::Value;

namespace {

bool ToNumber(std::string_view text, uint64_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// A text or a number; true and false are 1 and 0, as sysfs has them.
std::string Text(const Value& v, const std::string& pointer) {
  if (v.type() == Type::Bool) return v.boolean() ? "1" : "0";
  if (v.type() == Type::String || v.type() == Type::Number) return v.text();
  throw ScenarioError(pointer + ": wanted a text, a number, true or false");
}

std::vector<AllowedItem> ReadAllowed(const Value& list, const std::string& pointer, bool ranges) {
  if (list.type() != Type::Array) throw ScenarioError(pointer + ": wanted an array");
  std::vector<AllowedItem> items;
  for (size_t i = 0; i < list.items().size(); i++) {
    AllowedItem item;
    item.text = Text(list.items()[i], pointer + "/" + std::to_string(i));
    uint64_t low = 0, high = 0;
    size_t dash = item.text.find('-');
    if (ranges && dash != item.text.npos && ToNumber(item.text.substr(0, dash), low) &&
        ToNumber(item.text.substr(dash + 1), high))
      item.range = {low, high};
    items.push_back(std::move(item));
  }
  return items;
}

AttributeConfig ReadAttribute(const std::string& path, const Value& value, const std::string& pointer) {
  AttributeConfig a;
  a.path = path;
  Reader r(value, pointer);
  size_t word = 0;
  if (r.Word("type", {"int", "bool", "text"}, word)) a.type = static_cast<AttributeConfig::Type>(word);
  const Value* v = r.Any("value");
  if (v == nullptr) r.Fail("value", "missing");
  a.value = Text(*v, r.At("value"));
  bool ranges = a.type == AttributeConfig::Type::Int;
  uint64_t n = 0;
  if (ranges && !ToNumber(a.value, n)) r.Fail("value", "wanted a number, as the type is int");
  bool flag = false;
  if (r.Bool("read_only", flag) && flag) a.mode = 0444;
  if (const Value* list = r.ArrayMember("allowed")) a.allowed = ReadAllowed(*list, r.At("allowed"), ranges);
  if (const Value* needs = r.ObjectMember("needs"))
    for (const auto& [other, items] : needs->members())
      a.needs[other] = ReadAllowed(items, Pointer(r.At("needs"), other), true);
  if (r.Word("busy", {"never", "always", "open"}, word)) a.busy = static_cast<AttributeConfig::Busy>(word);
  r.String("device", a.device);
  if (a.busy == AttributeConfig::Busy::Open && a.device.empty())
    r.Fail("device", "missing: whose being open makes the attribute busy");
  r.String("pool", a.pool);
  r.Uint("step", a.step);
  if (a.step == 0) r.Fail("step", "0 is no step");
  r.Uint("at_most", a.at_most);
  if (const Value* list = r.ArrayMember("reads"))
    for (size_t i = 0; i < list->items().size(); i++)
      a.reads.push_back(Text(list->items()[i], r.At("reads") + "/" + std::to_string(i)));
  if (r.Bool("msix", a.msix) && a.msix && (!ranges || n < 1 || n > 2048))
    r.Fail("value", "an MSI-X table has 1 to 2048 entries");
  r.Finish();
  return a;
}

std::vector<AttributeConfig> ReadList(const Value& members, const std::string& pointer, bool absolute) {
  std::vector<AttributeConfig> list;
  for (const auto& [path, value] : members.members()) {
    std::string at = Pointer(pointer, path);
    if (path.empty() || (path[0] == '/') != absolute)
      throw ScenarioError(at + (absolute ? ": a path starts with /" : ": wanted a path below the instance"));
    list.push_back(ReadAttribute(path, value, at));
  }
  return list;
}

MdevTypeConfig ReadType(const Value& value, const std::string& pointer) {
  MdevTypeConfig t;
  Reader r(value, pointer);
  if (!r.String("parent", t.parent) || t.parent.empty()) r.Fail("parent", "missing");
  if (!r.String("type", t.type) || t.type.empty()) r.Fail("type", "missing");
  r.String("name", t.name);
  r.String("device_api", t.device_api);
  r.String("description", t.description);
  r.String("driver", t.driver);
  r.Uint("instances", t.instances, 1 << 16);
  if (const Value* files = r.ObjectMember("files"))
    for (const auto& [path, content] : files->members())
      t.files[path] = Text(content, Pointer(r.At("files"), path));
  if (const Value* list = r.ObjectMember("attributes"))
    t.attributes = ReadList(*list, r.At("attributes"), false);
  if (const Value* existing = r.ObjectMember("existing")) {
    for (const auto& [uuid, values] : existing->members()) {
      std::string at = Pointer(r.At("existing"), uuid);
      if (uuid.size() != 36 || values.type() != Type::Object)
        throw ScenarioError(at + ": wanted the UUID of an instance, and an object of values");
      auto& own = t.existing[uuid];
      for (const auto& [path, text] : values.members()) own[path] = Text(text, Pointer(at, path));
    }
  }
  r.Finish();
  return t;
}

void CheckReferences(const Scenario& scenario, const std::vector<AttributeConfig>& list,
                     const std::string& pointer) {
  for (const AttributeConfig& a : list) {
    std::string at = Pointer(pointer, a.path);
    if (!a.pool.empty() && scenario.attributes.pools.count(a.pool) == 0)
      throw ScenarioError(at + "/pool: no pool " + a.pool);
    bool known = std::any_of(scenario.devices.begin(), scenario.devices.end(),
                             [&](const DeviceConfig& d) { return d.address == a.device; });
    if (!a.device.empty() && !known) throw ScenarioError(at + "/device: no device " + a.device);
  }
}

}  // namespace

void ReadAttributes(Reader& r, Scenario& scenario) {
  AttributesConfig& config = scenario.attributes;
  if (const Value* pools = r.ObjectMember("pools")) {
    for (const auto& [name, value] : pools->members()) {
      PoolConfig& pool = config.pools[name];
      Reader p(value, Pointer("/pools", name));
      if (!p.Uint("capacity", pool.capacity)) p.Fail("capacity", "missing");
      p.Bool("taker", pool.taker);
      p.Finish();
    }
  }
  if (const Value* list = r.ObjectMember("attributes"))
    config.attributes = ReadList(*list, "/attributes", true);
  if (const Value* types = r.ArrayMember("mdev_types"))
    for (size_t i = 0; i < types->items().size(); i++)
      config.mdev_types.push_back(ReadType(types->items()[i], "/mdev_types/" + std::to_string(i)));
  CheckReferences(scenario, config.attributes, "/attributes");
  for (size_t i = 0; i < config.mdev_types.size(); i++)
    CheckReferences(scenario, config.mdev_types[i].attributes,
                    "/mdev_types/" + std::to_string(i) + "/attributes");
}

}  // namespace vfm::mock
