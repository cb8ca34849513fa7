// Attributes that answer as drivers do: values they refuse, pools that run empty, silent rounding, values
// that change between two reads; and mdev types of which instances can be made. docs/mock.md explains each
// member.
//
// An instance made through `create` is there for sysfs: it can be described and configured, not opened.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mock/json.h"

namespace vfm::mock {

class Mock;
class Reader;
struct Scenario;

// A number, a range of numbers, or a text.
struct AllowedItem {
  std::string text;
  std::optional<std::pair<uint64_t, uint64_t>> range;
};

struct AttributeConfig {
  enum class Type { Int, Bool, Text };
  enum class Busy { Never, Always, Open };
  // Absolute; of an mdev type: relative to the instance.
  std::string path;
  Type type = Type::Int;
  std::string value;
  uint32_t mode = 0644;
  std::vector<AllowedItem> allowed;  // empty: whatever the type allows
  // Other attributes that must have one of these values, else EINVAL. Paths as for `path`.
  std::map<std::string, std::vector<AllowedItem>> needs;
  Busy busy = Busy::Never;
  std::string device;  // whose being open makes it busy
  std::string pool;
  // Silently: rounded down to a multiple, lowered to the maximum.
  uint64_t step = 1;
  uint64_t at_most = UINT64_MAX;
  // What reads give in turn, instead of the value.
  std::vector<std::string> reads;
  // It is the MSI-X table size in the device's config space, and cannot be read itself.
  bool msix = false;
};

struct PoolConfig {
  uint64_t capacity = 0;
  // Somebody else takes at once what a write frees.
  bool taker = false;
};

struct MdevTypeConfig {
  std::string parent, type, name, device_api = "vfio-pci", description, driver = "vfio_mdev";
  uint64_t instances = 1;
  // Read-only files of each instance, by relative path.
  std::map<std::string, std::string> files;
  std::vector<AttributeConfig> attributes;
  // Instances that are there from the start, by UUID: values that differ from those of `attributes`.
  std::map<std::string, std::map<std::string, std::string>> existing;
};

struct AttributesConfig {
  std::map<std::string, PoolConfig> pools;
  std::vector<AttributeConfig> attributes;
  std::vector<MdevTypeConfig> mdev_types;
};

// Reads `pools`, `attributes` and `mdev_types` into a scenario whose devices are known. Throws ScenarioError.
void ReadAttributes(Reader& r, Scenario& scenario);

class Attributes {
 public:
  explicit Attributes(Mock& mock) : mock_(mock) {}

  // Adds them to the tree. Throws ScenarioError for values that do not fit their own rules or their pools.
  void Build();
  // Somebody else changes a value, past all rules. 0 or -ENOENT.
  int Set(const std::string& path, const std::string& value);
  // {NAME: {capacity, free, taken}}
  json::Value Pools() const;

 private:
  struct Attribute {
    AttributeConfig config;
    std::string base;  // what `needs` is relative to; empty for absolute paths
    std::string value;
    size_t reads = 0;
  };
  struct Pool {
    PoolConfig config;
    uint64_t used = 0;
    uint64_t taken = 0;
    uint64_t Free() const { return config.capacity - used - taken; }
  };
  struct MdevType {
    MdevTypeConfig config;
    std::string parent_dir, dir;
    std::vector<std::string> instances;
    std::map<std::string, std::string> entries;  // of /sys/class/vfio-dev, by UUID
  };

  int Add(const AttributeConfig& config, const std::string& base);
  void AddConfigSpace(const std::string& directory, const std::shared_ptr<Attribute>& attribute);
  int Show(Attribute& attribute, std::string& out);
  int Store(Attribute& attribute, std::string_view text);
  bool Allows(const std::vector<AllowedItem>& items, const std::string& value) const;
  bool NeedsHold(const Attribute& attribute) const;
  int Claim(const AttributeConfig& config, uint64_t from, uint64_t to);
  void AddType(const MdevTypeConfig& config);
  int Create(MdevType& type, const std::string& uuid, const std::map<std::string, std::string>& values);
  // The tree is being changed by the caller.
  void RemoveLocked(MdevType& type, const std::string& uuid);

  Mock& mock_;
  mutable std::recursive_mutex lock_;
  std::map<std::string, Pool> pools_;
  // By the path in the tree.
  std::map<std::string, std::shared_ptr<Attribute>> attributes_;
  std::vector<std::unique_ptr<MdevType>> types_;
  size_t made_ = 0;
};

}  // namespace vfm::mock
