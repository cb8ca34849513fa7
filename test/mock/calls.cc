// What the mock answers to pointers, descriptors and paths.
#include "calls.h"

#include <dirent.h>
#include <poll.h>
#include <thread>
#include <chrono>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <vector>

#include "../native/check.h"

using namespace calls;

namespace {

constexpr uint32_t kStop = uapi::kStateStop, kStopCopy = uapi::kStateStopCopy,
                   kResuming = uapi::kStateResuming, kPreCopy = uapi::kStatePreCopy;
const auto kNowhere = reinterpret_cast<void*>(8);

std::set<std::string> Names(Kernel& k, const char* path) {
  std::set<std::string> names;
  int fd = k.Open(path, O_RDONLY | O_DIRECTORY);
  CHECK(fd >= 0);
  // A buffer for few entries at a time.
  alignas(8) char buf[96];
  for (;;) {
    ssize_t n = k.k->getdents(k.k->ctx, fd, buf, sizeof buf);
    CHECK(n >= 0);
    if (n <= 0) break;
    for (ssize_t at = 0; at < n;) {
      uint16_t reclen;
      memcpy(&reclen, buf + at + 16, 2);
      names.insert(buf + at + 19);
      at += reclen;
    }
  }
  k.Close(fd);
  return names;
}

std::string Link(Kernel& k, const char* path) {
  char buf[256];
  ssize_t n = k.k->readlinkat(k.k->ctx, AT_FDCWD, path, buf, sizeof buf);
  return n < 0 ? std::to_string(n) : std::string(buf, static_cast<size_t>(n));
}

std::string Text(Kernel& k, const char* path) {
  int fd = k.Open(path, O_RDONLY);
  if (fd < 0) return std::to_string(fd);
  char buf[512];
  ssize_t n = k.Read(fd, buf, sizeof buf);
  k.Close(fd);
  return n < 0 ? std::to_string(n) : std::string(buf, static_cast<size_t>(n));
}

}  // namespace

TEST(MockRefusesAnotherInterface) {
  vfm_kernel* k = nullptr;
  char why[256] = "";
  CHECK_EQ(vfio_mock_create(99, "{}", 2, nullptr, &k, why, sizeof why), -EPROTO);
  CHECK(strstr(why, "99") != nullptr);
  CHECK(k == nullptr);
  // A sentence that does not fit is cut, not overrun.
  char tiny[4];
  CHECK_EQ(vfio_mock_create(VFM_KERNEL_ABI, "x", 1, nullptr, &k, tiny, sizeof tiny), -EINVAL);
  CHECK_EQ(strlen(tiny), 3u);
}

TEST(MockAnswersEfaultToBadPointers) {
  Kernel k(Nic(R"("dirty_logging":true)"));
  CHECK_EQ(k.k->openat(k.k->ctx, AT_FDCWD, static_cast<const char*>(kNowhere), O_RDONLY, 0), -EFAULT);
  int device = k.OpenDevice(kNic, 21);
  CHECK_EQ(k.Ioctl(device, uapi::kDeviceFeature, kNowhere), -EFAULT);
  CHECK_EQ(k.Ioctl(device, uapi::kDeviceGetInfo, kNowhere), -EFAULT);
  CHECK_EQ(k.Ioctl(device, uapi::kDeviceGetRegionInfo, kNowhere), -EFAULT);
  int fd = k.Set(device, kStopCopy);
  CHECK_EQ(k.Read(fd, kNowhere, 100), -EFAULT);
  CHECK_EQ(k.Ioctl(fd, uapi::kMigGetPrecopyInfo, kNowhere), -EFAULT);
  k.Set(device, kStop);
  int load = k.Set(device, kResuming);
  CHECK_EQ(k.Write(load, kNowhere, 100), -EFAULT);
  CHECK_EQ(k.k->pread(k.k->ctx, device, kNowhere, 8, 0), -EFAULT);
  CHECK_EQ(k.k->pwrite(k.k->ctx, device, kNowhere, 8, 0), -EFAULT);
  for (int f : {load, fd, device}) CHECK_EQ(k.Close(f), 0);
  CHECK(k.NoFds());
}

