// /dev, /sys and /proc of the scenario's host: the links are where the kernel has them, so that a walk from
// any end finds the others (uAPI §6).
#include <sys/sysmacros.h>

#include <algorithm>
#include <set>

#include "mock/fsm.h"
#include "mock/mock.h"

namespace vfm::mock {

namespace {

constexpr uint32_t kCdevMajor = 511, kGroupMajor = 243;
const std::string kMdevParent = "/sys/devices/virtual/mtty/mtty";

std::string RealPath(const Device& d) {
  auto c = d.config();
  if (c->kind == Kind::Mtty) return kMdevParent + "/" + d.address();
  // The bus hangs below a root of its own: 0000:65:00.2 in pci0000:65.
  return "/sys/devices/pci" + d.address().substr(0, d.address().size() - 5) + "/" + d.address();
}

std::string Bus(const Device& d) {
  return d.config()->kind == Kind::Mtty ? "mdev" : "pci";
}

std::string GroupPath(const Group& g) {
  return "/sys/kernel/iommu_groups/" + std::to_string(g.number);
}

void AddVfioDev(Mock& mock, Device& d, const std::string& path) {
  const KernelConfig& k = mock.config.kernel;
  if (!k.version.AtLeast(6, 1)) return;
  std::string name = "vfio" + std::to_string(d.index());
  std::string dir = path + "/vfio-dev/" + name;
  auto minor = static_cast<unsigned>(d.index());
  bool cdev = k.cdev && !d.group->config.noiommu;
  mock.tree.Link(dir + "/device", path);
  mock.tree.Link(dir + "/subsystem", "/sys/class/vfio-dev");
  mock.tree.File(dir + "/uevent", cdev ? "MAJOR=" + std::to_string(kCdevMajor) + "\nMINOR=" +
                                             std::to_string(minor) + "\nDEVNAME=vfio/devices/" + name + "\n"
                                       : "");
  mock.tree.Link("/sys/class/vfio-dev/" + name, dir);
  if (!cdev) return;
  mock.tree.File(dir + "/dev", std::to_string(kCdevMajor) + ":" + std::to_string(minor) + "\n");
  mock.tree.CharDevice("/dev/vfio/devices/" + name, makedev(kCdevMajor, minor), 0600,
                       [&d](int flags, int&) { return std::make_shared<DeviceFile>(d, flags, nullptr); });
}

void AddDebugfs(Mock& mock, Device& d) {
  const KernelConfig& k = mock.config.kernel;
  if (!k.debugfs) return;
  std::string dir = "/sys/kernel/debug/vfio/" + d.address();
  mock.tree.Directory(dir);
  if (!d.config()->migrates) return;
  // Reading the state waits for a transition that runs (uAPI §2.5).
  mock.tree.File(dir + "/migration/state", "").show = [&d](std::string& out) {
    return static_cast<int>(d.driver()->WithState([&](uint32_t state) -> long {
      out = StateName(state) + "\n";
      return 0;
    }));
  };
  if (!k.version.AtLeast(6, 18)) return;
  mock.tree.File(dir + "/migration/features", "").show = [&d](std::string& out) {
    static constexpr std::pair<uint64_t, const char*> kWords[] = {{uapi::kMigrationStopCopy, "stop-copy\n"},
                                                                  {uapi::kMigrationP2p, "p2p\n"},
                                                                  {uapi::kMigrationPreCopy, "pre-copy\n"}};
    for (auto [bit, word] : kWords)
      if (d.driver()->Flags() & bit) out += word;
    if (d.driver()->HasLogOps()) out += "dirty-tracking\n";
    return 0;
  };
}

void AddPci(Mock& mock, Device& d, const std::string& path) {
  Tree& tree = mock.tree;
  auto c = d.config();
  for (const auto& [id, value] : c->ids) tree.File(path + "/" + id, value + "\n");
  tree.File(path + "/driver_override", (c->vfio ? c->driver : std::string("(null)")) + "\n", 0644);
  if (c->reset.works) tree.File(path + "/reset_method", "flr\n", 0644);
  uint32_t vfs = 0;
  for (const auto& other : mock.devices) {
    auto oc = other->config();
    if (oc->physfn != d.address()) continue;
    tree.Link(path + "/virtfn" + std::to_string(vfs++), RealPath(*other));
    tree.Link(RealPath(*other) + "/physfn", path);
  }
  if (!c->numvfs && vfs == 0) return;
  std::string number = std::to_string(c->numvfs.value_or(vfs));
  tree.File(path + "/sriov_totalvfs", std::to_string(std::max(c->numvfs.value_or(vfs), 8u)) + "\n");
  // VFs neither come nor go while the mock runs.
  tree.File(path + "/sriov_numvfs", number + "\n", 0644).store = [number](std::string_view text) {
    return text == number || text == number + "\n" ? 0 : -EBUSY;
  };
}

void AddMdev(Mock& mock, Device& d, const std::string& path) {
  Tree& tree = mock.tree;
  std::string type = d.config()->ports == 2 ? "mtty-2" : "mtty-1";
  std::string type_dir = kMdevParent + "/mdev_supported_types/" + type;
  tree.Link(path + "/mdev_type", type_dir);
  tree.Link(type_dir + "/devices/" + d.address(), path);
  tree.File(path + "/vendor/sample_mdev_dev", "This is MDEV " + d.address() + "\n");
  tree.File(path + "/remove", "", 0200).store = [](std::string_view) { return -EBUSY; };
}

void AddMdevParent(Mock& mock) {
  Tree& tree = mock.tree;
  tree.Link("/sys/class/mdev_bus/mtty", kMdevParent);
  static constexpr std::pair<const char*, const char*> kTypes[] = {{"mtty-1", "Single port serial"},
                                                                   {"mtty-2", "Dual port serial"}};
  for (auto [type, name] : kTypes) {
    std::string dir = kMdevParent + "/mdev_supported_types/" + type;
    tree.Directory(dir + "/devices");
    tree.File(dir + "/name", std::string(name) + "\n");
    tree.File(dir + "/device_api", "vfio-pci\n");
    // All ports are taken: devices neither come nor go while the mock runs.
    tree.File(dir + "/available_instances", "0\n");
    tree.File(dir + "/create", "", 0200).store = [&mock](std::string_view text) {
      if (text.ends_with('\n')) text.remove_suffix(1);
      if (text.size() != 36) return -EINVAL;
      return mock.FindDevice(std::string(text)) != nullptr ? -EEXIST : -ENOSPC;
    };
  }
}

void AddDevice(Mock& mock, Device& d) {
  Tree& tree = mock.tree;
  auto c = d.config();
  std::string path = RealPath(d), bus = "/sys/bus/" + Bus(d);
  tree.Directory(path);
  tree.Link(path + "/subsystem", bus);
  tree.Link(bus + "/devices/" + d.address(), path);
  if (!c->driver.empty()) {
    std::string driver = bus + "/drivers/" + c->driver;
    tree.Link(path + "/driver", driver);
    tree.Link(driver + "/" + d.address(), path);
  }
  if (d.group != nullptr) {
    tree.Link(path + "/iommu_group", GroupPath(*d.group));
    tree.Link(GroupPath(*d.group) + "/devices/" + d.address(), path);
  }
  if (c->kind == Kind::Mtty)
    AddMdev(mock, d, path);
  else
    AddPci(mock, d, path);
  if (!c->vfio) return;
  AddVfioDev(mock, d, path);
  AddDebugfs(mock, d);
}

void AddGroup(Mock& mock, Group& g) {
  Tree& tree = mock.tree;
  tree.Directory(GroupPath(g) + "/devices");
  tree.File(GroupPath(g) + "/reserved_regions", "");
  std::string name = g.config.name;
  if (name.empty() && !g.devices.empty() && (g.Emulated() || g.config.noiommu)) name = "vfio-noiommu";
  if (!name.empty()) tree.File(GroupPath(g) + "/name", name + "\n");
  bool usable =
      std::any_of(g.devices.begin(), g.devices.end(), [](Device* d) { return d->driver() != nullptr; });
  if (!usable || !mock.config.kernel.group_path) return;
  tree.CharDevice("/dev/vfio/" + g.NodeName(), makedev(kGroupMajor, g.number), 0600,
                  [&g](int flags, int& error) { return g.OpenNode(flags, error); });
  std::string dir = "/sys/devices/virtual/vfio/" + g.NodeName();
  tree.File(dir + "/dev", std::to_string(kGroupMajor) + ":" + std::to_string(g.number) + "\n");
  tree.Link("/sys/class/vfio/" + g.NodeName(), dir);
}

}  // namespace

void BuildTree(Mock& mock) {
  Tree& tree = mock.tree;
  for (const char* dir : {"/dev/vfio", "/proc", "/sys/bus/pci/devices", "/sys/bus/pci/drivers", "/sys/class",
                          "/sys/kernel/iommu_groups"})
    tree.Directory(dir);
  const KernelConfig& k = mock.config.kernel;
  tree.File("/proc/sys/kernel/osrelease", k.release + "\n");
  if (k.version.AtLeast(6, 1)) tree.Directory("/sys/class/vfio-dev");
  if (k.debugfs) tree.Directory("/sys/kernel/debug/vfio");
  if (k.group_path)
    tree.CharDevice("/dev/vfio/vfio", makedev(10, 196), 0666,
                    [&mock](int flags, int&) { return std::make_shared<ContainerFile>(mock, flags); });
  if (k.iommufd)
    tree.CharDevice("/dev/iommu", makedev(10, 127), 0660,
                    [](int flags, int&) { return std::make_shared<IommufdFile>(flags); });
  if (std::any_of(mock.devices.begin(), mock.devices.end(),
                  [](const auto& d) { return d->config()->kind == Kind::Mtty; }))
    AddMdevParent(mock);
  for (const auto& d : mock.devices) AddDevice(mock, *d);
  for (const auto& [number, g] : mock.groups) AddGroup(mock, *g);
  mock.attributes.Build();
  for (const FileConfig& f : mock.config.files) tree.Override(f);
}

}  // namespace vfm::mock