TEST(MockDescriptors) {
  Kernel k(Nic("", R"("fd_start":0)"));
  CHECK_EQ(k.Read(0, nullptr, 1), -EBADF);
  CHECK_EQ(k.Close(0), -EBADF);
  CHECK_EQ(k.Close(-1), -EBADF);
  CHECK_EQ(k.Ioctl(5, 0), -EBADF);
  int container = k.Open("/dev/vfio/vfio");
  CHECK_EQ(container, 0);
  CHECK_EQ(k.Fcntl(0, F_GETFD), 0);
  CHECK_EQ(k.Fcntl(0, F_SETFD, FD_CLOEXEC), 0);
  CHECK_EQ(k.Fcntl(0, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(k.Fcntl(0, F_GETFL) & O_ACCMODE, O_RDWR);
  CHECK_EQ(k.Fcntl(0, F_DUPFD_CLOEXEC, 7), 7);
  CHECK_EQ(k.Fcntl(0, F_DUPFD, 0), 1);
  CHECK_EQ(k.Fcntl(0, F_GETLK), -EINVAL);
  char byte;
  CHECK_EQ(k.Read(0, &byte, 1), -EINVAL);
  CHECK_EQ(k.Close(0), 0);
  CHECK_EQ(k.Open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC), 0);
  CHECK_EQ(k.Fcntl(0, F_GETFD), FD_CLOEXEC);
  for (int fd : {0, 1, 7}) CHECK_EQ(k.Close(fd), 0);
  CHECK(k.NoFds());
}

TEST(MockDataFdIsAStream) {
  Kernel k(Nic());
  int device = k.OpenDevice(kNic, 21);
  int fd = k.Set(device, kStopCopy);
  char buf[16];
  CHECK_EQ(k.k->pread(k.k->ctx, fd, buf, 1, 0), -ESPIPE);
  CHECK_EQ(k.k->pwrite(k.k->ctx, fd, buf, 1, 0), -ESPIPE);
  CHECK_EQ(k.Write(fd, buf, 1), -EBADF);
  CHECK_EQ(k.Read(fd, buf, 0), 0);
  CHECK_EQ(k.Fcntl(fd, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(k.Fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  pollfd p[3] = {{fd, POLLIN | POLLOUT, 0}, {-1, POLLIN, 0}, {999, POLLIN, 0}};
  CHECK_EQ(k.k->poll(k.k->ctx, p, 3, -1), 2);
  CHECK_EQ(p[0].revents, POLLIN | POLLOUT);
  CHECK_EQ(p[1].revents, 0);
  CHECK_EQ(p[2].revents, POLLNVAL);
  // A duplicate is the same stream, and keeps it alive.
  int dup = k.Fcntl(fd, F_DUPFD, 0);
  CHECK_EQ(k.Read(fd, buf, 8), 8);
  CHECK_EQ(k.Close(fd), 0);
  char second[8];
  CHECK_EQ(k.Read(dup, second, 4), 4);
  CHECK(memcmp(buf, "MOCKSTAT", 8) == 0);
  CHECK(second[0] == 1);
  // The device may go first: the session is over then.
  CHECK_EQ(k.Close(device), 0);
  CHECK_EQ(k.Read(dup, buf, 1), -ENODEV);
  CHECK_EQ(k.Close(dup), 0);
  CHECK(k.NoFds());
}

// Only mlx5 has a poll of its own and looks at O_NONBLOCK (uAPI §0.5, §0.6).
TEST(MockPersonalitiesPoll) {
  for (const std::string name : {"mlx5", "virtio", "qat"}) {
    Kernel k(R"({"name":"p","devices":[{"kind":"pci","address":"0000:65:00.2","group":21,"personality":")" + name +
             R"("}]})");
    int device = k.OpenDevice(kNic, 21);
    int fd = k.Set(device, uapi::kStatePreCopy);
    pollfd p{fd, POLLIN | POLLOUT, 0};
    const short always = POLLIN | POLLOUT;
    CHECK_EQ(k.k->poll(k.k->ctx, &p, 1, 0), 1);
    CHECK_EQ(p.revents, name == "mlx5" ? POLLIN : always);
    std::vector<char> buffer(1 << 20);
    while (k.Read(fd, buffer.data(), buffer.size()) > 0) {
    }
    // Everything was read: mlx5 has nothing to say, and poll waits as long as it was told to.
    CHECK_EQ(k.k->poll(k.k->ctx, &p, 1, 5), name == "mlx5" ? 0 : 1);
    k.Reset(device);
    CHECK_EQ(k.k->poll(k.k->ctx, &p, 1, -1), 1);
    k.Close(fd);
    k.Close(device);
    CHECK(k.NoFds());
  }
}

TEST(MockPersonalitiesNonblock) {
  for (const std::string name : {"mlx5", "xe"}) {
    Kernel k(R"({"name":"p","devices":[{"kind":"pci","address":"0000:65:00.2","group":21,"personality":")" + name +
             R"(","migration":{"block_read_at":0}}]})");
    int device = k.OpenDevice(kNic, 21);
    int fd = k.Set(device, uapi::kStateStopCopy);
    CHECK_EQ(k.Fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    char byte;
    std::thread reset([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      k.Reset(device);
    });
    CHECK_EQ(k.Read(fd, &byte, 1), name == "mlx5" ? -EAGAIN : -ENODEV);
    reset.join();
    k.Close(fd);
    k.Close(device);
  }
}

TEST(MockDeviceFdsOfOneGroup) {
  Kernel k(Nic());
  int container = k.Open("/dev/vfio/vfio"), group = k.Open("/dev/vfio/21");
  int bad = 99;
  CHECK_EQ(k.Ioctl(group, uapi::kGroupSetContainer, &bad), -EBADF);
  CHECK_EQ(k.Ioctl(group, uapi::kGroupSetContainer, &group), -EBADFD);
  CHECK_EQ(k.Ioctl(group, uapi::kGroupUnsetContainer), -EINVAL);
  CHECK_EQ(k.Ioctl(group, uapi::kGroupSetContainer, &container), 0);
  CHECK_EQ(k.IoctlValue(container, uapi::kSetIommu, 3), 0);
  uapi::GroupStatus status{4, 0};
  CHECK_EQ(k.Ioctl(group, uapi::kGroupGetStatus, &status), -EINVAL);
  CHECK_EQ(k.Ioctl(group, 0x3bff), -ENOTTY);
  CHECK_EQ(k.Ioctl(container, 0x3bff), -ENOTTY);
  int one = k.Ioctl(group, uapi::kGroupGetDeviceFd, kNic),
      two = k.Ioctl(group, uapi::kGroupGetDeviceFd, kNic);
  CHECK(one >= 0 && two >= 0 && one != two);
  CHECK_EQ(k.Ioctl(group, uapi::kGroupUnsetContainer), -EBUSY);
  // Both are the same device, and the second one's end is not the last close.
  CHECK_EQ(k.Set(one, kStop), -1);
  CHECK_EQ(k.Get(two), static_cast<int>(kStop));
  CHECK_EQ(k.Close(one), 0);
  CHECK_EQ(k.Get(two), static_cast<int>(kStop));
  CHECK_EQ(k.Close(group), 0);
  CHECK_EQ(k.Close(container), 0);
  CHECK_EQ(k.Open("/dev/vfio/21"), -EBUSY);
  CHECK_EQ(k.Close(two), 0);
  group = k.Open("/dev/vfio/21");
  CHECK(group >= 0);
  // The last group that left took the IOMMU with it.
  container = k.Open("/dev/vfio/vfio");
  CHECK_EQ(k.Ioctl(group, uapi::kGroupSetContainer, &container), 0);
  CHECK_EQ(k.IoctlValue(container, uapi::kSetIommu, 3), 0);
  CHECK_EQ(k.Ioctl(group, uapi::kGroupUnsetContainer), 0);
  CHECK_EQ(k.IoctlValue(container, uapi::kSetIommu, 3), -EINVAL);
  k.Close(group);
  k.Close(container);
  CHECK(k.NoFds());
}

TEST(MockEchoesPrecopyFlagsUntilTheOptIn) {
  Kernel k(Nic("", R"("release":"7.3.0")"));
  for (int round = 0; round < 2; round++) {
    int device = k.OpenDevice(kNic, 21);
    int fd = k.Set(device, kPreCopy);
    uapi::PrecopyInfo info{sizeof info, 0xabcd, 7, 7};
    CHECK_EQ(k.Ioctl(fd, uapi::kMigGetPrecopyInfo, &info), 0);
    CHECK_EQ(info.flags, 0xabcdu);
    CHECK_EQ(info.initial_bytes, 65536u);
    CHECK_EQ(info.dirty_bytes, 0u);
    uapi::DeviceFeature opt_in{8, uapi::kFeatureSet | uapi::kFeatureMigPrecopyInfoV2};
    CHECK_EQ(k.Ioctl(device, uapi::kDeviceFeature, &opt_in), 0);
    info.flags = 0xabcd;
    CHECK_EQ(k.Ioctl(fd, uapi::kMigGetPrecopyInfo, &info), 0);
    CHECK_EQ(info.flags, 0u);
    info.argsz = 23;
    CHECK_EQ(k.Ioctl(fd, uapi::kMigGetPrecopyInfo, &info), -EINVAL);
    CHECK_EQ(k.Ioctl(fd, uapi::kDeviceGetInfo, &info), -ENOTTY);
    k.Close(fd);
    k.Close(device);
  }
}

TEST(MockDmaLoggingRanges) {
  Kernel k(Nic(R"("dirty_logging":true)", R"("release":"6.12.117","iommufd":true)"));
  int device = k.OpenDevice(kNic, 21);
  struct {
    uapi::DeviceFeature head{sizeof(*this), uapi::kFeatureSet | uapi::kFeatureDmaLoggingStart};
    uapi::FeatureDmaLoggingControl control{};
  } start;
  auto start_with = [&](std::vector<uapi::FeatureDmaLoggingRange> ranges, uint64_t page = 4096) {
    start.control = {page, static_cast<uint32_t>(ranges.size()), 0,
                     reinterpret_cast<uint64_t>(ranges.data())};
    return k.Ioctl(device, uapi::kDeviceFeature, &start);
  };
  CHECK_EQ(start_with({{0, 4096}, {4095, 4096}}), -EINVAL);
  CHECK_EQ(start_with({{0, 100}}), -EINVAL);
  CHECK_EQ(start_with({{0xfffffffffffff000, 0x2000}}), -EOVERFLOW);
  CHECK_EQ(start_with({{0, 8192}, {4096, 4096}}), -EINVAL);
  struct {
    uapi::DeviceFeature head{sizeof(*this), uapi::kFeatureGet | uapi::kFeatureDmaLoggingReport};
    uapi::FeatureDmaLoggingReport report{0, 4096, 4096, 0};
  } report;
  CHECK_EQ(k.Ioctl(device, uapi::kDeviceFeature, &report), -EINVAL);
  CHECK_EQ(start_with({{0, 4096}, {8192, 4096}}), 0);
  CHECK_EQ(start_with({{0, 4096}}), -EINVAL);
  CHECK_EQ(k.Ioctl(device, uapi::kDeviceFeature, &report), 0);
  k.Close(device);
}

TEST(MockTree) {
  Kernel k(R"({"name":"t","kernel":{"release":"6.18.0","iommufd":true,"cdev":true,"debugfs":true},
    "devices":[
      {"kind":"pci","address":"0000:65:00.0","driver":"vfio-pci","group":20,"migration":null},
      {"kind":"pci","address":"0000:65:00.2","driver":"mock_vfio_pci","group":21,"physfn":"0000:65:00.0",
       "migration":{"flags":3,"dirty_logging":true}},
      {"kind":"mtty","address":"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001","group":0}],
    "files":{"/sys/loop":{"link":"/sys/loop"},"/proc/1/comm":{"content":"init\n"},
      "/sys/bus/pci/devices/0000:65:00.2/vendor":{"read_errno":"EIO"},
      "/sys/bus/pci/devices/0000:65:00.0/extra":{"content":"x\n","mode":"0644","write_errno":"EBUSY"},
      "/dev/vfio/20":{"errno":"EACCES"},"/sys/class/vfio":{"absent":true}}})");
  CHECK_EQ(k.error, "");
  if (k.k == nullptr) return;
  const char* vf = "/sys/bus/pci/devices/0000:65:00.2";
  CHECK_EQ(Link(k, vf), "../../../devices/pci0000:65/0000:65:00.2");
  CHECK_EQ(Link(k, "/sys/bus/pci/devices/0000:65:00.2/iommu_group"), "../../../kernel/iommu_groups/21");
  CHECK_EQ(Link(k, "/sys/bus/pci/devices/0000:65:00.2/physfn"), "../0000:65:00.0");
  CHECK_EQ(Link(k, "/sys/bus/pci/devices/0000:65:00.0/virtfn0"), "../0000:65:00.2");
  CHECK_EQ(Link(k, "/sys/class/vfio-dev/vfio1"), "../../devices/pci0000:65/0000:65:00.2/vfio-dev/vfio1");
  CHECK_EQ(Text(k, "/sys/class/vfio-dev/vfio1/device/device"), "0x10ff\n");
  CHECK_EQ(Text(k, "/sys/bus/pci/devices/0000:65:00.0/sriov_numvfs"), "1\n");
  CHECK_EQ(Text(k, "/sys/kernel/debug/vfio/0000:65:00.2/migration/state"), "RUNNING\n");
  CHECK_EQ(Text(k, "/sys/kernel/debug/vfio/0000:65:00.2/migration/features"),
           "stop-copy\np2p\ndirty-tracking\n");
  CHECK_EQ(k.Open("/sys/kernel/debug/vfio/0000:65:00.0/migration", O_RDONLY), -ENOENT);
  CHECK(Names(k, "/dev/vfio") == (std::set<std::string>{".", "..", "0", "20", "21", "devices", "vfio"}));
  CHECK(Names(k, "/dev/vfio/devices") == (std::set<std::string>{".", "..", "vfio0", "vfio1", "vfio2"}));
  CHECK(Names(k, "/sys/kernel/iommu_groups/21/devices") ==
        (std::set<std::string>{".", "..", "0000:65:00.2"}));
  CHECK_EQ(Text(k, "/sys/kernel/iommu_groups/0/name"), "vfio-noiommu\n");
  CHECK_EQ(Text(k, "/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001/mdev_type/name"),
           "Dual port serial\n");
  CHECK_EQ(Text(k, "/proc/1/comm"), "init\n");
  CHECK_EQ(Text(k, "/sys/bus/pci/devices/0000:65:00.2/vendor"), std::to_string(-EIO));
  CHECK_EQ(k.Open("/sys/loop/x", O_RDONLY), -ELOOP);
  CHECK_EQ(k.Open("/proc/1/comm/x", O_RDONLY), -ENOTDIR);
  CHECK_EQ(k.Open("/dev/vfio/20"), -EACCES);
  CHECK_EQ(k.k->faccessat(k.k->ctx, AT_FDCWD, "/dev/vfio/20", 6), -EACCES);
  CHECK_EQ(k.k->faccessat(k.k->ctx, AT_FDCWD, "/dev/vfio/20", 0), 0);
  CHECK_EQ(k.k->faccessat(k.k->ctx, AT_FDCWD, "/sys/class/vfio", 0), -ENOENT);
  CHECK_EQ(k.Open("/sys/bus/pci/devices/0000:65:00.0/class", O_WRONLY), -EACCES);
  CHECK_EQ(k.Open("/sys/bus/pci/devices", O_RDWR), -EISDIR);
  CHECK_EQ(k.Open("/nowhere/x", O_RDONLY), -ENOENT);

  vfm_stat st;
  CHECK_EQ(k.k->fstatat(k.k->ctx, AT_FDCWD, "/dev/vfio/vfio", &st, 0), 0);
  CHECK_EQ(st.mode, static_cast<uint32_t>(S_IFCHR | 0666));
  CHECK(st.rdev != 0);
  CHECK_EQ(k.k->fstatat(k.k->ctx, AT_FDCWD, vf, &st, AT_SYMLINK_NOFOLLOW), 0);
  CHECK(S_ISLNK(st.mode));
  CHECK_EQ(k.k->fstatat(k.k->ctx, AT_FDCWD, vf, &st, 0), 0);
  CHECK(S_ISDIR(st.mode));

  int dir = k.Open(vf, O_RDONLY | O_DIRECTORY);
  int relative = k.k->openat(k.k->ctx, dir, "../0000:65:00.0/device", O_RDONLY, 0);
  CHECK(relative >= 0);
  CHECK_EQ(k.k->openat(k.k->ctx, relative, "x", O_RDONLY, 0), -ENOTDIR);
  CHECK_EQ(k.k->openat(k.k->ctx, 99, "x", O_RDONLY, 0), -EBADF);
  k.Close(relative);
  k.Close(dir);

  int attribute = k.Open("/sys/bus/pci/devices/0000:65:00.2/driver_override", O_WRONLY);
  CHECK_EQ(k.Write(attribute, "vfio-pci\n", 9), 9);
  k.Close(attribute);
  CHECK_EQ(Text(k, "/sys/bus/pci/devices/0000:65:00.2/driver_override"), "vfio-pci\n");
  attribute = k.Open("/sys/bus/pci/devices/0000:65:00.0/extra", O_WRONLY);
  CHECK_EQ(k.Write(attribute, "y", 1), -EBUSY);
  k.Close(attribute);
  CHECK(k.NoFds());
}

TEST(MockFaultAfterTakesTheAnswerAway) {
  Kernel k(Nic());
  int device = k.OpenDevice(kNic, 21);
  k.Control(R"({"op":"set-faults","faults":[{"call":"ioctl","when":"after","errno":"EFAULT",
    "request":"VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET"}]})");
  Kernel::State s{{sizeof s, uapi::kFeatureSet | uapi::kFeatureMigDeviceState}, {kStopCopy, 77}};
  CHECK_EQ(k.Ioctl(device, uapi::kDeviceFeature, &s), -EFAULT);
  CHECK_EQ(s.mig.data_fd, 77);
  CHECK_EQ(k.Get(device), static_cast<int>(kStopCopy));
  CHECK_EQ(k.Close(device), 0);
  CHECK(k.NoFds());
  k.Control(R"({"op":"set-faults","faults":[{"call":"ioctl","when":"after","errno":"EIO",
    "request":"VFIO_GROUP_GET_DEVICE_FD"},{"call":"openat","path":"/dev/vfio/21","nth":2,"when":"after","errno":"EIO"}]})");
  CHECK_EQ(k.OpenDevice(kNic, 21), -EIO);
  CHECK(k.NoFds());
  CHECK_EQ(k.OpenDevice(kNic, 21), -EIO);
  CHECK(k.NoFds());
}

TEST(MockCloseFaultClosesAllTheSame) {
  Kernel k(Nic());
  k.Control(R"({"op":"set-faults","faults":[{"call":"close","errno":"EIO"}]})");
  int fd = k.Open("/dev/vfio/vfio");
  CHECK_EQ(k.Close(fd), -EIO);
  CHECK(k.NoFds());
}

TEST(MockIsFreedWithDescriptorsOpen) {
  Kernel k(Nic());
  int device = k.OpenDevice(kNic, 21);
  CHECK(k.Set(device, kPreCopy) >= 0);
  k.k->retain(k.k->ctx);
  k.k->release(k.k->ctx);
  CHECK_EQ(k.Get(device), static_cast<int>(kPreCopy));
}
